package supervisor

import (
	"testing"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestWhatEndedForGoodIsNotRunAgainByTheNextSupervisor(t *testing.T) {
	b := newBench(t)
	stop := b.run()
	once := placement("once-1")
	once.Spec.Restart.Policy = "never"
	b.orders.give(once)
	b.awaitPhase("once-1", skerryv1.Phase_PHASE_RUNNING)
	b.driver.End("default.once-1", &skerryv1.Exit{})
	b.awaitPhase("once-1", skerryv1.Phase_PHASE_STOPPED)
	stop()
	before := b.instances()
	// Orders are there long before the first look ends.
	b.open()
	b.Driver = slow{b.driver, func() { time.Sleep(100 * time.Millisecond) }}
	b.run()
	b.awaitPhase("once-1", skerryv1.Phase_PHASE_STOPPED)
	if after := b.instances(); after[0] != before[0] {
		t.Errorf("it was %v, is %v", before, after)
	}
}
