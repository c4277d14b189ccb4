package reconcile

import (
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/agent/runtime"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// maxActions are under way at once, health checks apart: a node that comes
// back from a power cut must not start everything in the same second.
const maxActions = 8

// maxFetches of them are of images: those that take half an hour must not keep
// a container that ended from starting again.
const maxFetches = 4

// Core is the node's state as far as its placements go.
type Core struct {
	tasks map[string]*task
	// ids of the tasks, sorted.
	ids []string
	// node is the record of this one.
	node *skerryv1.Node
	// informed: the node has orders, so what they do not name is not wanted.
	informed bool
	busy     int
	fetching int
	// looking: a look at the truth has begun and is not taken in yet.
	looking bool
	// looked: the truth was seen once. Before that nothing is known to be gone.
	looked bool
}

// New returns a core that knows nothing yet.
func New() *Core { return &Core{tasks: map[string]*task{}} }

// Desire takes over the node's orders, whole.
func (c *Core) Desire(placements []*skerryv1.Placement) {
	c.informed = true
	named := map[string]bool{}
	for _, p := range placements {
		id := InstanceID(p.GetProject(), p.GetName())
		named[id] = true
		t := c.task(id)
		if t.desired == nil || !proto.Equal(t.desired, p) {
			t.desire(p)
		}
		t.outside = c.outside(p)
	}
	for id, t := range c.tasks {
		if !named[id] {
			t.desired = nil
		}
	}
}

// Looking tells that a look at the truth begins, whose result goes to Observe.
// What an action does from now on may be missing in it.
func (c *Core) Looking() {
	c.looking = true
	for _, t := range c.tasks {
		t.acted = false
	}
}

// Observe takes in the truth of what is there. Instances with an action under
// way, or one that ended during the look, are left out: what the action did may
// have come after the look.
func (c *Core) Observe(instances []runtime.Instance, now time.Duration) {
	there := map[string]bool{}
	for _, instance := range instances {
		there[instance.ID] = true
		c.task(instance.ID).observe(&instance, now)
	}
	for id, t := range c.tasks {
		if !there[id] {
			t.observe(nil, now)
		}
	}
	c.looking, c.looked = false, true
	for _, t := range c.tasks {
		t.acted = false
	}
}

func (c *Core) task(id string) *task {
	t := c.tasks[id]
	if t == nil {
		t = &task{id: id, status: &skerryv1.PlacementStatus{}}
		c.tasks[id] = t
		at, _ := slices.BinarySearch(c.ids, id)
		c.ids = slices.Insert(c.ids, at, id)
	}
	return t
}

// Step names what to do now, and after how long to ask again at the latest; 0
// for when something happens.
func (c *Core) Step(now time.Duration) ([]Action, time.Duration) {
	var actions []Action
	var wake time.Duration
	c.ids = slices.DeleteFunc(c.ids, c.forget)
	for _, id := range c.ids {
		t := c.tasks[id]
		if t.desired == nil && !c.informed {
			continue // without orders nothing is touched
		}
		if check, ok := t.check(now); ok {
			actions = append(actions, check)
		}
		if action, ok := t.next(now); ok && c.begin(action.Kind) {
			t.busy = action.Kind
			actions = append(actions, action)
		}
		wake = sooner(wake, t.wake(now))
	}
	return actions, wake
}

// begin takes a place for one more action; false when there is none.
func (c *Core) begin(kind Kind) bool {
	if c.busy == maxActions || (kind == Fetch && c.fetching == maxFetches) {
		return false
	}
	c.busy++
	if kind == Fetch {
		c.fetching++
	}
	return true
}

// forget a task that nobody wants and of which nothing is left; false keeps it.
func (c *Core) forget(id string) bool {
	t := c.tasks[id]
	if t.desired != nil || t.observed != nil || t.busy != 0 || t.checking || t.traces {
		return false
	}
	delete(c.tasks, id)
	return true
}

// Done tells what came of an action.
func (c *Core) Done(action Action, err error, now time.Duration) {
	t := c.tasks[action.ID]
	if t == nil {
		return
	}
	if action.Kind == Check {
		t.checked(err, now)
		return
	}
	c.busy--
	if action.Kind == Fetch {
		c.fetching--
	}
	t.acted = c.looking
	t.done(action, err, now)
}

// Reports are the present state of all placements that the orders name, sorted.
func (c *Core) Reports() []*sitev1.PlacementReport {
	reports := make([]*sitev1.PlacementReport, 0, len(c.ids))
	for _, id := range c.ids {
		t := c.tasks[id]
		if t.desired == nil || t.undecided() {
			continue
		}
		reports = append(reports, &sitev1.PlacementReport{
			Project: t.desired.GetProject(), Placement: t.desired.GetName(),
			Status: copyOf(t.status), Gone: c.looked && t.gone(), Lapsed: t.lapsed(),
			Migration: t.migration(),
		})
	}
	return reports
}

// Status of one placement; nil when it is not on this node.
func (c *Core) Status(project, name string) *skerryv1.PlacementStatus {
	t := c.tasks[InstanceID(project, name)]
	if t == nil {
		return nil
	}
	return copyOf(t.status)
}

// sooner of two waits, of which 0 means never.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

// SpecOf makes the driver's spec out of a placement.
func SpecOf(p *skerryv1.Placement) runtime.Spec {
	c := p.GetSpec().GetContainer()
	spec := runtime.Spec{
		ID: InstanceID(p.GetProject(), p.GetName()), Project: p.GetProject(), Placement: p.GetName(),
		Workload: p.GetWorkload(), ImageDigest: p.GetImageDigest(), Container: c,
		VM: p.GetSpec().GetVm(), Cycle: p.GetPower().GetCycle(), Identity: p.GetSpec().GetIdentity(),
	}
	if spec.VM != nil {
		spec.CPUMilli, spec.MemoryBytes, _ = manifest.VMSize(spec.VM)
		return spec
	}
	// Validated when the workload was applied.
	spec.CPUMilli, _ = manifest.CPU(c.GetResources().GetCpu())
	spec.MemoryBytes, _ = manifest.Memory(c.GetResources().GetMemory())
	return spec
}

// VolumesOf are what the orders say of the volumes that a spec names; nil when it
// names none.
func VolumesOf(spec runtime.Spec, ordered []*skerryv1.Volume) map[string]runtime.Volume {
	if len(manifest.VolumesOf(&skerryv1.Workload{Vm: spec.VM, Container: spec.Container})) == 0 {
		return nil
	}
	all := map[string]runtime.Volume{}
	for _, v := range ordered {
		size, err := manifest.Memory(v.GetSize())
		if v.GetProject() == spec.Project && !v.GetStatus().GetDeleting() && (err == nil || v.GetPath() != "") {
			all[v.GetName()] = runtime.Volume{SizeBytes: size, Made: v.GetStatus().GetMade(), Path: v.GetPath()}
		}
	}
	return all
}

// duration of a validated field, or a default.
func duration(text string, otherwise time.Duration) time.Duration {
	d, err := manifest.Duration(text)
	if err != nil {
		return otherwise
	}
	return d
}

// shorten keeps messages within what a status may hold.
func shorten(text string) string {
	const longest = 1000
	if len(text) <= longest {
		return text
	}
	return strings.ToValidUTF8(text[:longest], "") + "..."
}
