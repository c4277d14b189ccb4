package reconcile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// machine is a node: the truth about its instances, the agent's core, and the
// actions that are under way. Its agent may crash at any point.
type machine struct {
	t         rapidTB
	now       time.Duration
	core      *Core
	instances map[string]*runtime.Instance
	orders    map[string]*skerryv1.Placement
	underWay  []flight
	// starts of an instance, and times that it ended by itself.
	starts, ends map[string]int
	// final removals that took effect.
	final map[string]bool
}

// flight is an action under way. It may have taken effect already.
type flight struct {
	Action
	landed bool
	err    error
}

type rapidTB interface {
	Helper()
	Fatalf(format string, args ...any)
}

func newMachine(t rapidTB) *machine {
	return &machine{
		t: t, core: New(), instances: map[string]*runtime.Instance{}, orders: map[string]*skerryv1.Placement{},
		starts: map[string]int{}, ends: map[string]int{}, final: map[string]bool{},
	}
}

func order(name, command string) *skerryv1.Placement {
	return &skerryv1.Placement{
		Project: "p", Name: name, Workload: "web", ImageDigest: "sha256:1", Desired: skerryv1.DesiredState_DESIRED_STATE_RUN,
		Spec: &skerryv1.Workload{
			Container: &skerryv1.Container{Image: "web", Command: []string{command}, Resources: &skerryv1.Resources{Cpu: "100m", Memory: "64Mi"}},
			Restart:   &skerryv1.Restart{Policy: "always", Backoff: "500ms", MaxBackoff: "1m"},
		},
	}
}

// step asks the core what to do, and checks that it may be done.
func (m *machine) step() time.Duration {
	m.t.Helper()
	actions, wake := m.core.Step(m.now)
	for _, action := range actions {
		for _, other := range m.underWay {
			if other.ID == action.ID {
				m.t.Fatalf("%v of %s while %v is under way", action.Kind, action.ID, other.Kind)
			}
		}
		wanted := m.orders[action.ID].GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN
		there := m.instances[action.ID]
		switch action.Kind {
		case Fetch, Prepare, Start:
			if !wanted {
				m.t.Fatalf("%v of %s, which is not wanted", action.Kind, action.ID)
			}
		case Stop, Remove:
			if wanted && there != nil && there.State == runtime.Running {
				m.t.Fatalf("%v of %s, which is wanted and runs", action.Kind, action.ID)
			}
			if wanted && action.Final {
				m.t.Fatalf("the logs of %s, which is wanted, are removed", action.ID)
			}
		}
		m.underWay = append(m.underWay, flight{Action: action})
	}
	if len(m.underWay) > maxActions {
		m.t.Fatalf("%d actions are under way", len(m.underWay))
	}
	return wake
}

// effect of an action on the truth, as a driver's contract has it.
func (m *machine) effect(action Action) error {
	m.t.Helper()
	there := m.instances[action.ID]
	switch action.Kind {
	case Prepare:
		if there != nil && there.SpecHash != action.Spec.Hash() {
			return errors.New("it exists with another spec")
		}
		if there == nil {
			m.instances[action.ID] = &runtime.Instance{ID: action.ID, SpecHash: action.Spec.Hash(), State: runtime.Prepared}
		}
	case Start:
		switch {
		case there == nil:
			return errors.New("it does not exist")
		case there.State == runtime.Exited:
			return errors.New("it has exited")
		case there.State == runtime.Prepared:
			there.State = runtime.Running
			m.starts[action.ID]++
		}
	case Stop:
		if there != nil && there.State == runtime.Running {
			there.State = runtime.Exited
		}
	case Remove:
		delete(m.instances, action.ID)
		if action.Final {
			m.final[action.ID] = true
		}
	}
	return nil
}

// end an instance from outside.
func (m *machine) end(id string) {
	if there := m.instances[id]; there != nil && there.State == runtime.Running {
		there.State, there.Exit = runtime.Exited, &skerryv1.Exit{Code: 1}
		m.ends[id]++
	}
}

func (m *machine) observe() {
	var truth []runtime.Instance
	for _, id := range slices.Sorted(maps.Keys(m.instances)) {
		truth = append(truth, *m.instances[id])
	}
	m.core.Observe(truth, m.now)
}

func (m *machine) desire() {
	var all []*skerryv1.Placement
	for _, id := range slices.Sorted(maps.Keys(m.orders)) {
		all = append(all, m.orders[id])
	}
	m.core.Desire(all)
}

// crash loses the agent and all that it knew.
func (m *machine) crash(ordersFirst bool) {
	m.underWay, m.core = nil, New()
	if ordersFirst {
		m.desire()
		m.observe()
	} else {
		m.observe()
		m.desire()
	}
}

