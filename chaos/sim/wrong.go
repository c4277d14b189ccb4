package sim

import (
	"google.golang.org/protobuf/proto"

	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// wrongs are what the site could not live with, however it gets there.
var wrongs = []struct {
	name string
	do   func(right, wrong *skerryv1.Workload)
}{
	{"a negative quantity", func(_, w *skerryv1.Workload) { w.Container.Resources.Cpu = "-100m" }},
	{"a quantity that overflows", func(_, w *skerryv1.Workload) { w.Container.Resources.Memory = "99999999999Ti" }},
	{"a strategy that nobody knows", func(_, w *skerryv1.Workload) { w.Update.Strategy = "hope" }},
	{"itself to wait for", func(_, w *skerryv1.Workload) { w.After = []string{w.Name} }},
	{"a cycle of what waits", func(right, w *skerryv1.Workload) { right.After, w.After = []string{w.Name}, []string{right.Name} }},
	{"two of what is exclusive", func(_, w *skerryv1.Workload) {
		w.Replicas, w.Partition.Mode, w.Partition.Lease = proto.Uint32(2), "exclusive", "10s"
	}},
	{"a lease that is too short", func(_, w *skerryv1.Workload) {
		w.Replicas, w.Partition.Mode, w.Partition.Lease = proto.Uint32(1), "exclusive", "1s"
	}},
	{"an urgency that nobody has", func(_, w *skerryv1.Workload) { w.Priority = 100_000 }},
	{"a minAvailable that is no number", func(_, w *skerryv1.Workload) { w.MinAvailable = "most" }},
	{"a version that it never had", func(_, w *skerryv1.Workload) { w.ResourceVersion = 1 << 40 }},
	{"no image", func(_, w *skerryv1.Workload) { w.Container.Image = "" }},
}

// wrong is an apply of what is right, together with something that must be refused.
func (c *client) wrong(id string) *sitev1.Entry {
	which := wrongs[c.rng.IntN(len(wrongs))]
	right, wrong := c.workload("cache"), newWorkload("port")
	which.do(right, wrong)
	c.world.wrong[id] = which.name
	return applyEntry(right, wrong)
}

// judgeWrong: it is refused, and changes nothing.
func (w *world) judgeWrong(entry *sitev1.Entry, outcome *sitev1.Outcome, before, after *state.View) {
	which := w.wrong[entry.GetRequestId()]
	if which == "" {
		return
	}
	changed := false
	for _, name := range formsOfAll() {
		changed = changed || before.Workload(project, name) != after.Workload(project, name)
	}
	w.violate(check.TakenIn("port", which, outcome.GetErrorKind() == "", changed))
}
