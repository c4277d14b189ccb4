package move

import (
	"skerry.dev/agent/reconcile"
	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// The rules of a move, apart from how they are carried out: the simulator of whole
// sites plays by them too.

// Known is what a node knows of its instances.
type Known interface {
	// HasFailed tells whether it was noted that an attempt was not handed over.
	HasFailed(id string, attempt uint64) bool
	// IsLeaving: another node may run it.
	IsLeaving(id string) bool
}

// Copying: an order says that a machine moves, and the site does not know yet what
// came of it.
func Copying(p *skerryv1.Placement) bool {
	return p.GetMigration().GetState() == skerryv1.MigrationState_MIGRATION_STATE_COPYING
}

// Due: by its order it is this node's machine, and is to leave, or was to. One that
// is to end is asked for when its volumes may be on the other node.
func Due(p *skerryv1.Placement, known Known) bool {
	id := idOf(p)
	switch {
	case p.GetSpec().GetVm() == nil || p.GetMigration().GetIncoming():
		return false
	case p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN:
		return Copying(p) && len(p.GetSpec().GetVm().GetDisks()) > 0 && known.IsLeaving(id)
	}
	return known.IsLeaving(id) || Copying(p) && !known.HasFailed(id, p.GetMigration().GetAttempt())
}

// GoesOn: the order to move that was p is still the same; now may be nil.
func GoesOn(p, now *skerryv1.Placement) bool {
	return Copying(now) && now.GetMigration().GetAttempt() == p.GetMigration().GetAttempt() && now.GetDesired() == p.GetDesired()
}

// Step of the node that a machine leaves.
type Step int

// The steps.
const (
	// Rest: there is nothing to be done now.
	Rest Step = iota
	// Send it to the other node.
	Send
	// Ask the other node what became of what it was handed.
	Ask
	// Settle: it is this node's again.
	Settle
)

// StepOf a machine of this node, by its order and by its state here.
func StepOf(p *skerryv1.Placement, state runtime.State) Step {
	switch {
	case state == runtime.Leaving && Copying(p):
		return Ask
	case state == runtime.Leaving:
		return Settle
	case Copying(p) && state == runtime.Running:
		return Send
	}
	return Rest
}

// MayTake returns an error unless an order of this node, nil for none, lets it take
// an attempt in from another node.
func MayTake(p *skerryv1.Placement, placement, from string, attempt uint64) error {
	if !comes(p, from, attempt) || p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
		return problem.New(problem.Conflict, placement, "this node has no order to take it from %s", from)
	}
	return nil
}

// MayBegin returns an error unless nothing that has come is lost when an attempt is taken
// in now; state is that of the instance on this node, 0 for none. An attempt may have been
// begun more than once.
func MayBegin(p *skerryv1.Placement, placement, from string, attempt uint64, state runtime.State) error {
	if err := MayTake(p, placement, from, attempt); err != nil {
		return err
	}
	if fate := FateOf(state); fate != Gone && fate != Half {
		return problem.New(problem.Conflict, placement, "there is one on this node already")
	}
	return nil
}

// MayTell returns an error unless what is on this node says what became of an attempt
// of another node to hand over p, nil for no order. It does while this node is to take it
// in: what came in is not removed then. After that the site knows what became of it; who
// asks hears it from there, and nothing is left here that may be believed. Where there are
// no volumes to lose, what is to end is removed at once, and nobody is told.
func MayTell(p *skerryv1.Placement, placement, from string, attempt uint64) error {
	kept := p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN || len(p.GetSpec().GetVm().GetDisks()) > 0
	if !comes(p, from, attempt) || !kept {
		return problem.New(problem.Conflict, placement, "this node is not to take it in any more; the site says what became of it")
	}
	return nil
}

// comes: an order of this node, nil for none, is to take an attempt in from another node,
// and the site does not know yet what came of it.
func comes(p *skerryv1.Placement, from string, attempt uint64) bool {
	return Copying(p) && p.GetMigration().GetIncoming() && p.GetNode() == from && p.GetMigration().GetAttempt() == attempt
}

// Fate of an attempt.
type Fate int

// The fates.
const (
	// Unclear: nobody can say.
	Unclear Fate = iota
	// Here: it runs, or ran, on the node that took it in.
	Here
	// Half: it did not come wholly. Once that is removed it never will.
	Half
	// Gone: nothing of it is there.
	Gone
)

// FateOf an attempt at the node that was to take it in, by its state there when
// nobody is at it; 0 for no such instance.
func FateOf(state runtime.State) Fate {
	switch state {
	case 0:
		return Gone
	case runtime.Broken:
		return Half
	case runtime.Running, runtime.Exited:
		return Here
	}
	return Unclear
}

func idOf(p *skerryv1.Placement) string { return reconcile.InstanceID(p.GetProject(), p.GetName()) }
