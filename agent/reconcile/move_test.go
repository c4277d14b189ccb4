package reconcile

import (
	"slices"
	"testing"
	"time"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// What is to end in the middle of a move is ended when the site knows which node
// has its volumes, and at once when it has none.
func TestWhatMovesWithVolumesIsNotEndedBeforeTheSiteKnowsWhereItIs(t *testing.T) {
	volume := []*skerryv1.Disk{{Name: "data", Volume: "data"}}
	for _, test := range []struct {
		name     string
		disks    []*skerryv1.Disk
		incoming bool
		state    runtime.State
		waits    bool
	}{
		{"handed over, with a volume", volume, false, runtime.Leaving, true},
		{"handed over, without", nil, false, runtime.Leaving, false},
		{"not handed over", volume, false, runtime.Running, false},
		{"taken over, with a volume", volume, true, runtime.Running, true},
		{"taken over, and ended since", volume, true, runtime.Exited, true},
		{"taken over, without", nil, true, runtime.Running, false},
		{"not taken over", volume, true, runtime.Broken, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := newVM(t)
			v.order.Spec.Vm.Disks = test.disks
			v.order.Migration = &skerryv1.Migration{
				State: skerryv1.MigrationState_MIGRATION_STATE_COPYING, Other: "n2", Attempt: 7, Incoming: test.incoming,
			}
			v.truth.State = test.state
			v.settle()
			v.truth = &runtime.Instance{ID: "p.vm-1", State: test.state} // as it was found
			v.order.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP
			v.order.Power = &skerryv1.Power{}
			if did := v.settle(); (len(did) == 0) != test.waits {
				t.Errorf("it does %v", did)
			}
			if !test.waits {
				return
			}
			if report := v.core.tasks["p.vm-1"].migration(); test.incoming && !report.GetArrived() {
				t.Errorf("meanwhile it says %v", report)
			}
			v.order.Migration = nil // the site knows
			if did := v.settle(); len(did) == 0 {
				t.Error("it is not ended when the site knows")
			}
		})
	}
}

// While it is taken in nobody says that nothing of it is there.
func TestWhatIsTakenInIsNotGone(t *testing.T) {
	v := newVM(t)
	v.truth = nil
	v.core = New()
	v.order.Migration = &skerryv1.Migration{State: skerryv1.MigrationState_MIGRATION_STATE_COPYING, Other: "n2", Attempt: 7, Incoming: true}
	v.settle()
	if !v.core.Hold("p.vm-1") {
		t.Fatal("it cannot be held")
	}
	v.order.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP
	v.settle()
	if task := v.core.tasks["p.vm-1"]; task.gone() {
		t.Error("it is said to be gone")
	}
	v.core.Release("p.vm-1")
	v.settle()
	if task := v.core.tasks["p.vm-1"]; !task.gone() {
		t.Error("it is not said to be gone")
	}
}

func TestWhatMovesIsOnOneNode(t *testing.T) {
	for _, test := range []struct {
		name     string
		incoming bool
		truth    *runtime.Instance
		want     bool
	}{
		{"it runs and leaves", false, &runtime.Instance{ID: "p.vm-1", State: runtime.Running}, true},
		{"it was handed over", false, &runtime.Instance{ID: "p.vm-1", State: runtime.Leaving}, false},
		{"it is to come", true, nil, false},
		{"it is coming", true, &runtime.Instance{ID: "p.vm-1", State: runtime.Broken}, false},
		{"it has come", true, &runtime.Instance{ID: "p.vm-1", State: runtime.Running}, true},
		{"it has come and ended", true, &runtime.Instance{ID: "p.vm-1", State: runtime.Exited}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			core, p := New(), order("vm-1", "")
			p.Migration = &skerryv1.Migration{State: skerryv1.MigrationState_MIGRATION_STATE_COPYING, Other: "n2", Attempt: 7, Incoming: test.incoming}
			if core.IsHere("p.vm-1") {
				t.Error("what nobody knows of is here")
			}
			core.Desire([]*skerryv1.Placement{p})
			core.Looking()
			var all []runtime.Instance
			if test.truth != nil {
				all = append(all, *test.truth)
			}
			core.Observe(all, 0)
			if got := core.IsHere("p.vm-1"); got != test.want {
				t.Errorf("it is here: %v", got)
			}
		})
	}
}

