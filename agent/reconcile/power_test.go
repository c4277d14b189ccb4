package reconcile

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// vm is a core with one virtual machine, and the truth that its actions make.
type vm struct {
	t     *testing.T
	core  *Core
	order *skerryv1.Placement
	truth *runtime.Instance
	now   time.Duration
	did   []Kind
}

func newVM(t *testing.T) *vm {
	p := order("vm-1", "")
	p.Spec.Container = nil
	p.Spec.StopGrace = "1m"
	p.Spec.Vm = &skerryv1.VirtualMachine{Image: "disk", Cpu: 2, Memory: "1Gi"}
	v := &vm{t: t, core: New(), order: p}
	v.settle()
	return v
}

// settle lets everything happen that is to happen now, and returns it.
func (v *vm) settle() []Kind {
	v.t.Helper()
	v.did = nil
	v.core.Desire([]*skerryv1.Placement{v.order})
	for range 20 {
		v.core.Looking()
		var all []runtime.Instance
		if v.truth != nil {
			all = []runtime.Instance{*v.truth}
		}
		v.core.Observe(all, v.now)
		actions, _ := v.core.Step(v.now)
		for _, a := range actions {
			v.did = append(v.did, a.Kind)
			v.act(a)
			v.core.Done(a, nil, v.now)
		}
		if len(actions) == 0 {
			return v.did
		}
	}
	v.t.Fatalf("it does not come to rest: %v", v.did)
	return nil
}

func (v *vm) act(a Action) {
	switch a.Kind {
	case Prepare:
		v.truth = &runtime.Instance{ID: a.ID, SpecHash: a.Spec.Hash(), State: runtime.Prepared, Cycle: a.Spec.Cycle}
	case Start:
		v.truth.State, v.truth.Accel = runtime.Running, "tcg"
	case Pause, Resume:
		v.truth.Paused = a.Kind == Pause
	case Stop:
		if hard := v.order.GetPower().GetHard(); hard != (a.Grace == 0) {
			v.t.Errorf("with hard %t the guest gets %s", hard, a.Grace)
		}
		v.truth.State, v.truth.Exit = runtime.Exited, &skerryv1.Exit{}
	case Remove:
		v.truth = nil
	case Adjust:
		v.truth.SpecHash, v.truth.Devices = a.Spec.Hash(), a.Spec.DevicesHash()
	}
}

func (v *vm) want(what string, power *skerryv1.Power, want ...Kind) {
	v.t.Helper()
	next := v.order.ProtoReflect().Interface().(*skerryv1.Placement)
	v.order = &skerryv1.Placement{
		Project: next.GetProject(), Name: next.GetName(), Workload: next.GetWorkload(), ImageDigest: next.GetImageDigest(),
		Desired: next.GetDesired(), Spec: next.GetSpec(), Power: power,
	}
	if got := v.settle(); !slices.Equal(got, want) {
		v.t.Errorf("%s: it does %v, want %v", what, got, want)
	}
	if got := v.settle(); len(got) != 0 {
		v.t.Errorf("%s: then it does %v", what, got)
	}
}

func TestPowerOfAVirtualMachine(t *testing.T) {
	const on, off, paused = skerryv1.PowerState_POWER_STATE_ON, skerryv1.PowerState_POWER_STATE_OFF, skerryv1.PowerState_POWER_STATE_PAUSED
	v := newVM(t)
	v.want("it is to be paused", &skerryv1.Power{State: paused}, Pause)
	v.want("it is to go on", &skerryv1.Power{State: on}, Resume)
	v.want("it is to be restarted", &skerryv1.Power{State: on, Cycle: 1}, Stop, Remove, Prepare, Start)
	v.want("it is to be reset", &skerryv1.Power{State: on, Cycle: 2, Hard: true}, Stop, Remove, Prepare, Start)
	v.want("it is to be off", &skerryv1.Power{State: off, Cycle: 2}, Stop)
	if s := v.core.Status("p", "vm-1"); s.GetPhase() != skerryv1.Phase_PHASE_STOPPED || s.GetRestarts() != 0 {
		t.Errorf("while it is off its status is %v", s)
	}
	v.core = New() // the agent was started again
	v.want("it stays off", &skerryv1.Power{State: off, Cycle: 2})
	v.want("it is to be on", &skerryv1.Power{State: on, Cycle: 2}, Remove, Fetch, Prepare, Start)
	v.want("it is to be restarted while it is off", &skerryv1.Power{State: off, Cycle: 2}, Stop)
	v.want("it begins with what was said last", &skerryv1.Power{State: on, Cycle: 3}, Remove, Prepare, Start)
	if s := v.core.Status("p", "vm-1"); s.GetPhase() != skerryv1.Phase_PHASE_RUNNING || s.GetRestarts() != 0 {
		t.Errorf("in the end its status is %v", s)
	}
}

