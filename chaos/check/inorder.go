package check

import (
	"slices"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// InTurn follows which workloads others may start after, and which have nothing
// left that runs. A plan is made from an older state than the one that takes it:
// both must have been so in between.
type InTurn struct {
	// After names what each workload waits for.
	After map[string][]string

	ready, quiet map[string]uint64
}

// NewInTurn returns a watcher that has seen nothing.
func NewInTurn(after map[string][]string) *InTurn {
	return &InTurn{After: after, ready: map[string]uint64{}, quiet: map[string]uint64{}}
}

// Observe looks at the state after an entry.
func (o *InTurn) Observe(index uint64, nodes []*skerryv1.Node, workloads []*skerryv1.Workload, placements []*skerryv1.Placement) {
	heard := map[string]bool{}
	for _, n := range nodes {
		heard[n.GetName()] = n.GetState() == skerryv1.NodeState_NODE_STATE_READY
	}
	healthy, runs := map[string]int{}, map[string]bool{}
	for _, p := range placements {
		wanted := p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN
		if wanted && p.GetLostSince() == nil && works(p) {
			healthy[p.GetWorkload()]++
		}
		if heard[p.GetNode()] && (p.GetEnded() == nil || !wanted) {
			runs[p.GetWorkload()] = true
		}
	}
	for _, w := range workloads {
		if manifest.IsJob(w) && hasCompleted(w) || !manifest.IsJob(w) && healthy[w.GetName()] >= manifest.Wanted(w) {
			o.ready[w.GetName()] = index
		}
	}
	for name := range o.After {
		if !runs[name] {
			o.quiet[name] = index
		}
	}
}

// hasCompleted: of the runs that have ended by themselves, the last succeeded.
func hasCompleted(w *skerryv1.Workload) bool {
	for _, run := range slices.Backward(w.GetStatus().GetRuns()) {
		switch run.GetState() {
		case skerryv1.RunState_RUN_STATE_SUCCEEDED:
			return true
		case skerryv1.RunState_RUN_STATE_FAILED:
			return false
		}
	}
	return false
}

// Waits tells whether a workload waits for another one now.
func (o *InTurn) Waits(workload string, now uint64) bool { return o.waitsFor(workload, now) != "" }

func (o *InTurn) waitsFor(workload string, since uint64) string {
	for _, name := range o.After[workload] {
		if o.ready[name] < since {
			return name
		}
	}
	return ""
}

// Starts tells that a placement of a workload gets a node, by a plan that was made
// from this index.
func (o *InTurn) Starts(placement, workload string, base uint64) *Violation {
	if name := o.waitsFor(workload, base); name != "" {
		return violated(InOrder, "%s starts, and %s, for which it waits, was not ready since %d", placement, name, base)
	}
	return nil
}

// Stops tells that a placement of a workload is ended because the site stops.
func (o *InTurn) Stops(placement, workload string, base uint64) *Violation {
	for other, after := range o.After {
		if slices.Contains(after, workload) && o.quiet[other] < base {
			return violated(InOrder, "%s is stopped, and there was something of %s, which started after it, since %d", placement, other, base)
		}
	}
	return nil
}

// Began tells that something got a node or began while people have stopped the
// site.
func Began(what string) *Violation {
	return violated(Stopped, "%s, though the site is stopped", what)
}

// NothingRuns tells what really runs on a node that is heard of, when the site says
// that it has stopped.
func NothingRuns(node string, running []string) *Violation {
	if len(running) > 0 {
		return violated(Stopped, "the site says that nothing runs, and on %s there is %v", node, running)
	}
	return nil
}

// StartsAgain tells that a stopped site starts: people asked for it, or so many of
// its voters' machines were switched off and on.
func StartsAgain(asked bool, voters, switched int) *Violation {
	if !asked && 2*switched <= voters {
		return violated(Stopped, "it starts by itself, and of %d voters' machines %d were switched off and on", voters, switched)
	}
	return nil
}
