package move

import (
	"testing"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// attempt 7 to move p.vm-1 from n1 to n2, as one of the two is told.
func ordered(incoming bool, change ...func(*skerryv1.Placement)) *skerryv1.Placement {
	p := &skerryv1.Placement{
		Project: "p", Name: "vm-1", Node: "n1", Desired: skerryv1.DesiredState_DESIRED_STATE_RUN, Spec: &skerryv1.Workload{Vm: &skerryv1.VirtualMachine{}},
		Migration: &skerryv1.Migration{State: skerryv1.MigrationState_MIGRATION_STATE_COPYING, Other: "n2", Attempt: 7, Incoming: incoming},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func isOver(p *skerryv1.Placement)  { p.Migration = nil }
func isToEnd(p *skerryv1.Placement) { p.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP }
func hasVolume(p *skerryv1.Placement) {
	p.Spec.Vm.Disks = []*skerryv1.Disk{{Name: "data", Volume: "data"}}
}
func hasMoved(p *skerryv1.Placement) { p.Node, p.Migration = "n2", nil }

// knows of the one instance.
type knows struct{ failed, leaving bool }

func (k knows) HasFailed(string, uint64) bool { return k.failed }
func (k knows) IsLeaving(string) bool         { return k.leaving }

func TestWhatIsDue(t *testing.T) {
	for name, test := range map[string]struct {
		p     *skerryv1.Placement
		known knows
		want  bool
	}{
		"it is to move":                                {ordered(false), knows{}, true},
		"it was not handed over in this attempt":       {ordered(false), knows{failed: true}, false},
		"it was handed over":                           {ordered(false), knows{leaving: true}, true},
		"it was handed over, and is not to move":       {ordered(false, isOver), knows{leaving: true}, true},
		"it is not to move":                            {ordered(false, isOver), knows{}, false},
		"it comes":                                     {ordered(true), knows{}, false},
		"it is to end, and its volume may be there":    {ordered(false, isToEnd, hasVolume), knows{leaving: true}, true},
		"it is to end, and was not handed over":        {ordered(false, isToEnd, hasVolume), knows{}, false},
		"it is to end, and has no volume":              {ordered(false, isToEnd), knows{leaving: true}, false},
		"it is to end, and the site knows where it is": {ordered(false, isToEnd, hasVolume, isOver), knows{leaving: true}, false},
	} {
		if got := Due(test.p, test.known); got != test.want {
			t.Errorf("%s: it is due: %v", name, got)
		}
	}
}

func TestTheNextStep(t *testing.T) {
	for name, test := range map[string]struct {
		p     *skerryv1.Placement
		state runtime.State
		want  Step
	}{
		"it runs and is to move":                {ordered(false), runtime.Running, Send},
		"it runs and is not to move":            {ordered(false, isOver), runtime.Running, Rest},
		"it was handed over":                    {ordered(false), runtime.Leaving, Ask},
		"it was handed over, and the site says": {ordered(false, isOver), runtime.Leaving, Settle},
		"it does not run":                       {ordered(false), runtime.Exited, Rest},
		"it is not there":                       {ordered(false), 0, Rest},
	} {
		if got := StepOf(test.p, test.state); got != test.want {
			t.Errorf("%s: the next step is %d, want %d", name, got, test.want)
		}
	}
}

func TestWhatMayBeTakenIn(t *testing.T) {
	for name, test := range map[string]struct {
		p    *skerryv1.Placement
		from string
		want bool
	}{
		"it comes":                   {ordered(true), "n1", true},
		"from another node":          {ordered(true), "n3", false},
		"there is no order":          {nil, "n1", false},
		"it is to end":               {ordered(true, isToEnd), "n1", false},
		"it is not to move any more": {ordered(true, isOver), "n1", false},
		"it is this node's":          {ordered(false), "n1", false},
	} {
		if err := MayTake(test.p, "vm-1", test.from, 7); (err == nil) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if MayTake(ordered(true), "vm-1", "n1", 6) == nil {
		t.Error("an older attempt is taken in")
	}
}

func TestWhatIsThereIsNotTakenInOnceMore(t *testing.T) {
	for state, want := range map[runtime.State]bool{
		0: true, runtime.Broken: true, runtime.Running: false, runtime.Exited: false, runtime.Unknown: false, runtime.Leaving: false,
	} {
		if err := MayBegin(ordered(true), "vm-1", "n1", 7, state); (err == nil) != want {
			t.Errorf("in state %d: %v", state, err)
		}
	}
	if MayBegin(ordered(true, isOver), "vm-1", "n1", 7, 0) == nil {
		t.Error("it is taken in without an order")
	}
}

// What came with a machine stays where it came as long as the site does not know of it;
// after that nothing that is missing here says that it never came.
func TestWhoMaySayWhatBecameOfAnAttempt(t *testing.T) {
	for name, test := range map[string]struct {
		p    *skerryv1.Placement
		want bool
	}{
		"it comes":                                {ordered(true), true},
		"it comes, is to end, and has a volume":   {ordered(true, isToEnd, hasVolume), true},
		"it comes, is to end, and has none":       {ordered(true, isToEnd), false},
		"it came, as the site knows":              {ordered(false, hasMoved), false},
		"it came, and is to end":                  {ordered(false, hasMoved, isToEnd, hasVolume), false},
		"it is not to move any more":              {ordered(true, isOver), false},
		"it came, was ended, and nothing is left": {nil, false},
	} {
		if err := MayTell(test.p, "vm-1", "n1", 7); (err == nil) != test.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if MayTell(ordered(true), "vm-1", "n1", 6) == nil || MayTell(ordered(true), "vm-1", "n3", 7) == nil {
		t.Error("it says what became of another attempt")
	}
}

func TestWhatBecameOfAnAttempt(t *testing.T) {
	for state, want := range map[runtime.State]Fate{
		0: Gone, runtime.Broken: Half, runtime.Running: Here, runtime.Exited: Here, runtime.Unknown: Unclear, runtime.Leaving: Unclear, runtime.Prepared: Unclear,
	} {
		if got := FateOf(state); got != want {
			t.Errorf("in state %d its fate is %d, want %d", state, got, want)
		}
	}
}
