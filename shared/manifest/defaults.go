package manifest

import (
	"slices"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Partition modes.
const (
	Replicate = "replicate"
	Stay      = "stay"
	Exclusive = "exclusive"
)

// Default fills in what a workload leaves open, as the manifest reference says.
func Default(w *skerryv1.Workload) {
	set(&w.Kind, "Workload")
	set(&w.Project, "default")
	if w.Vm != nil {
		set(&w.StopGrace, vmStopGrace)
		if w.Health != nil {
			set(&w.Health.StartPeriod, vmStartPeriod)
		}
		defaultVM(w.Vm)
	}
	set(&w.StopGrace, "10s")
	defaultForm(w)
	if w.Update == nil {
		w.Update = &skerryv1.Update{}
	}
	defaultUpdate(w.Update)
	if w.Place == nil {
		w.Place = &skerryv1.Place{}
	}
	set(&w.Place.Spread, "zone")
	for _, a := range slices.Concat(w.Place.GetWith(), w.Place.GetApart()) {
		set(&a.On, "name")
	}
	if w.Restart == nil {
		w.Restart = &skerryv1.Restart{}
	}
	set(&w.Restart.Policy, defaultRestart(w))
	set(&w.Restart.Backoff, "500ms")
	set(&w.Restart.MaxBackoff, "1m")
	if w.Partition == nil {
		w.Partition = &skerryv1.Partition{}
	}
	set(&w.Partition.Mode, defaultMode(w))
	set(&w.Partition.ReplaceAfter, "0s")
	if w.Partition.Mode == Exclusive {
		set(&w.Partition.Lease, defaultLease)
	}
	if w.Health != nil {
		defaultHealth(w.Health)
	}
	if w.Container != nil {
		defaultContainer(w.Container)
	}
}

// defaultMode is stay for virtual machines, for work whose data is on its node, or
// that belongs to it.
func defaultMode(w *skerryv1.Workload) string {
	if w.GetPerNode() || w.GetVm() != nil {
		return Stay
	}
	for _, mount := range w.GetContainer().GetMounts() {
		if mount.GetHostPath() != "" || mount.GetVolume() != "" {
			return Stay
		}
	}
	return Replicate
}

func defaultHealth(h *skerryv1.Health) {
	set(&h.Interval, "2s")
	set(&h.Timeout, "2s")
	set(&h.Failures, 3)
	set(&h.StartPeriod, "10s")
	if h.Http != nil {
		set(&h.Http.Path, "/")
	}
}

func defaultContainer(c *skerryv1.Container) {
	set(&c.Network, "bridge")
	if c.Resources == nil {
		c.Resources = &skerryv1.Resources{}
	}
	set(&c.Resources.Cpu, "100m")
	set(&c.Resources.Memory, "64Mi")
	for _, port := range c.GetPorts() {
		set(&port.Protocol, "tcp")
	}
	for _, use := range c.GetSecrets() {
		if use.GetPath() != "" {
			set(&use.Mode, DefaultSecretMode)
		}
	}
}

func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
