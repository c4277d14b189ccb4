package sim

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/model"
	"skerry.dev/chaos/check"
	"skerry.dev/shared/env"
)

// failures is how often a verb of the runtime fails while faults last.
const failures = 0.003

// machine is what runs on one host: the driver in memory, with the rules
// watching. It outlives the agent's process; a power cut ends all that runs.
type machine struct {
	host   *host
	driver *model.Driver
	rng    *rand.Rand
	// running instances; workloads of all that were ever prepared.
	running   map[string]bool
	workloads map[string]string
	// uses are the volumes of the virtual machines among them.
	uses map[string][]string
	// changed hints that something changed by itself.
	changed func()
	// sick instances never become healthy.
	sick map[string]bool
	// images are the digests of those that are wholly present, sorted; nil: look.
	images []string
}

func newMachine(h *host) *machine {
	m := &machine{
		host: h, driver: model.New(hostClock{h}), rng: h.world.rngFor(500 + uint64(h.index)),
		running: map[string]bool{}, workloads: map[string]string{}, uses: map[string][]string{}, changed: func() {},
		sick: map[string]bool{},
	}
	m.driver.Changed, m.driver.Fail, m.driver.Careless = m.follow, m.fail, h.world.has(LoseSync)
	return m
}

// hostClock is the clock of a host, for what never waits.
type hostClock struct{ h *host }

func (c hostClock) Now() time.Time                   { return c.h.now() }
func (c hostClock) Elapsed() time.Duration           { return c.h.elapsed() }
func (c hostClock) NewTimer(time.Duration) env.Timer { panic("nothing may wait in a simulation") }

var errRuntime = errors.New("the runtime does not answer")

func (m *machine) fail(string, string) error {
	w := m.host.world
	if w.injector != nil && !w.quiet && m.rng.Float64() < failures {
		return errRuntime
	}
	return nil
}

// follow watches what becomes of the instances.
func (m *machine) follow(id string, state runtime.State) {
	w, workload := m.host.world, m.workloads[id]
	switch {
	case state == runtime.Running:
		m.running[id] = true
		w.trace.note(m.host.name, "%s runs", id)
		w.judgeWriters(m, id)
		if workload == project+"."+vault || workload == vault {
			w.violate(check.Kept(id, m.host.zone, vaultZones))
		}
		of, limit := m.limit(workload)
		w.violate(w.truth.Started(m.host.name, id, of, limit))
		if slices.Contains(jobs, workload) {
			w.violate(check.MadeOnce(id, w.truth.Starts(id)))
			m.work(id)
		}
		w.judgeLone(workload)
		if workload == phoenix {
			w.judgeRecreated(strings.TrimPrefix(id, project+"."))
		}
	case m.running[id]:
		delete(m.running, id)
		w.trace.note(m.host.name, "%s has ended", id)
		of, limit := m.limit(workload)
		w.truth.Ended(id, of, limit)
	}
}

// runs tells whether an instance runs.
func (m *machine) runs(id string) bool { return m.running[id] }

func (m *machine) prepare(spec runtime.Spec) error {
	m.know(spec)
	m.sick[spec.ID] = spec.Container.GetEnv()[sick] != ""
	return m.driver.Prepare(context.Background(), spec)
}

// know what an instance is, before it is here.
func (m *machine) know(spec runtime.Spec) {
	m.workloads[spec.ID] = spec.Workload
	if spec.VM == nil {
		return
	}
	m.uses[spec.ID] = nil
	for _, disk := range spec.VM.GetDisks() {
		m.uses[spec.ID] = append(m.uses[spec.ID], disk.GetVolume())
	}
}

// start an instance, unless its group is frozen because its lease has ended.
func (m *machine) start(id string) error {
	if m.host.guard.ended(id) {
		return errFrozen
	}
	return m.driver.Start(context.Background(), id)
}

var (
	errFrozen  = errors.New("its cgroup is frozen")
	errNoLease = errors.New("the node holds no lease for it")
)

// prepareHalf is what a Prepare leaves that a crash ended in the middle.
func (m *machine) prepareHalf(id string) {
	there, err := m.driver.List(context.Background())
	if err == nil && !slices.ContainsFunc(there, func(i runtime.Instance) bool { return i.ID == id }) {
		m.driver.Break(id)
	}
}

// stop ends an instance because the agent says so.
func (m *machine) stop(id string, grace time.Duration) error {
	m.judge(id)
	return m.driver.Stop(context.Background(), id, grace)
}

func (m *machine) remove(id string) error {
	m.judge(id)
	return m.driver.Remove(context.Background(), id)
}

// judge whether what runs may be stopped.
func (m *machine) judge(id string) {
	if m.runs(id) && !m.sick[id] && m.workloads[id] != lone { // its lease may have ended
		w := m.host.world
		w.violate(w.truth.Stopped(m.host.name, id, w.wanted(id)))
	}
}

// exitOne ends some running instance by itself.
func (m *machine) exitOne(rng *rand.Rand) {
	if len(m.running) == 0 {
		return
	}
	running := slices.Sorted(maps.Keys(m.running))
	m.exit(running[rng.IntN(len(running))], int32(rng.IntN(2)))
}

func (m *machine) addImage(digest string) {
	m.images = nil
	image := runtime.StoredImage{Name: imageName(digest), Digest: digest, Size: 1 << 20}
	if image.Name == guest {
		image.DiskBytes = guestBytes
	}
	m.driver.AddImage(image)
}

// digests of the images that are wholly present, sorted. They must not be changed.
func (m *machine) digests() []string {
	if m.images != nil {
		return m.images
	}
	stored, err := m.driver.Images(context.Background())
	if err != nil {
		panic("the driver in memory cannot list its images: " + err.Error())
	}
	for _, image := range stored {
		m.images = append(m.images, image.Digest)
	}
	return m.images
}

func (m *machine) holds(digest string) bool { return slices.Contains(m.digests(), digest) }

// limit is how often a workload that stays may run, and of what that is said: of
// the whole site, or of this node; 0 for all others.
func (m *machine) limit(workload string) (of string, most int) {
	switch {
	case slices.Contains(staying, workload) || workload == scada:
		return workload, 1
	case workload == collector:
		return workload + " on " + m.host.name, 1
	}
	return workload, 0
}
