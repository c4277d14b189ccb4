package state

import (
	"maps"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// maxAfter workloads that one waits for.
const maxAfter = 16

// checkForm refuses a mixture of forms, and numbers that the controllers could
// not live with.
func checkForm(about string, w *skerryv1.Workload) error {
	invalid := func(field, format string, args ...any) error {
		return problem.New(problem.Invalid, about, format, args...).WithField(field)
	}
	job := w.GetRunToCompletion()
	switch {
	case w.GetPerNode() && job != nil:
		return invalid("perNode", "it does not go together with runToCompletion")
	case w.Replicas != nil && (w.GetPerNode() || job != nil):
		return invalid("replicas", "they do not go together with perNode or runToCompletion")
	case w.GetPerNode() && !IsStay(w):
		return invalid("partition.mode", "what runs on each node stays there")
	case !w.GetPerNode() && job == nil && (w.Replicas == nil || w.GetReplicas() > maxReplicas):
		return invalid("replicas", "it must be 0 to %d", maxReplicas)
	case w.GetSchedule() != nil && job == nil:
		return invalid("schedule", "only what runs to completion can be started again and again")
	case len(w.GetAfter()) > maxAfter:
		return invalid("after", "%d workloads, at most %d are taken", len(w.GetAfter()), maxAfter)
	}
	if job == nil {
		return nil
	}
	return checkJob(invalid, w)
}

func checkJob(invalid func(field, format string, args ...any) error, w *skerryv1.Workload) error {
	job := w.GetRunToCompletion()
	if out := func(n uint32) bool { return n < 1 || n > maxReplicas }; out(job.GetCompletions()) || out(job.GetParallelism()) {
		return invalid("runToCompletion", "completions and parallelism must be 1 to %d", maxReplicas)
	}
	for _, length := range []struct{ field, text string }{
		{"runToCompletion.deadline", job.GetDeadline()},
		{"runToCompletion.ttl", job.GetTtl()},
		{"schedule.startingDeadline", w.GetSchedule().GetStartingDeadline()},
	} {
		if d, err := manifest.Duration(length.text); length.text != "" && (err != nil || d < 0) {
			return invalid(length.field, "%q is not a length of time", bounded(length.text, maxName))
		}
	}
	if w.GetSchedule() == nil {
		return nil
	}
	if _, err := manifest.ParseCron(w.GetSchedule().GetCron()); err != nil {
		return invalid("schedule.cron", "%w", err)
	}
	return nil
}

// settleForm carries over, into a workload that is to be taken, what the site
// knows of it, and does what its form asks for.
func (x *tx) settleForm(present *skerryv1.Workload, change *workloadChange) error {
	next := change.next
	if present != nil && manifest.Form(present) != manifest.Form(next) {
		return problem.New(problem.Conflict, "Workload/"+next.GetName(), "it is of another form: %s, not %s",
			manifest.Form(present), manifest.Form(next)).WithHint("delete it first, or choose another name")
	}
	if present != nil && !change.specChanged {
		return nil
	}
	switch {
	case next.GetPerNode():
		next.Status = &skerryv1.WorkloadStatus{Nodes: x.countNodes(next)}
	case manifest.IsJob(next):
		x.settleJob(present, change)
	}
	return nil
}

// countNodes that are to have a placement.
func (x *tx) countNodes(w *skerryv1.Workload) uint32 {
	count := uint32(0)
	for _, node := range nodes.list(x.rows) {
		if Hosts(node, w) {
			count++
		}
	}
	return count
}

// Hosts tells whether a node is to have a placement of a workload with one on
// each. What makes it unfit for new work for a while does not count: a placement
// that is for it waits.
func Hosts(node *skerryv1.Node, w *skerryv1.Workload) bool {
	return node != nil && node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED && MeetsRequirements(node, w)
}

// byForm finds workloads with one placement on each node, and scheduled ones.
const (
	byForm    = "form"
	perNode   = "perNode"
	scheduled = "schedule"
)

func formOf(record *sitev1.WorkloadRecord) string {
	switch {
	case record.GetWorkload().GetPerNode():
		return perNode
	case record.GetWorkload().GetSchedule() != nil:
		return scheduled
	default:
		return ""
	}
}

// nodeChange is a node before and after an entry; nil when there is none.
type nodeChange struct{ before, after *skerryv1.Node }

// noteNode remembers a change that may decide who hosts what.
func (x *tx) noteNode(before, after *skerryv1.Node) {
	same := before != nil && after != nil && before.GetZone() == after.GetZone() && before.GetVersion() == after.GetVersion() &&
		(before.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED) == (after.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED) &&
		maps.Equal(before.GetLabels(), after.GetLabels())
	if !same {
		x.nodesChanged = append(x.nodesChanged, nodeChange{before, after})
	}
}

// followNodes counts anew how many placements workloads with one on each node
// should have. What a node that joins adds is not held against the quota: it was
// asked for before.
func (x *tx) followNodes() {
	changed := x.nodesChanged
	x.nodesChanged = nil
	if len(changed) == 0 {
		return
	}
	for _, record := range workloads.by(x.rows, byForm, perNode) {
		w := record.GetWorkload()
		count := int64(w.GetStatus().GetNodes())
		for _, node := range changed {
			if Hosts(node.before, w) {
				count--
			}
			if Hosts(node.after, w) {
				count++
			}
		}
		if count != int64(w.GetStatus().GetNodes()) {
			next := shallow(w)
			next.Status = &skerryv1.WorkloadStatus{Nodes: uint32(max(0, count))}
			x.putStatus(record, next)
		}
	}
}

// isFor tells the node that a placement is bound to or waits for.
func isFor(p *skerryv1.Placement) string {
	if p.GetNode() != "" {
		return p.GetNode()
	}
	return pinOf(p)
}

// templateOf a workload is what its placements get: without what the site knows
// of it.
func templateOf(w *skerryv1.Workload) *skerryv1.Workload {
	if w.GetStatus() == nil {
		return w
	}
	template := shallow(w)
	template.Status = nil
	return template
}
