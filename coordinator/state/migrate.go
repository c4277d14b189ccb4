package state

import (
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// copying: it runs on its node and is on its way to another one.
func copying(p *skerryv1.Placement) bool {
	return p.GetMigration().GetState() == skerryv1.MigrationState_MIGRATION_STATE_COPYING
}

// otherOf a placement is the node beside its own that may hold it.
func otherOf(p *skerryv1.Placement) string { return p.GetMigration().GetOther() }

// HeldBy tells whether a node may run a placement: it is its own, or comes to it.
func HeldBy(p *skerryv1.Placement, node string) bool {
	return node != "" && (p.GetNode() == node || copying(p) && otherOf(p) == node)
}

// HeldElsewhere: a node beside its own may hold a placement.
func HeldElsewhere(p *skerryv1.Placement) bool { return otherOf(p) != "" }

// PlacementsComingTo are those that a node beside their own may hold.
func (v *View) PlacementsComingTo(node string) []*skerryv1.Placement {
	return placements.by(v.rows, byOther, node)
}

// WhyNotLive says why a placement cannot move while it runs; empty when it can.
// find finds a volume, or nil.
func WhyNotLive(p *skerryv1.Placement, find func(project, name string) *skerryv1.Volume) string {
	switch {
	case p.GetSpec().GetVm() == nil:
		return "it is a container, not a virtual machine"
	case p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN || p.GetEnded() != nil:
		return "it is being removed"
	case otherOf(p) != "":
		return "it is on its way between " + p.GetNode() + " and " + otherOf(p) + " already"
	case len(p.GetStatus().GetSnapshots()) > 0:
		return "its snapshots are on node " + p.GetNode()
	case p.GetNode() == "" || p.GetStatus().GetPhase() != skerryv1.Phase_PHASE_RUNNING:
		return "it does not run"
	case p.GetPower().GetState() == skerryv1.PowerState_POWER_STATE_OFF || p.GetPower().GetState() == skerryv1.PowerState_POWER_STATE_PAUSED:
		return "it is off or paused"
	default:
		return whyVolumesStay(p, find)
	}
}

// whyNotTo says why a virtual machine cannot go on on a node; empty when it can.
func (x *tx) whyNotTo(node *skerryv1.Node, p *skerryv1.Placement) string {
	needs, err := NeedsOf(p.GetSpec())
	if err != nil {
		return err.Error()
	}
	if why := WhyNoWork(node, nil); why != "" {
		return why
	}
	if lack, why := WhyNoVM(node, p.GetSpec()); lack != LacksNothing {
		return why
	}
	switch kvm := p.GetStatus().GetAccel() == "kvm"; {
	case node.GetName() == p.GetNode():
		return "it is there already"
	case !MeetsRequirements(node, p.GetSpec()):
		return "its workload's place does not allow it"
	case kvm != node.GetVms().GetKvm() && (kvm || !node.GetVms().GetEmulation()):
		return "it does not offer what the machine runs with, " + p.GetStatus().GetAccel()
	case !x.usageOf(node.GetName()).Fits(x.planPolicy().Room(node.GetCapacity()), needs):
		return "it has no room"
	default:
		return ""
	}
}

// roomiest is the node with the most memory left that a virtual machine can go to,
// of those that are trusted if there are any; nil when there is none.
func (x *tx) roomiest(p *skerryv1.Placement) *skerryv1.Node {
	free := func(n *skerryv1.Node) int64 {
		return x.planPolicy().Room(n.GetCapacity()).GetMemoryBytes() - x.usageOf(n.GetName()).MemoryBytes
	}
	better := func(a, b *skerryv1.Node) bool {
		if IsDistrusted(a) != IsDistrusted(b) {
			return IsDistrusted(b)
		}
		return free(a) > free(b)
	}
	var best *skerryv1.Node
	for _, n := range nodes.list(x.rows) {
		if x.whyNotTo(n, p) == "" && (best == nil || better(n, best)) {
			best = n
		}
	}
	return best
}

// migrate begins to move a virtual machine to another node while it runs.
func (x *tx) migrate(old *skerryv1.Placement, to string) (*sitev1.Outcome, error) {
	about := "Placement/" + old.GetName()
	refuse := func(format string, args ...any) (*sitev1.Outcome, error) {
		return nil, problem.New(problem.Conflict, about, format, args...)
	}
	if why := WhyNotLive(old, x.volume); why != "" {
		return refuse("it cannot be moved while it runs: %s", why)
	}
	if x.halt != nil {
		return refuse("the site is stopped")
	}
	if nodes.get(x.rows, old.GetNode()).GetState() != skerryv1.NodeState_NODE_STATE_READY {
		return refuse("its node %s is not ready", old.GetNode())
	}
	node := nodes.get(x.rows, to)
	switch {
	case to == "":
		if node = x.roomiest(old); node == nil {
			return refuse("no other node can take it now")
		}
	case node == nil:
		return nil, missing("Node", to)
	default:
		if why := x.whyNotTo(node, old); why != "" {
			return refuse("it cannot go to %s: %s", to, why)
		}
	}
	x.moveLive(old, node.GetName())
	return &sitev1.Outcome{}, nil
}

// moveLive needs a node that can take it.
func (x *tx) moveLive(old *skerryv1.Placement, to string) {
	p := shallow(old)
	p.Migration = &skerryv1.Migration{
		State: skerryv1.MigrationState_MIGRATION_STATE_COPYING, Other: to, Attempt: x.index, Since: x.time,
	}
	x.putPlacement(p)
	x.volumesSetOut(p, to)
	if needs, err := NeedsOf(p.GetSpec()); err == nil {
		x.usageOf(to).Add(p.GetName(), needs)
	}
	x.inform(aboutPlacement(p), "MigrationStarted", "from %s to %s, while it runs", p.GetNode(), to)
}

// planMigration of a virtual machine off a node that is drained. Where there is
// nowhere to go that is noted, and the drain goes on without it.
func (x *tx) planMigration(part *sitev1.MigrateAway) bool {
	old := placements.get(x.rows, key(part.GetProject(), part.GetPlacement()))
	if old == nil {
		return false
	}
	node := nodes.get(x.rows, old.GetNode())
	if x.halt != nil || !LeavesLive(node, old, x.volume) {
		return false
	}
	if to := x.roomiest(old); to != nil {
		x.moveLive(old, to.GetName())
		return true
	}
	x.migrationFailed(old, "no other node can take it")
	return true
}

// LeavesLive: a placement is to leave its node, which is drained, while it runs,
// and that was not tried in vain.
func LeavesLive(node *skerryv1.Node, p *skerryv1.Placement, find func(project, name string) *skerryv1.Volume) bool {
	if !Leaves(node) || node.GetState() != skerryv1.NodeState_NODE_STATE_READY || WhyNotLive(p, find) != "" {
		return false
	}
	m, began := p.GetMigration(), node.GetDuty().GetDrain().GetStarted()
	return m.GetState() != skerryv1.MigrationState_MIGRATION_STATE_FAILED || later(began, m.GetSince())
}

func (x *tx) migrationFailed(old *skerryv1.Placement, why string) {
	p := shallow(old)
	p.Migration = &skerryv1.Migration{State: skerryv1.MigrationState_MIGRATION_STATE_FAILED, Since: x.time, Why: bounded(why, maxMessage)}
	x.putPlacement(p)
	x.warn(aboutPlacement(p), "MigrationFailed", "it stays on %s: %s", p.GetNode(), p.GetMigration().GetWhy())
}

// reportMigration takes over what a node says of a placement that moves. It
// returns the placement as it is then.
func (x *tx) reportMigration(node string, old *skerryv1.Placement, report *sitev1.MigrationReport) *skerryv1.Placement {
	m := old.GetMigration()
	if !copying(old) || report.GetAttempt() != m.GetAttempt() {
		return old
	}
	p, next := shallow(old), shallow(m)
	next.State, next.Since = skerryv1.MigrationState_MIGRATION_STATE_LEAVING, x.time
	p.Migration = next
	switch {
	case node == m.GetOther() && report.GetArrived():
		p.Node, next.Other = m.GetOther(), old.GetNode()
		p.LostSince, p.ReplacedBy = nil, ""
		x.putPlacement(p)
		x.volumesFollow(p)
		x.inform(aboutPlacement(p), "Migrated", "it runs on %s, and what is left of it on %s is removed", p.GetNode(), next.GetOther())
	case node == old.GetNode() && report.GetFailed() != "":
		next.Why = bounded(report.GetFailed(), maxMessage)
		x.putPlacement(p)
		x.volumesStay(p)
		x.warn(aboutPlacement(p), "MigrationFailed", "it stays on %s: %s", p.GetNode(), next.GetWhy())
	default:
		return old
	}
	return p
}

// partGone: nothing of a placement is left on one of the two nodes that may hold
// it. The other one alone has it then. told: the node says so itself, so it did not
// hand over what it had, or did not take it over.
func (x *tx) partGone(node string, old *skerryv1.Placement, told bool) {
	if told || node != old.GetNode() {
		x.volumesStay(old)
	}
	p, m := shallow(old), old.GetMigration()
	p.Migration = nil
	if node == old.GetNode() {
		p.Node = m.GetOther()
	} else if m.GetWhy() != "" {
		p.Migration = &skerryv1.Migration{State: skerryv1.MigrationState_MIGRATION_STATE_FAILED, Since: m.GetSince(), Why: m.GetWhy()}
	}
	x.putPlacement(p)
}
