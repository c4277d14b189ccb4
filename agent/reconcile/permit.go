package reconcile

import (
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// Permit is what its lease allows an exclusive placement now. Without one it may
// not start.
type Permit struct {
	// Run: it may be started, and run.
	Run bool
	// Over: its lease has ended for good. What runs is stopped and never started
	// again.
	Over bool
	// Left is how long what is stopped may take to end by itself.
	Left time.Duration
	// Unknown: what held before this agent began is not known yet. What runs may go
	// on meanwhile.
	Unknown bool
	// Why it may not run, for people.
	Why string
}

// Permit takes over what leases allow, by instance.
func (c *Core) Permit(permits map[string]Permit) {
	for id, t := range c.tasks {
		t.permit = permits[id]
	}
}

// exclusive: it runs under a lease.
func (t *task) exclusive() bool {
	return t.desired != nil && t.desired.GetSpec().GetPartition().GetMode() == manifest.Exclusive
}

// lapsed: its lease has ended.
func (t *task) lapsed() bool { return t.exclusive() && t.permit.Over }

// awaitsLease: it must not be started now.
func (t *task) awaitsLease() bool { return t.exclusive() && !t.permit.Run }

// await says what it waits for.
func (t *task) await() {
	if t.status.GetPhase() != skerryv1.Phase_PHASE_BACKOFF {
		t.status.Phase = skerryv1.Phase_PHASE_PREPARING
	}
	t.status.Message = shorten("it waits for its lease: " + t.permit.Why)
}
