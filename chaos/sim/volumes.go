package sim

import (
	"context"
	"fmt"
	"slices"
	"time"

	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// scada is a virtual machine with a volume, guest what its root disk begins with.
	scada, scadaData = "scada", "scada-data"
	guest            = "site.local/guest:1"
	// guestBytes of the disk that its image is of.
	guestBytes = 1 << 30
	// deleteEvery is when volumes that could not be deleted are tried again
	// (agent/supervisor).
	deleteEvery = 5 * time.Second
	// waveWander and calmWander are the mean times between two wishes that it moves; one in
	// so many is that its workload goes, and comes back.
	waveWander, calmWander = 12 * time.Second, 2 * time.Minute
	dissolves              = 8
	// emptyTime is how long people wait until nothing of a volume is on a node.
	emptyTime = 20 * time.Second
	// backAfter is when it comes back at the latest.
	backAfter = 10 * time.Second
)

// vm is a virtual machine with a volume.
func vm(name string) *skerryv1.Workload {
	w := stay(name, 1)
	w.Container, w.Identity = nil, false
	w.Vm = &skerryv1.VirtualMachine{
		Image: guest, Cpu: 1, Memory: "64Mi", Accel: "auto", Boot: &skerryv1.Boot{Firmware: "bios"},
		Disks: []*skerryv1.Disk{{Name: "data", Volume: scadaData, Size: "1Gi"}},
	}
	w.Health.Exec, w.Health.GuestAgent = nil, &skerryv1.GuestAgentCheck{}
	return w
}

// vmFacts are what every host can do for virtual machines.
var vmFacts = &skerryv1.VmFacts{Emulation: true, Firmware: []string{"bios"}}

// data is what is known of a volume beside the site.
type data struct {
	// newest is what was written last; abandoned: people have given it up.
	newest    uint64
	abandoned bool
}

// writes: the guest of an instance writes something that nobody has written before.
func (m *machine) writes(id string) {
	if !m.runs(id) {
		return
	}
	w := m.host.world
	for _, volume := range m.uses[id] {
		w.written++
		w.dataOf(volume).newest = w.written
		m.driver.Write(id, w.written)
	}
}

func (w *world) dataOf(volume string) *data {
	d := w.volumes[volume]
	if d == nil {
		d = &data{}
		w.volumes[volume] = d
	}
	return d
}

// guestsWrite: all that run do.
func (w *world) guestsWrite() {
	for _, h := range w.hosts {
		for _, id := range h.machines() {
			h.machine.writes(id)
		}
	}
}

// machines that run on a host, sorted.
func (h *host) machines() []string {
	var all []string
	for id := range h.machine.running {
		if h.machine.workloads[id] == scada {
			all = append(all, id)
		}
	}
	slices.Sort(all)
	return all
}

// volume as it really is, and as the site knows it.
func (w *world) volume(name string) check.Volume {
	known := w.newest.Volume(project, name)
	v := check.Volume{
		Name: name, Newest: w.dataOf(name).newest, Copies: map[string]check.Copy{},
		Node: known.GetNode(), ComingTo: known.GetStatus().GetComingTo(), LeftOn: known.GetStatus().GetLeftOn(),
	}
	for _, h := range w.hosts {
		if written, there, whole := h.machine.driver.Written(project, name); there {
			v.Copies[h.name] = check.Copy{Written: written, Coming: !whole}
		}
	}
	return v
}

// lookAtVolumes: guests write, and what they wrote last is kept.
func (w *world) lookAtVolumes() {
	w.guestsWrite()
	w.judgeKept()
}

// judgeKept: what was written last is kept.
func (w *world) judgeKept() {
	for _, name := range []string{scadaData} {
		if d := w.dataOf(name); d.newest != 0 && !d.abandoned {
			w.violate(w.volume(name).Kept())
		}
	}
}

// judgeWriters of the volumes of an instance that runs now.
func (w *world) judgeWriters(of *machine, id string) {
	for _, name := range of.uses[id] {
		var acting []string
		for _, h := range w.hosts {
			for _, other := range h.machines() {
				if slices.Contains(h.machine.uses[other], name) {
					acting = append(acting, other+" on "+h.name)
				}
			}
		}
		w.violate(check.WritesAlone(name, acting))
	}
}

func (w *world) unsettledVolumes() []string {
	var out []string
	for _, v := range w.newest.Volumes() {
		out = append(out, w.volume(v.GetName()).Unsettled()...)
	}
	for _, p := range w.newest.Placements() {
		if state.HeldElsewhere(p) {
			out = append(out, fmt.Sprintf("%s is between %s and %s", p.GetName(), p.GetNode(), p.GetMigration().GetOther()))
		}
	}
	return out
}

// deleteVolumes that are to be deleted with their data, as agent/supervisor does.
func (a *node) deleteVolumes() {
	for _, v := range a.ledger.Current().GetVolumes() {
		key := v.GetProject() + "." + v.GetName()
		if !v.GetStatus().GetDeleting() || a.deleting[key] || a.world.has(KeepCopies) {
			continue
		}
		a.deleting[key] = true
		a.after(a.takes(100*time.Millisecond), func() {
			delete(a.deleting, key)
			if a.host.machine.deleteVolume(v.GetName()) == nil && a.session != nil {
				a.session.changed()
			}
		})
	}
}

