package reconcile

import (
	"skerry.dev/agent/runtime"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// move of a virtual machine to another node, or from one.
type move struct {
	// held: whoever moves it is at it, and nothing else is done to it.
	held bool
	// unseen: what became of it while it was held is not known until it is looked at.
	unseen bool
	// gaveUp is the attempt that was not handed over, and why.
	gaveUp    uint64
	gaveUpWhy string
}

// Hold an instance for a move; false when something is done to it.
func (c *Core) Hold(id string) bool {
	t := c.tasks[id]
	if t == nil || t.busy != 0 || t.held {
		return false
	}
	t.held = true
	return true
}

// Release it. What was seen while it was held may be half of the truth, so nothing is
// done to it, or told of it, before the next look.
func (c *Core) Release(id string) {
	if t := c.tasks[id]; t != nil {
		t.held, t.unseen, t.acted = false, true, c.looking
	}
}

// Tell people of an instance that moves.
func (c *Core) Tell(id, message string) {
	if t := c.tasks[id]; t != nil {
		t.status.Message = shorten(message)
	}
}

// MoveFailed notes that an attempt was not handed over.
func (c *Core) MoveFailed(id string, attempt uint64, why string) {
	if t := c.tasks[id]; t != nil {
		t.gaveUp, t.gaveUpWhy, t.status.Message = attempt, shorten(why), ""
	}
}

// HasFailed tells whether that was noted.
func (c *Core) HasFailed(id string, attempt uint64) bool {
	t := c.tasks[id]
	return t != nil && t.gaveUp == attempt
}

// IsLeaving: it was handed to another node, and may run there.
func (c *Core) IsLeaving(id string) bool {
	t := c.tasks[id]
	return t != nil && t.leaves()
}

func (t *task) leaves() bool { return t.observed != nil && t.observed.State == runtime.Leaving }

// IsHere: what moves was not handed over, or has come.
func (c *Core) IsHere(id string) bool {
	t := c.tasks[id]
	switch {
	case t == nil:
		return false
	case t.incoming():
		return t.hasCome()
	default:
		return !c.IsLeaving(id)
	}
}

// incoming: it comes from another node, which still has it.
func (t *task) incoming() bool { return t.desired.GetMigration().GetIncoming() }

// hasCome from another node: it runs here, or did.
func (t *task) hasCome() bool {
	return t.incoming() && t.observed != nil && (t.observed.State == runtime.Running || t.observed.State == runtime.Exited)
}

// undecidedMove: it is on two nodes, and the site does not know yet whose it is. Ended
// now, what its guest wrote last to its volumes could be lost; removed because its lease
// has ended here, it would be said never to have come, and go on at its old node as it was
// when it left.
func (t *task) undecidedMove() bool {
	if t.observed == nil || t.desired.GetMigration().GetState() != skerryv1.MigrationState_MIGRATION_STATE_COPYING {
		return false
	}
	if len(manifest.VolumesOf(t.desired.GetSpec())) > 0 {
		return t.leaves() || t.hasCome()
	}
	return t.hasCome() && !t.running() && t.lapsed() && t.desired.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN
}

// migration is what there is to say of a move; nil for nothing.
func (t *task) migration() *sitev1.MigrationReport {
	attempt := t.desired.GetMigration().GetAttempt()
	switch {
	case attempt == 0:
		return nil
	case t.hasCome():
		return &sitev1.MigrationReport{Attempt: attempt, Arrived: true}
	case !t.incoming() && t.gaveUp == attempt:
		return &sitev1.MigrationReport{Attempt: attempt, Failed: t.gaveUpWhy}
	default:
		return nil
	}
}

// moves leaves alone what may run elsewhere, and makes ready what comes. handled:
// nothing else is to be done to it now.
func (t *task) moves(action Action) (_ Action, act, handled bool) {
	switch {
	case t.leaves():
		return Action{}, false, true
	case !t.incoming() || t.running():
		return Action{}, false, false
	case t.observed != nil && t.observed.State != runtime.Exited:
		action.Kind, action.Final = Remove, true // a rest of an attempt
		return action, true, true
	case t.observed == nil && !t.imageReady:
		action.Kind, action.Spec = Fetch, SpecOf(t.desired)
		return action, true, true
	default:
		return Action{}, false, true
	}
}
