package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// machine is what runs on one host: a driver's truth, with the rules watching.
// It outlives the agent's process; a power cut ends all that runs.
type machine struct {
	host      *host
	instances map[string]*instance
	// images that are wholly present, by digest.
	images map[string]bool
	// changed hints that something changed by itself.
	changed func()
}

type instance struct {
	runtime.Instance
	workload string
}

func newMachine(h *host) *machine {
	return &machine{host: h, instances: map[string]*instance{}, images: map[string]bool{}, changed: func() {}}
}

// list is the truth, sorted.
func (m *machine) list() []runtime.Instance {
	var all []runtime.Instance
	for _, i := range m.instances {
		all = append(all, i.Instance)
	}
	slices.SortFunc(all, func(a, b runtime.Instance) int {
		if a.ID < b.ID {
			return -1
		}
		return 1
	})
	return all
}

// runs tells whether an instance runs.
func (m *machine) runs(id string) bool {
	i := m.instances[id]
	return i != nil && i.State == runtime.Running
}

func (m *machine) prepare(spec runtime.Spec) error {
	if !m.images[spec.ImageDigest] {
		return fmt.Errorf("image %s is not here", spec.ImageDigest)
	}
	if old := m.instances[spec.ID]; old != nil {
		if old.SpecHash != spec.Hash() {
			return fmt.Errorf("%s exists with another spec", spec.ID)
		}
		return nil
	}
	m.instances[spec.ID] = &instance{
		Instance: runtime.Instance{ID: spec.ID, SpecHash: spec.Hash(), State: runtime.Prepared},
		workload: spec.Workload,
	}
	return nil
}

func (m *machine) start(id string) error {
	i := m.instances[id]
	switch {
	case i == nil:
		return fmt.Errorf("%s is not prepared", id)
	case i.State == runtime.Running:
		return nil
	case i.State == runtime.Exited:
		return fmt.Errorf("%s has exited", id)
	}
	i.State, i.StartedAt = runtime.Running, m.host.now()
	i.Address = "10.0.0.1"
	m.host.world.trace.note(m.host.name, "%s runs", id)
	m.host.world.violate(m.host.world.truth.Started(m.host.name, id, i.workload, stayLimit(i.workload)))
	return nil
}

// stop ends an instance because the agent says so.
func (m *machine) stop(id string) {
	if !m.runs(id) {
		return
	}
	w := m.host.world
	w.violate(w.truth.Stopped(m.host.name, id, w.wanted(id)))
	m.end(id, &skerryv1.Exit{Code: 143}, "is stopped")
}

func (m *machine) end(id string, exit *skerryv1.Exit, how string) {
	i := m.instances[id]
	if i == nil || i.State != runtime.Running {
		return
	}
	i.State, i.Exit, i.Address = runtime.Exited, exit, ""
	m.host.world.trace.note(m.host.name, "%s %s", id, how)
	m.host.world.truth.Ended(id, i.workload, stayLimit(i.workload))
}

func (m *machine) remove(id string) {
	m.stop(id)
	delete(m.instances, id)
}

// powerOff ends all that runs, and nobody sees how.
func (m *machine) powerOff() {
	for _, i := range m.list() {
		m.end(i.ID, nil, "loses power")
	}
}

// exitOne ends some running instance by itself.
func (m *machine) exitOne(rng *rand.Rand) {
	running := slices.DeleteFunc(m.list(), func(i runtime.Instance) bool { return i.State != runtime.Running })
	if len(running) > 0 {
		m.end(running[rng.IntN(len(running))].ID, &skerryv1.Exit{Code: int32(rng.IntN(2))}, "exits")
		m.changed()
	}
}

// stayLimit is how often a workload that stays may run; 0 for all others.
func stayLimit(workload string) int {
	if slices.Contains(staying, workload) {
		return 1
	}
	return 0
}
