package model

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

var (
	_ runtime.Mover        = (*Driver)(nil)
	_ runtime.VolumeKeeper = (*Driver)(nil)
)

// Accel is how the virtual machines of the model run.
const Accel = "tcg"

// machine is what an instance is beside when it is a virtual machine. As with
// libvirt, a record on disk says that one was handed over, or is coming.
type machine struct {
	// disks are the volumes that it has.
	disks []volumeKey
	// halted: a move has copied it, and it stands still.
	halted bool
	// coming from another node: it is not this one's yet.
	coming bool
}

// volumeKey is a project and a name.
type volumeKey struct{ project, name string }

// volume is the copy of one on this node.
type volume struct {
	// Written is what a guest wrote last.
	Written uint64 `json:"written"`
	// unsynced: a power cut would take it.
	unsynced bool
}

// disksOf a spec.
func disksOf(spec runtime.Spec) []volumeKey {
	var all []volumeKey
	for _, disk := range spec.VM.GetDisks() {
		all = append(all, volumeKey{spec.Project, disk.GetVolume()})
	}
	return all
}

// takeVolumes that a machine names. One that was never made is made; nothing takes
// the place of one whose data is gone.
func (d *Driver) takeVolumes(spec runtime.Spec) error {
	for _, key := range disksOf(spec) {
		about := "Volume/" + key.name
		wanted, known := spec.Volumes[key.name]
		user := d.userOf(key)
		switch {
		case !known:
			return problem.New(problem.NotFound, about, "this node was not told of it")
		case user != "" && user != spec.ID:
			return problem.New(problem.Conflict, about, "%s still has it on this node", user)
		case d.volumes[key] == nil && wanted.Made:
			return problem.New(problem.Conflict, about, "its data is not on this node any more")
		}
	}
	for _, key := range disksOf(spec) {
		if d.volumes[key] == nil {
			d.volumes[key] = &volume{}
		}
	}
	return nil
}

// userOf a volume; empty: no instance has it.
func (d *Driver) userOf(key volumeKey) string {
	for _, id := range slices.Sorted(maps.Keys(d.instances)) {
		if slices.Contains(d.instances[id].disks, key) {
			return id
		}
	}
	return ""
}

// Write to all volumes of a machine whose guest acts, durably.
func (d *Driver) Write(id string, what uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := d.instances[id]
	if i == nil || i.State != runtime.Running || i.halted {
		return
	}
	for _, key := range i.disks {
		d.volumes[key].Written = what
	}
}

// Written is what the copy of a volume on this node holds. whole: it is not one that
// is still coming.
func (d *Driver) Written(project, name string) (what uint64, there, whole bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := volumeKey{project, name}
	v := d.volumes[key]
	if v == nil {
		return 0, false, false
	}
	user := d.instances[d.userOf(key)]
	return v.Written, true, user == nil || !user.coming
}

// HeldVolumes implements runtime.VolumeKeeper. What is still coming is not among
// them.
func (d *Driver) HeldVolumes() ([]runtime.HeldVolume, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []runtime.HeldVolume
	for key := range d.volumes {
		if user := d.instances[d.userOf(key)]; user == nil || !user.coming {
			all = append(all, runtime.HeldVolume{Project: key.project, Name: key.name, Used: 1})
		}
	}
	slices.SortFunc(all, runtime.CompareVolumes)
	return all, nil
}

// DeleteVolume implements runtime.VolumeKeeper.
func (d *Driver) DeleteVolume(ctx context.Context, project, name string) error {
	if err := d.enter(ctx, "delete-volume", project+"."+name); err != nil {
		return err
	}
	defer d.mu.Unlock()
	key := volumeKey{project, name}
	if user := d.userOf(key); user != "" {
		return problem.New(problem.Conflict, "Volume/"+name, "%s has it", user)
	}
	delete(d.volumes, key)
	return nil
}

// loseUnsynced is what a power cut does to volumes.
func (d *Driver) loseUnsynced() {
	for _, v := range d.volumes {
		if v.unsynced {
			v.Written = 0
		}
	}
}

// moved is what two ends tell each other of the volumes of a machine.
type moved map[string]volume

// departure is one machine on its way to another node.
type departure struct {
	d      *Driver
	i      *instance
	copied bool
}

// Depart implements runtime.Mover.
func (d *Driver) Depart(ctx context.Context, id string) (runtime.Departure, error) {
	if err := d.enter(ctx, "depart", id); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	i := d.instances[id]
	if i == nil || i.State != runtime.Running || i.Accel == "" {
		return nil, problem.New(problem.Conflict, id, "it is no virtual machine that runs here")
	}
	return &departure{d: d, i: i}, nil
}

func (m *departure) Offer() []byte     { return nil }
func (m *departure) Sockets() []string { return nil }
func (m *departure) Progress() int     { return 0 }

// Copy in no time: whoever uses it lets that pass.
func (m *departure) Copy(ctx context.Context, _ []byte) ([]byte, error) {
	if err := m.d.enter(ctx, "copy", m.i.ID); err != nil {
		return nil, err
	}
	defer m.d.mu.Unlock()
	if m.d.instances[m.i.ID] != m.i || m.i.State != runtime.Running {
		return nil, problem.New(problem.Conflict, m.i.ID, "it has ended meanwhile")
	}
	rest := moved{}
	for _, key := range m.i.disks {
		rest[key.name] = *m.d.volumes[key]
	}
	m.copied = true
	m.d.halt(m.i, true)
	return json.Marshal(rest)
}

// halt the guest, or let it go on.
func (d *Driver) halt(i *instance, halted bool) {
	i.halted = halted
	if d.Changed == nil {
		return
	}
	if halted {
		d.Changed(i.ID, runtime.Leaving)
	} else {
		d.Changed(i.ID, i.State)
	}
}