// deleteVolume of this machine.
func (m *machine) deleteVolume(name string) error {
	w := m.host.world
	if v := w.volume(name); !w.dataOf(name).abandoned {
		if err := m.driver.DeleteVolume(context.Background(), project, name); err != nil {
			return err
		}
		w.violate(v.Deletes(m.host.name))
		return nil
	}
	return m.driver.DeleteVolume(context.Background(), project, name)
}

// deleteOf an instance, before anybody knows where it runs: planted.
func (m *machine) deleteOf(id string) {
	names := m.uses[id]
	_ = m.driver.Remove(context.Background(), id) // it may fail, as all may
	for _, name := range names {
		_ = m.deleteVolume(name)
	}
}

// wander: people ask that the machine moves, or that it goes and comes back.
func (w *world) wander(number int) {
	rng := w.wanderRng
	mean := w.options.Tide.wanders(w.kernel.now - openTime)
	pause := mean/4 + time.Duration(rng.Int64N(int64(mean)*3/2))
	w.kernel.after(pause, func() {
		if w.quiet || w.stopped() {
			return
		}
		again := func() { w.wander(number + 1) }
		id := fmt.Sprintf("wander-%d", number)
		to := ""
		if rng.IntN(2) == 0 {
			to = w.hosts[rng.IntN(len(w.hosts))].name
		}
		dissolve, back := rng.IntN(dissolves) == 0, time.Duration(rng.Int64N(int64(backAfter)))
		if only := w.options.People; only != nil && !only[id] {
			again()
			return
		}
		w.acts = append(w.acts, id)
		answered := func(*sitev1.Outcome) { again() }
		switch {
		case w.newest.Workload(project, scada) == nil: // it was refused for its project's quota
			w.askVolume(id, applyEntry(vm(scada)), answered)
		case dissolve:
			w.askVolume(id, deleteEntry("Workload", scada), func(*sitev1.Outcome) {
				w.kernel.after(back, func() { w.askVolume(id+"-back", applyEntry(vm(scada)), answered) })
			})
		default:
			w.askVolume(id, w.migrateTo(to), answered)
		}
	})
}

// askVolume for something, in the order in which people ask.
func (w *world) askVolume(id string, entry *sitev1.Entry, done func(*sitev1.Outcome)) {
	w.wandering++
	w.ask(id, entry, func(outcome *sitev1.Outcome) {
		w.wandering--
		done(outcome)
	})
}

// migrateTo a node; empty: to any.
func (w *world) migrateTo(node string) *sitev1.Entry {
	change := &sitev1.SetPower{Project: project, Placement: scada + "-1", Migrate: true, To: node}
	for _, p := range w.newest.PlacementsOf(project, scada) {
		change.Placement = p.GetName()
	}
	return &sitev1.Entry{Change: &sitev1.Entry_SetPower{SetPower: change}}
}

func deleteEntry(kind, name string) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_DeleteResource{DeleteResource: &sitev1.DeleteResource{Kind: kind, Project: project, Name: name}}}
}

// emptied of volumes is a node before people take it out of the site: they let the
// machine that has one move, and wait for a while.
func (w *world) emptied(h *host, id string, done func(empty bool)) {
	if !w.holdsVolume(h) {
		done(true)
		return
	}
	end := w.kernel.now + emptyTime
	var look func()
	look = func() {
		if empty := !w.holdsVolume(h); empty || w.kernel.now > end || w.stopped() {
			done(empty)
			return
		}
		w.kernel.after(time.Second, look)
	}
	w.ask(id+"-empty", w.migrateTo(""), func(*sitev1.Outcome) { look() })
}

// holdsVolume: something of a volume is on a host, or may come there.
func (w *world) holdsVolume(h *host) bool {
	if len(h.machine.driver.Volumes(project)) > 0 {
		return true
	}
	for _, v := range w.newest.Volumes() {
		if v.GetNode() == h.name || v.GetStatus().GetComingTo() == h.name || v.GetStatus().GetLeftOn() == h.name {
			return true
		}
	}
	return false
}

// giveUp the volumes of which the newest copy was on a machine that is made anew: an
// operator was told so.
func (w *world) giveUp(h *host) {
	for _, name := range h.machine.driver.Volumes(project) {
		v, d := w.volume(name), w.dataOf(name)
		delete(v.Copies, h.name)
		if v.Kept() != nil && !d.abandoned {
			d.abandoned = true
			w.trace.note(h.name, "had what was written last to %s", name)
		}
	}
}

// renewVolumes that were given up: people delete what is left, and begin again.
func (w *world) renewVolumes(id string, done func()) {
	name := scadaData
	if !w.dataOf(name).abandoned {
		done()
		return
	}
	tries := 0
	var next func()
	next = func() {
		if w.stopped() {
			return
		}
		tries++
		step := fmt.Sprintf("%s-volume-%d", id, tries)
		later := func(*sitev1.Outcome) { w.kernel.after(time.Second, next) }
		remove := deleteEntry("Volume", name)
		remove.GetDeleteResource().WithData = true
		switch {
		case w.newest.Workload(project, scada) != nil:
			w.ask(step, deleteEntry("Workload", scada), later)
		case len(w.newest.PlacementsOf(project, scada)) > 0:
			w.kernel.after(time.Second, next)
		case w.newest.Volume(project, name) != nil:
			w.ask(step, remove, later)
		default:
			*w.dataOf(name) = data{}
			w.ask(step, applyEntry(vm(scada)), func(*sitev1.Outcome) { done() })
		}
	}
	next()
}
