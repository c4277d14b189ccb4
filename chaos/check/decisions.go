package check

import (
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// Decisions watches what the site decides about its placements, entry by
// entry: healthy ones end only when somebody asked for it or when enough others
// are healthy, and those that stay are never replaced by themselves.
type Decisions struct {
	placements map[object]*skerryv1.Placement
	ready      map[string]bool
	// excused placements may end by the next entry, whatever else holds.
	excused map[string]bool
}

// object of a project, by its name.
type object struct{ project, name string }

// Excuse placements that the next entry ends for a reason that other rules judge.
func (d *Decisions) Excuse(names map[string]bool) { d.excused = names }

// NewDecisions returns a watcher that has seen nothing.
func NewDecisions() *Decisions { return &Decisions{} }

// Observe compares the state after an entry with the one before it.
func (d *Decisions) Observe(nodes []*skerryv1.Node, workloads []*skerryv1.Workload, placements []*skerryv1.Placement) *Violation {
	before, readyBefore := d.placements, d.ready
	for _, n := range nodes {
		if n.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			delete(readyBefore, n.GetName()) // somebody asked for its end
		}
	}
	d.placements, d.ready = make(map[object]*skerryv1.Placement, len(placements)), make(map[string]bool, len(nodes))
	for _, n := range nodes {
		d.ready[n.GetName()] = n.GetState() == skerryv1.NodeState_NODE_STATE_READY
	}
	wanted := make(map[object]*skerryv1.Workload, len(workloads))
	for _, w := range workloads {
		wanted[object{w.GetProject(), w.GetName()}] = w
	}
	healthy := map[object]int{}
	for _, p := range placements {
		d.placements[object{p.GetProject(), p.GetName()}] = p
		of := object{p.GetProject(), p.GetWorkload()}
		w := wanted[of]
		// New ones beside the old ones count together with those.
		beside := w.GetUpdate().GetStrategy() == manifest.Canary || w.GetUpdate().GetStrategy() == manifest.BlueGreen
		if runs(p) && d.ready[p.GetNode()] && (beside || p.GetGeneration() == w.GetGeneration()) {
			healthy[of]++
		}
	}
	defer func() { d.excused = nil }()
	return d.ended(before, readyBefore, wanted, healthy)
}

// ended looks at every placement that was healthy and is not to run any more.
func (d *Decisions) ended(before map[object]*skerryv1.Placement, ready map[string]bool,
	wanted map[object]*skerryv1.Workload, healthy map[object]int,
) *Violation {
	// What goes for a reason that other rules judge was there when the others were counted.
	for _, was := range before {
		name := object{was.GetProject(), was.GetWorkload()}
		if d.excused[was.GetName()] && runs(was) && ready[was.GetNode()] && was.GetGeneration() == wanted[name].GetGeneration() {
			healthy[name]++
		}
	}
	var first *skerryv1.Placement
	for key, was := range before {
		now := d.placements[key]
		if was.GetRun() != 0 || d.excused[was.GetName()] || was.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN || now.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN {
			continue
		}
		name := object{was.GetProject(), was.GetWorkload()}
		w := wanted[name]
		if manifest.LeaseOf(was.GetSpec()) > 0 {
			continue // it ends when its lease does, however it is
		}
		if w == nil || was.GetGeneration() != w.GetGeneration() {
			continue
		}
		if runs(was) && ready[was.GetNode()] && healthy[name] < manifest.Wanted(w) && (first == nil || was.GetName() < first.GetName()) {
			first = was
		}
	}
	if first == nil {
		return nil
	}
	name := object{first.GetProject(), first.GetWorkload()}
	return violated(HealthyStays, "%s on %s was healthy and is ended, though only %d of %d are healthy without it",
		first.GetName(), first.GetNode(), healthy[name], manifest.Wanted(wanted[name]))
}

func runs(p *skerryv1.Placement) bool {
	return p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN &&
		p.GetStatus().GetPhase() == skerryv1.Phase_PHASE_RUNNING &&
		p.GetStatus().GetReadiness() == skerryv1.Readiness_READINESS_HEALTHY
}

// Hosts watches what really runs where.
type Hosts struct {
	// running node of each placement instance.
	running map[string]string
	// stays counts, for each workload that stays, how many really run.
	stays map[string]int
	// starts of each placement instance.
	starts map[string]int
}

// NewHosts returns a watcher of a site where nothing runs.
func NewHosts() *Hosts {
	return &Hosts{running: map[string]string{}, stays: map[string]int{}, starts: map[string]int{}}
}

// Started tells that a placement of a workload now really runs on a node.
// limit is how often the workload may run at all; 0 when nothing forbids more.
func (h *Hosts) Started(node, instance, workload string, limit int) *Violation {
	if other, runs := h.running[instance]; runs {
		return violated(OncePerPlacement, "%s starts on %s while it runs on %s", instance, node, other)
	}
	h.running[instance] = node
	h.starts[instance]++
	if limit == 0 {
		return nil
	}
	h.stays[workload]++
	if n := h.stays[workload]; n > limit {
		return violated(StayOnce, "%s runs %d times with %s on %s, wants %d", workload, n, instance, node, limit)
	}
	return nil
}

// Starts is how often a placement was really started.
func (h *Hosts) Starts(instance string) int { return h.starts[instance] }

// Ended tells that it does not run any more.
func (h *Hosts) Ended(instance, workload string, limit int) {
	if _, runs := h.running[instance]; !runs {
		return
	}
	delete(h.running, instance)
	if limit > 0 {
		h.stays[workload]--
	}
}

// Stopped tells that an agent stops an instance that runs and is healthy;
// wanted is what the site, by its newest committed state, wants of it.
func (h *Hosts) Stopped(node, instance string, wanted skerryv1.DesiredState) *Violation {
	if wanted == skerryv1.DesiredState_DESIRED_STATE_RUN {
		return violated(HealthyStays, "%s stops %s, which is healthy and wanted", node, instance)
	}
	return nil
}
