package sim

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// Workloads of other forms than so many replicas that are rolled, and such as wait
// for others.
const (
	canary, colors, collector = "finch", "colors", "agent"
	batch, tick               = "batch", "tick"
	front, behind             = "front", "behind"
	// phoenix is recreated.
	phoenix = "phoenix"
)

const (
	// sick in the environment of a container: it never becomes healthy.
	sick = "SICK"
	// longestJob is how long an attempt of a job takes at most.
	longestJob = 10 * time.Second
)

var (
	// formed are the workloads of the other forms.
	formed = []string{canary, colors, collector, batch, tick, front, behind, phoenix, lone}
	// steered are those whose rollouts people steer.
	steered = []string{canary, colors, web, front, phoenix}
	// jobs end by themselves.
	jobs = []string{batch, tick}
	// after names what workloads wait for.
	after = map[string][]string{front: {"api"}, behind: {front, batch}}
)

// form makes a workload what it is called.
func (c *client) form(w *skerryv1.Workload) {
	w.After = after[w.GetName()]
	switch w.GetName() {
	case canary:
		w.Update = &skerryv1.Update{Strategy: manifest.Canary, Canary: 2, MaxUnavailable: 1, MinHealthy: "1s", Deadline: "25s", PromoteAfter: manifest.Manual, AutoRollback: true}
		if c.rng.IntN(3) == 0 {
			w.Update.PromoteAfter = "3s"
		}
		c.makeSick(w)
	case colors:
		w.Update = &skerryv1.Update{Strategy: manifest.BlueGreen, MaxUnavailable: 1, MinHealthy: "1s", Deadline: "25s", PromoteAfter: "2s", AutoRollback: c.rng.IntN(2) == 0}
		c.makeSick(w)
	case phoenix:
		w.Update = &skerryv1.Update{Strategy: manifest.Recreate, MinHealthy: "1s", Deadline: "25s", AutoRollback: c.rng.IntN(2) == 0}
		c.makeSick(w)
	case lone:
		w.Replicas = proto.Uint32(min(1, uint32(c.rng.IntN(4))))
		w.Partition.Mode, w.Partition.Lease, w.StopGrace = manifest.Exclusive, "10s", "1s"
	case collector:
		w.Replicas, w.PerNode, w.Partition.Mode = nil, true, manifest.Stay
	case batch, tick:
		c.job(w)
	}
}

// makeSick a template now and then.
func (c *client) makeSick(w *skerryv1.Workload) {
	w.Container.Resources.Cpu = "50m"
	if c.rng.IntN(4) == 0 {
		w.Container.Env = map[string]string{sick: "1"}
	}
}

func (c *client) job(w *skerryv1.Workload) {
	w.RunToCompletion = &skerryv1.RunToCompletion{
		Completions: uint32(1 + c.rng.IntN(4)), Parallelism: uint32(1 + c.rng.IntN(2)), Retries: proto.Uint32(uint32(c.rng.IntN(3))), Ttl: "30s",
	}
	w.Replicas, w.Health, w.Restart.Policy = nil, nil, "never"
	w.Container.Resources.Cpu = "50m"
	if c.rng.IntN(2) == 0 {
		w.RunToCompletion.Deadline = "40s"
	}
	if w.GetName() == tick {
		w.Schedule = &skerryv1.Schedule{
			Cron: "* * * * *", TimeZone: "UTC", StartingDeadline: "20s",
			Concurrency: []string{manifest.Forbid, manifest.Replace, manifest.Allow}[c.rng.IntN(3)],
			Missed:      []string{manifest.Skip, manifest.RunOnce}[c.rng.IntN(2)],
		}
	}
}

// formsOfAll are the workloads whose rollouts the rules follow.
func formsOfAll() []string { return append(slices.Concat(changing, formed, staying), scada) }

// stays on its node, whatever happens.
func stays(workload string) bool {
	return workload == collector || workload == scada || slices.Contains(staying, workload)
}

func isSick(w *skerryv1.Workload) bool { return w.GetContainer().GetEnv()[sick] != "" }

// work lets an attempt of a job end by itself, mostly well.
func (m *machine) work(id string) {
	code := int32(0)
	if m.rng.IntN(5) == 0 {
		code = 1
	}
	m.host.world.kernel.after(time.Duration(m.rng.Int64N(int64(longestJob))), func() { m.exit(id, code) })
}

// exit ends an instance by itself.
func (m *machine) exit(id string, code int32) {
	if !m.running[id] {
		return
	}
	m.host.world.exits[id] = code
	m.driver.End(id, &skerryv1.Exit{Code: code})
	m.changed()
}