// Resume implements a half of runtime.Pauser: what a move has halted, and nobody
// brought to its end, goes on.
func (d *Driver) Resume(ctx context.Context, id string) error {
	if err := d.enter(ctx, "resume", id); err != nil {
		return err
	}
	defer d.mu.Unlock()
	i := d.instances[id]
	if i == nil || i.State != runtime.Running {
		return problem.New(problem.Conflict, id, "it does not run here")
	}
	if i.halted {
		d.halt(i, false)
	}
	return nil
}

func (m *departure) Leave(ctx context.Context) error {
	if err := m.d.enter(ctx, "leave", m.i.ID); err != nil {
		return err
	}
	defer m.d.mu.Unlock()
	if !m.copied || m.d.instances[m.i.ID] != m.i || m.i.State != runtime.Running {
		return problem.New(problem.Conflict, m.i.ID, "it has not been copied, or has ended since")
	}
	m.d.change(m.i, runtime.Leaving)
	return nil
}

func (m *departure) Stay(ctx context.Context) error {
	if !m.copied {
		return nil
	}
	m.copied = false
	return m.d.Settle(ctx, m.i.ID)
}

func (m *departure) Close() {
	m.d.mu.Lock()
	defer m.d.mu.Unlock()
	if m.copied && m.i.State == runtime.Running && m.i.halted {
		m.d.halt(m.i, false)
	}
}

// Settle implements runtime.Mover.
func (d *Driver) Settle(ctx context.Context, id string) error {
	if err := d.enter(ctx, "settle", id); err != nil {
		return err
	}
	defer d.mu.Unlock()
	i := d.instances[id]
	switch {
	case i == nil || i.State != runtime.Leaving:
	case i.halted:
		i.State = runtime.Running
		d.halt(i, false)
		d.announce()
	default: // the power was cut since
		i.Exit = nil
		d.change(i, runtime.Exited)
	}
	return nil
}

// arrival is one machine that comes.
type arrival struct {
	d *Driver
	i *instance
}

// Arrive implements runtime.Mover.
func (d *Driver) Arrive(ctx context.Context, spec runtime.Spec, _ []byte) (runtime.Arrival, error) {
	if err := d.Remove(ctx, spec.ID); err != nil {
		return nil, err
	}
	if err := d.enter(ctx, "arrive", spec.ID); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if !d.store.present(spec.ImageDigest) {
		return nil, problem.New(problem.NotFound, "Image/"+spec.ImageDigest, "it is not on this node")
	}
	for _, key := range disksOf(spec) {
		if d.volumes[key] != nil {
			return nil, problem.New(problem.Conflict, spec.ID, "there is a volume %s on this node already, of which the site does not know", key.name)
		}
	}
	i := d.newInstance(spec)
	i.coming = true
	d.instances[spec.ID] = i
	for _, key := range i.disks {
		d.volumes[key] = &volume{unsynced: true}
	}
	d.change(i, runtime.Broken)
	return &arrival{d: d, i: i}, nil
}

func (a *arrival) Answer() []byte    { return nil }
func (a *arrival) Sockets() []string { return nil }

// Finish in one moment: as with libvirt it has come, or nothing of it.
func (a *arrival) Finish(ctx context.Context, rest []byte, may func() error) error {
	if err := may(); err != nil {
		return err
	}
	if err := a.d.enter(ctx, "finish", a.i.ID); err != nil {
		return err
	}
	defer a.d.mu.Unlock()
	var came moved
	if err := json.Unmarshal(rest, &came); err != nil || len(came) != len(a.i.disks) {
		return problem.New(problem.Invalid, a.i.ID, "what comes with it cannot be read")
	}
	if a.d.instances[a.i.ID] != a.i || !a.i.coming {
		return problem.New(problem.Conflict, a.i.ID, "it is not coming any more")
	}
	for _, key := range a.i.disks {
		a.d.volumes[key] = &volume{Written: came[key.name].Written, unsynced: a.d.Careless}
	}
	a.i.coming = false
	a.i.StartedAt = a.d.clock.Now()
	a.d.processes++
	a.i.pid = a.d.processes
	a.d.change(a.i, runtime.Running)
	return nil
}

func (a *arrival) Close() {
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	if a.d.instances[a.i.ID] == a.i && a.i.coming {
		a.d.discard(a.i)
	}
}

// discard all of an instance; of one that has not come the volumes that came.
func (d *Driver) discard(i *instance) {
	for _, key := range i.disks {
		if i.coming {
			delete(d.volumes, key)
		}
	}
	delete(d.instances, i.ID)
}

// Volumes are the names of all copies on this node, of volumes of a project.
func (d *Driver) Volumes(project string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for key := range d.volumes {
		if key.project == project {
			names = append(names, key.name)
		}
	}
	slices.SortFunc(names, cmp.Compare[string])
	return names
}

// newInstance of a spec.
func (d *Driver) newInstance(spec runtime.Spec) *instance {
	i := &instance{
		Instance: runtime.Instance{ID: spec.ID, SpecHash: spec.Hash(), Cycle: spec.Cycle}, image: spec.ImageDigest,
		program: interpret(spec.Container.GetCommand()), env: environment(spec), secrets: spec.Secrets,
	}
	if spec.VM != nil {
		i.Accel, i.disks = Accel, disksOf(spec)
	}
	if spec.Container.GetNetwork() == "bridge" {
		d.addresses++
		i.Address = fmt.Sprintf("10.88.%d.%d", d.addresses/250%250, d.addresses%250+2)
	}
	return i
}
