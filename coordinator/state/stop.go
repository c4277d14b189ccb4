package state

import (
	"slices"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// maxRunID bounds what tells one run of a machine from another.
const maxRunID = 128

// setStop replaces the record of the stop; nil when there is none any more.
func (x *tx) setStop(stop *skerryv1.SiteStop) {
	if x.halt != nil {
		x.sum -= x.hash("stop", x.halt)
	}
	x.halt = stop
	if stop != nil {
		x.sum += x.hash("stop", stop)
	}
	// What waits is looked at again.
	x.placing = x.index
}

// stopSite begins to end all that runs. Nothing starts from here on.
func (x *tx) stopSite(change *sitev1.StopSite) (*sitev1.Outcome, error) {
	if len(change.GetReason()) > maxMessage {
		return nil, problem.New(problem.Invalid, "site", "it is longer than %d bytes", maxMessage).WithField("reason")
	}
	if x.halt != nil {
		return &sitev1.Outcome{}, nil // it is stopped, or will be
	}
	stop := &skerryv1.SiteStop{By: x.by, Reason: change.GetReason(), Since: x.time, Deadline: change.GetDeadline()}
	for _, node := range nodes.by(x.rows, byReplica, "yes") {
		known := slices.Contains(change.GetKnown(), node.GetName())
		if node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER && node.GetRun() != "" && known {
			stop.Runs = append(stop.Runs, &skerryv1.MachineRun{Node: node.GetName(), Run: node.GetRun()})
		}
	}
	x.setStop(stop)
	x.endRebalance("the site was stopped")
	x.warn(x.aboutSite(), "SiteStops", "%s", withReason("all that runs ends, and nothing starts", change.GetReason()))
	return &sitev1.Outcome{}, nil
}

func withReason(what, reason string) string {
	if reason == "" {
		return what
	}
	return what + ": " + reason
}

func (x *tx) aboutSite() subject { return subject{kind: "Site", name: x.site} }

// startSite lets everything start again, in the order of `after`.
func (x *tx) startSite(change *sitev1.StartSite) (*sitev1.Outcome, error) {
	switch {
	case x.halt == nil:
		return &sitev1.Outcome{}, nil // nothing keeps it from running
	case !change.GetPowerOn():
		x.inform(x.aboutSite(), "SiteStarts", "an operator starts it again")
	case PowerCame(x.halt, nodes.by(x.rows, byReplica, "yes")):
		x.inform(x.aboutSite(), "SiteStarts", "its machines were switched on again")
	default:
		return nil, problem.New(problem.Conflict, "site", "its machines were not switched off since it was stopped").
			WithHint("skerry site start starts it")
	}
	x.setStop(nil)
	return &sitev1.Outcome{}, nil
}

// PowerCame tells whether most of the voters' machines were switched off and on
// since the site was stopped. One of which nothing is known was not.
func PowerCame(stop *skerryv1.SiteStop, replicas []*skerryv1.Node) bool {
	before := map[string]string{}
	for _, run := range stop.GetRuns() {
		before[run.GetNode()] = run.GetRun()
	}
	voters, fresh := 0, 0
	for _, node := range replicas {
		if node.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_VOTER {
			continue
		}
		voters++
		if run := before[node.GetName()]; run != "" && node.GetRun() != "" && node.GetRun() != run {
			fresh++
		}
	}
	return 2*fresh > voters
}

// siteStopped notes that nothing runs any more where anybody can tell.
func (x *tx) siteStopped() bool {
	if x.halt == nil || x.halt.GetStopped() != nil || len(StillRuns(placements.list(x.rows), x.isReady)) > 0 {
		return false
	}
	stop := shallow(x.halt)
	stop.Stopped = x.time
	x.setStop(stop)
	x.inform(x.aboutSite(), "SiteStopped", "nothing runs any more: the machines can be switched off")
	return true
}

func (x *tx) isReady(node string) bool {
	return nodes.get(x.rows, node).GetState() == skerryv1.NodeState_NODE_STATE_READY
}

// StillRuns are the placements that keep a site from being stopped: what is on
// nodes that are heard of, and has not ended.
func StillRuns(all []*skerryv1.Placement, ready func(node string) bool) []*skerryv1.Placement {
	var left []*skerryv1.Placement
	for _, p := range all {
		logsOnly := p.GetEnded() != nil && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN
		if p.GetNode() != "" && !logsOnly && ready(p.GetNode()) {
			left = append(left, p)
		}
	}
	return left
}

// mayCreate while the site is stopped: only what has its place already, because
// it comes after something that stays.
func (x *tx) mayCreate(part *sitev1.NewPlacement) bool {
	return x.halt == nil || part.GetReplaces() != ""
}

// Stop of the site; nil when it is not stopped.
func (v *View) Stop() *skerryv1.SiteStop { return v.meta.halt }

// StopOrder is how a site is stopped: each group when nothing is left of those
// before it. left are the placements that still run.
func StopOrder(workloads []*skerryv1.Workload, left []*skerryv1.Placement) [][]*skerryv1.Placement {
	of := map[string][]*skerryv1.Placement{}
	for _, p := range left {
		k := key(p.GetProject(), p.GetWorkload())
		of[k] = append(of[k], p)
	}
	var groups [][]*skerryv1.Placement
	orphans := left[:0:0]
	for _, group := range StartOrder(workloads) {
		var here []*skerryv1.Placement
		for _, w := range group {
			k := key(w.GetProject(), w.GetName())
			here = append(here, of[k]...)
			delete(of, k)
		}
		if len(here) > 0 {
			groups = append([][]*skerryv1.Placement{here}, groups...)
		}
	}
	// What is left of deleted workloads stops already.
	for _, p := range left {
		if of[key(p.GetProject(), p.GetWorkload())] != nil {
			orphans = append(orphans, p)
		}
	}
	if len(orphans) > 0 {
		groups = append([][]*skerryv1.Placement{orphans}, groups...)
	}
	return groups
}