// TestWhateverHappensTheNodeRunsWhatItShould lets actions fail before or after
// they took effect, the agent crash, the power go, instances end and orders
// change. No instance that is wanted and runs is ever touched, none is started
// more often than it ended, and when all is quiet the node runs what it should.
func TestWhateverHappensTheNodeRunsWhatItShould(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		m := newMachine(r)
		for range rapid.IntRange(1, 60).Draw(r, "events") {
			m.random(r)
			m.check()
		}
		m.settle()
		for id, p := range m.orders {
			there := m.instances[id]
			switch p.GetDesired() {
			case skerryv1.DesiredState_DESIRED_STATE_RUN:
				if there == nil || there.State != runtime.Running || there.SpecHash != SpecOf(p).Hash() {
					r.Fatalf("%s is wanted, and is %v", id, there)
				}
				if m.starts[id] > m.ends[id]+1 {
					r.Fatalf("%s was started %d times and ended %d times", id, m.starts[id], m.ends[id])
				}
			default:
				if there != nil {
					r.Fatalf("%s is not wanted, and is %v", id, there)
				}
			}
		}
		for id := range m.instances {
			if m.orders[id] == nil {
				r.Fatalf("%s, which no orders name, is left", id)
			}
		}
		for _, report := range m.core.Reports() {
			id := InstanceID(report.GetProject(), report.GetPlacement())
			if report.GetGone() != (m.instances[id] == nil) {
				r.Fatalf("%s is reported gone: %t", id, report.GetGone())
			}
		}
	})
}

func (m *machine) random(r *rapid.T) {
	id := fmt.Sprintf("p.web-%d", rapid.IntRange(1, 12).Draw(r, "id"))
	switch rapid.IntRange(0, 13).Draw(r, "event") {
	case 0, 1: // it is ordered; a name is never ordered twice with other contents
		if _, known := m.orders[id]; !known && !m.final[id] && m.instances[id] == nil {
			m.orders[id] = order(id[2:], "a")
			m.desire()
		}
	case 2: // it is to stop
		if p := m.orders[id]; p != nil {
			p = proto.CloneOf(p)
			p.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP
			m.orders[id] = p
			m.desire()
		}
	case 3: // the site forgets it
		if m.orders[id].GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP && m.instances[id] == nil {
			delete(m.orders, id)
			m.final[id] = true
			m.desire()
		}
	case 4:
		m.end(id)
	case 5:
		m.now += time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(r, "pause"))
	case 6: // the agent dies; some of what it began is done
		for _, f := range m.underWay {
			if !f.landed && rapid.Bool().Draw(r, "done") {
				_ = m.effect(f.Action) // nobody is left to hear of an error
			}
		}
		m.crash(rapid.Bool().Draw(r, "orders first"))
	case 7: // the power goes
		for id := range m.instances {
			m.end(id)
		}
		m.crash(rapid.Bool().Draw(r, "orders first"))
	case 8:
		m.observe()
	case 9:
		m.step()
		m.land(r)
	default:
		m.step()
		m.finish(r)
	}
}

// land lets one action take effect. Its end is not told yet.
func (m *machine) land(r *rapid.T) {
	if len(m.underWay) == 0 {
		return
	}
	f := &m.underWay[rapid.IntRange(0, len(m.underWay)-1).Draw(r, "action")]
	if !f.landed {
		f.landed, f.err = true, m.effect(f.Action)
	}
}

// finish one action, well or not.
func (m *machine) finish(r *rapid.T) {
	if len(m.underWay) == 0 {
		return
	}
	at := rapid.IntRange(0, len(m.underWay)-1).Draw(r, "action")
	f := m.underWay[at]
	m.underWay = slices.Delete(m.underWay, at, at+1)
	how := rapid.IntRange(0, 3).Draw(r, "how")
	switch {
	case how == 0 && !f.landed:
		f.err = errors.New("it failed")
	case !f.landed:
		f.err = m.effect(f.Action)
	}
	if how == 1 {
		f.err = errors.New("the answer got lost")
	}
	m.core.Done(f.Action, f.err, m.now)
	m.observe()
}

// check what must hold at any time: nothing that may still run is told to be
// gone.
func (m *machine) check() {
	m.t.Helper()
	for _, report := range m.core.Reports() {
		id := InstanceID(report.GetProject(), report.GetPlacement())
		if there := m.instances[id]; report.GetGone() && there != nil && there.State == runtime.Running {
			m.t.Fatalf("%s runs and is reported gone", id)
		}
	}
}

// settle lets everything succeed until nothing is to be done.
func (m *machine) settle() {
	m.t.Helper()
	m.observe() // what ended last is seen sooner or later
	for range 1000 {
		wake := m.step()
		if len(m.underWay) == 0 && wake == 0 {
			return
		}
		for _, f := range m.underWay {
			if !f.landed {
				f.err = m.effect(f.Action)
			}
			m.core.Done(f.Action, f.err, m.now)
		}
		m.underWay = nil
		m.observe()
		m.now += wake
	}
	m.t.Fatalf("it never comes to rest")
}