func TestAnAgentThatStartsAgainRestartsNoVirtualMachine(t *testing.T) {
	v := newVM(t)
	v.truth.SpecHash = "as an older version had it"
	v.core = New()
	v.want("the next agent", nil)
	v.truth.Cycle = 0
	v.want("a restart that it missed", &skerryv1.Power{Cycle: 1}, Stop, Remove, Fetch, Prepare, Start)
}

func TestNothingIsDoneToWhatIsUnknown(t *testing.T) {
	v := newVM(t)
	known := *v.truth
	v.truth.State = runtime.Unknown
	v.want("libvirt does not answer", nil)
	v.core = New()
	v.want("nor the next agent's", nil)
	if reports := v.core.Reports(); len(reports) != 0 {
		t.Errorf("it reports %v of what it does not know", reports)
	}
	v.want("not even when it is to end", &skerryv1.Power{State: skerryv1.PowerState_POWER_STATE_OFF})
	v.truth = &known
	v.want("it answers again", nil)
}

func TestAGuestThatEndsByItselfIsStartedAgain(t *testing.T) {
	v := newVM(t)
	v.truth.State, v.truth.Exit = runtime.Exited, &skerryv1.Exit{Code: 134}
	v.settle()
	v.now += time.Minute
	v.settle()
	if v.truth == nil || v.truth.State != runtime.Running || v.core.Status("p", "vm-1").GetRestarts() != 1 {
		t.Errorf("it is %+v, %v", v.truth, v.core.Status("p", "vm-1"))
	}
}

func TestDevicesComeAndGoWhileItRuns(t *testing.T) {
	v := newVM(t)
	v.want("nothing is known of its devices", nil)
	v.truth.Devices = SpecOf(v.order).DevicesHash()
	v.want("it has what it should have", nil)
	spec := v.order.GetSpec()
	spec.Vm = &skerryv1.VirtualMachine{Image: "disk", Cpu: 2, Memory: "1Gi", Disks: []*skerryv1.Disk{{Name: "data", Volume: "data"}}}
	v.want("it is to get a disk", nil, Adjust)
	v.want("it is off", &skerryv1.Power{State: skerryv1.PowerState_POWER_STATE_OFF}, Stop)
	spec.Vm = &skerryv1.VirtualMachine{Image: "disk", Cpu: 2, Memory: "1Gi"}
	v.want("the disk goes while it is off", &skerryv1.Power{State: skerryv1.PowerState_POWER_STATE_OFF})
}

func TestAGuestThatGivesNothingUpRunsOn(t *testing.T) {
	v := newVM(t)
	v.truth.Devices = "others"
	v.core.Desire([]*skerryv1.Placement{v.order})
	v.core.Looking()
	v.core.Observe([]runtime.Instance{*v.truth}, v.now)
	actions, _ := v.core.Step(v.now)
	if len(actions) != 1 || actions[0].Kind != Adjust {
		t.Fatalf("it does %v", actions)
	}
	v.core.Done(actions[0], errors.New("it holds on"), v.now)
	if s := v.core.Status("p", "vm-1"); s.GetPhase() != skerryv1.Phase_PHASE_RUNNING || !strings.Contains(s.GetMessage(), "it holds on") {
		t.Errorf("its status is %v", s)
	}
	if actions, wake := v.core.Step(v.now); len(actions) != 0 || wake == 0 {
		t.Errorf("it is tried again at once: %v, %s", actions, wake)
	}
}