// A look in the middle of a move sees half of it, and what the move has made of it
// since must not be ended for that.
func TestNothingIsDoneToWhatWasHeldBeforeItIsLookedAt(t *testing.T) {
	for _, incoming := range []bool{true, false} {
		v := newVM(t)
		v.order.Spec.Vm.Disks = []*skerryv1.Disk{{Name: "data", Volume: "data"}}
		v.order.Migration = &skerryv1.Migration{
			State: skerryv1.MigrationState_MIGRATION_STATE_COPYING, Other: "n2", Attempt: 7, Incoming: incoming,
		}
		came := runtime.Leaving
		if incoming {
			came, v.truth, v.core = runtime.Running, nil, New()
		}
		v.settle()
		if !v.core.Hold("p.vm-1") {
			t.Fatal("it cannot be held")
		}
		if incoming {
			v.truth = &runtime.Instance{ID: "p.vm-1", State: runtime.Broken}
		} else {
			v.order.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP
		}
		v.settle()
		v.core.Looking() // begins before the end of it
		v.truth = &runtime.Instance{ID: "p.vm-1", State: came}
		v.core.Release("p.vm-1")
		for _, look := range []bool{true, false} {
			if actions, _ := v.core.Step(v.now); len(actions) > 0 {
				t.Errorf("incoming %v: before it is looked at it does %v", incoming, actions[0].Kind)
			}
			if look {
				v.core.Observe(nil, v.now)
			}
		}
		if did := v.settle(); len(did) != 0 {
			t.Errorf("incoming %v: then it does %v", incoming, did)
		}
	}
}

// What moves has not ended.
func TestAMoveIsNoRestart(t *testing.T) {
	v := newVM(t)
	for _, state := range []runtime.State{runtime.Leaving, runtime.Running, runtime.Leaving} {
		v.truth.State = state
		v.settle()
		if s := v.core.Status("p", "vm-1"); s.GetPhase() != skerryv1.Phase_PHASE_RUNNING || s.GetRestarts() != 0 {
			t.Errorf("in state %d it is %v", state, s)
		}
	}
	v.truth.State = runtime.Exited // its power was cut meanwhile
	v.core.Looking()
	v.core.Observe([]runtime.Instance{*v.truth}, v.now)
	if s := v.core.Status("p", "vm-1"); s.GetRestarts() != 1 {
		t.Errorf("once it has ended it is %v", s)
	}
}

// It came unseen, and was ordered to end meanwhile.
func TestWhatCameUnseenIsNotGone(t *testing.T) {
	v := newVM(t)
	v.truth, v.core = nil, New()
	v.order.Migration = &skerryv1.Migration{State: skerryv1.MigrationState_MIGRATION_STATE_COPYING, Other: "n2", Attempt: 7, Incoming: true}
	v.settle()
	if !v.core.Hold("p.vm-1") {
		t.Fatal("it cannot be held")
	}
	v.order.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP
	v.core.Desire([]*skerryv1.Placement{v.order})
	v.core.Release("p.vm-1")
	if v.core.tasks["p.vm-1"].gone() {
		t.Error("it is said to be gone before anybody has looked")
	}
}

// What has come and lost its lease before the site knows that it came is stopped, and kept:
// were it removed, it would be said never to have come.
func TestWhatHasComeAndLostItsLeaseIsStoppedAndKept(t *testing.T) {
	v := newVM(t)
	v.order.Spec.Partition = &skerryv1.Partition{Mode: manifest.Exclusive}
	v.order.Migration = &skerryv1.Migration{State: skerryv1.MigrationState_MIGRATION_STATE_COPYING, Other: "n2", Attempt: 7, Incoming: true}
	v.truth = &runtime.Instance{ID: "p.vm-1", State: runtime.Running}
	v.core.Permit(map[string]Permit{"p.vm-1": {Over: true, Left: time.Minute}})
	if did := v.settle(); !slices.Equal(did, []Kind{Stop}) {
		t.Errorf("it does %v", did)
	}
	task := v.core.tasks["p.vm-1"]
	if !task.migration().GetArrived() || task.gone() {
		t.Errorf("it says that it has come: %v, and that it is gone: %v", task.migration().GetArrived(), task.gone())
	}
	v.order.Node, v.order.Migration = "n2", nil // the site knows
	if did := v.settle(); !slices.Equal(did, []Kind{Remove}) {
		t.Errorf("when the site knows it does %v", did)
	}
}
