package libvirt

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/snapshot"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// moveTime bounds the copy of one machine with its disks.
	moveTime = 6 * time.Hour
	// maxPause of the guest in milliseconds, for QEMU to aim at.
	maxPause = 150
	// progressEvery is how often libvirt is asked how far it is.
	progressEvery = 500 * time.Millisecond
)

// moveFlags: never post-copy, whose failure loses the guest. What the image has
// is on the other node; a guest that writes faster than it is copied is slowed.
const moveFlags = golibvirt.MigrateLive | golibvirt.MigrateNonSharedInc | golibvirt.MigratePersistDest |
	golibvirt.MigrateAutoConverge | golibvirt.MigrateAbortOnError

// offer is what the source tells the target.
type offer struct {
	XML    string `json:"xml"`
	Cookie []byte `json:"cookie"`
	// Dir, RunDir and Owner of the source, which are in the XML.
	Dir     string    `json:"dir"`
	RunDir  string    `json:"runDir"`
	Owner   string    `json:"owner"`
	Accel   string    `json:"accel"`
	Started time.Time `json:"started"`
	// Devices that it has, as its record says.
	Devices string `json:"devices"`
	// RootBytes of the root disk.
	RootBytes int64 `json:"rootBytes"`
	// Volumes that come with it, and UsedBytes that all its disks take.
	Volumes   []offeredVolume `json:"volumes,omitempty"`
	UsedBytes int64           `json:"usedBytes,omitempty"`
}

// offeredVolume is a volume that comes with a machine.
type offeredVolume struct {
	Volume string `json:"volume"`
	// Disk is its name among those of the machine, and Target how libvirt calls it.
	Disk   string `json:"disk"`
	Target string `json:"target"`
	Bytes  int64  `json:"bytes"`
}

// answer of the target.
type answer struct {
	Cookie []byte `json:"cookie"`
	// XML is the domain as the target keeps it. Else libvirt gives it that of the
	// source, whose mark the target would not take for its own.
	XML string `json:"xml"`
}

// departure is one instance on its way to another node. The libvirt of each end
// has a connection of its own for it: when that ends, so does what was begun.
type departure struct {
	d        *Driver
	id       string
	s        *session
	dir      string
	offer    []byte
	disks    []golibvirt.TypedParam
	progress atomic.Int64
	copied   bool
	// free the disks for others.
	free func()
}

// Depart begins to send a running instance.
func (d *Driver) Depart(ctx context.Context, id string) (runtime.Departure, error) {
	if err := runtime.CheckID(id); err != nil {
		return nil, err
	}
	_, free, err := d.occupy(ctx, id, "it is moved to another node", false)
	if err != nil {
		return nil, err
	}
	m, err := d.setOut(ctx, id)
	if err != nil {
		free()
		return nil, d.problem(id, "it cannot be moved", err)
	}
	m.free = free
	return m, nil
}

// setOut with an instance whose disks are occupied.
func (d *Driver) setOut(ctx context.Context, id string) (*departure, error) {
	r, err := d.read(id)
	if err != nil || r == nil {
		return nil, problem.New(problem.Internal, id, "its record cannot be read: %w", err)
	}
	snapshots, err := d.snapshots(id).List()
	switch {
	case err != nil:
		return nil, err
	case len(snapshots) > 0:
		return nil, problem.New(problem.Conflict, id, "its snapshots are on this node")
	case r.Arriving:
		return nil, problem.New(problem.Conflict, id, "it has not come here yet")
	}
	return d.depart(ctx, id, r)
}

// depart to begin with.
func (d *Driver) depart(ctx context.Context, id string, r *record) (*departure, error) {
	size, err := diskBytes(ctx, filepath.Join(d.diskDir(id), rootFile))
	if err != nil {
		return nil, err
	}
	s, err := d.link.connect(ctx)
	if err != nil {
		return nil, err
	}
	m := &departure{d: d, id: id, s: s, free: func() {}}
	if m.dir, err = d.socketDir(); err != nil {
		m.Close()
		return nil, err
	}
	o := offer{Dir: d.Dir, RunDir: d.RunDir, Owner: d.owner, Accel: r.Accel, Started: r.Started, Devices: r.Devices, RootBytes: size}
	if o.Volumes, err = d.offerVolumes(id, r); err != nil {
		m.Close()
		return nil, err
	}
	for _, disk := range r.Disks {
		o.UsedBytes += snapshot.Used(disk.File)
	}
	m.disks = disksToMove(o.Volumes)
	err = m.call(ctx, slowTime, func(l *golibvirt.Libvirt) (err error) {
		o.Cookie, o.XML, err = l.DomainMigrateBegin3Params(d.domainOf(id), m.disks, uint32(moveFlags))
		return err
	})
	if err == nil {
		m.offer, err = json.Marshal(o)
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// offerVolumes of a machine that moves. Their snapshots would be left behind.
func (d *Driver) offerVolumes(id string, r *record) ([]offeredVolume, error) {
	var all []offeredVolume
	for _, disk := range r.Disks {
		if disk.Volume == "" {
			continue
		}
		kept, err := d.volumeSnapshots(projectOf(id), disk.Volume).List()
		if err == nil && len(kept) > 0 {
			err = problem.New(problem.Conflict, id, "snapshots of its volume %s are on this node", disk.Volume)
		}
		if err != nil {
			return nil, err
		}
		info, err := os.Stat(disk.File)
		if err != nil {
			return nil, err
		}
		all = append(all, offeredVolume{Volume: disk.Volume, Disk: disk.Name, Target: disk.Target, Bytes: info.Size()})
	}
	return all, nil
}

// disksToMove names the root disk and the volumes to libvirt.
func disksToMove(volumes []offeredVolume) []golibvirt.TypedParam {
	all := []golibvirt.TypedParam{text(golibvirt.MigrateParamMigrateDisks, targetOf(0))}
	for _, v := range volumes {
		all = append(all, text(golibvirt.MigrateParamMigrateDisks, v.Target))
	}
	return all
}

func (m *departure) call(ctx context.Context, limit time.Duration, call func(*golibvirt.Libvirt) error) error {
	return m.d.link.bounded(ctx, limit, m.s, func() error { return call(m.s.Libvirt) })
}

func (m *departure) Offer() []byte     { return m.offer }
func (m *departure) Sockets() []string { return sockets(m.dir) }
func (m *departure) Progress() int     { return int(m.progress.Load()) }

// Copy all, and halt the instance at the end.
func (m *departure) Copy(ctx context.Context, from []byte) (rest []byte, err error) {
	var a answer
	if err := json.Unmarshal(from, &a); err != nil {
		return nil, problem.New(problem.Invalid, m.id, "the other node gave no answer that could be read")
	}
	abort := context.AfterFunc(ctx, m.abort)
	defer abort()
	follow, cancel := context.WithCancel(ctx)
	followed := make(chan struct{})
	go func() { defer close(followed); m.follow(follow) }()
	err = m.call(context.WithoutCancel(ctx), moveTime, func(l *golibvirt.Libvirt) (err error) {
		paths := m.Sockets()
		rest, err = l.DomainMigratePerform3Params(m.d.domainOf(m.id), golibvirt.OptString{}, append([]golibvirt.TypedParam{
			text(golibvirt.MigrateParamURI, "unix:"+paths[0]), text(golibvirt.MigrateParamDisksURI, "unix:"+paths[1]),
			text(golibvirt.MigrateParamPersistXML, a.XML),
		}, m.disks...), a.Cookie, moveFlags)
		return err
	})
	cancel()
	<-followed
	m.copied = err == nil
	return rest, m.d.problem(m.id, "it cannot be moved", err)
}

// abort the copy, on the other connection: this one waits for it.
func (m *departure) abort() {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	err := m.d.link.do(ctx, callTime, func(l *golibvirt.Libvirt) error { return l.DomainAbortJob(m.d.domainOf(m.id)) })
	if err != nil {
		m.d.Logger.Debug("a copy was not ended", "instance", m.id, "error", err)
	}
}

// follow how far the copy is, and tell QEMU how long the guest may stand still.
func (m *departure) follow(ctx context.Context) {
	told := false
	for env.Sleep(ctx, m.d.Env.Clock, progressEvery) == nil {
		var total, left uint64
		err := m.d.link.do(ctx, callTime, func(l *golibvirt.Libvirt) (err error) {
			_, _, _, total, _, left, _, _, _, _, _, _, err = l.DomainGetJobInfo(m.d.domainOf(m.id))
			if err == nil && !told {
				told = l.DomainMigrateSetMaxDowntime(m.d.domainOf(m.id), maxPause, 0) == nil
			}
			return err
		})
		if err == nil && total > 0 && left <= total {
			m.progress.Store(int64(100 * (total - left) / total))
		}
	}
}

// Leave notes that the other end may run it from now on.
func (m *departure) Leave(context.Context) error {
	if !m.copied {
		return problem.New(problem.Conflict, m.id, "it has not been copied")
	}
	return m.d.mark(m.id, func(r *record) { r.Leaving = true })
}

// Stay: it goes on here.
func (m *departure) Stay(ctx context.Context) error {
	if !m.copied {
		return nil
	}
	err := m.call(ctx, slowTime, func(l *golibvirt.Libvirt) error {
		const cancelled = 1
		return l.DomainMigrateConfirm3Params(m.d.domainOf(m.id), nil, nil, uint32(moveFlags), cancelled)
	})
	if err != nil { // without that connection it only stands still
		m.d.Logger.Debug("libvirt was not told that a machine stays", "instance", m.id, "error", err)
	}
	if err := m.d.settle(ctx, m.id); err != nil {
		return err
	}
	m.copied = false
	return nil
}

// Close ends what this is about.
func (m *departure) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), slowTime)
	defer cancel()
	if r, err := m.d.read(m.id); m.copied && err == nil && r != nil && !r.Leaving {
		if err := m.Stay(ctx); err != nil {
			m.d.Logger.Error("a machine that was not moved stands still", "instance", m.id, "error", err)
		}
	}
	_ = m.s.conn.Close() // what was begun on it ends
	_ = os.RemoveAll(m.dir)
	m.free()
}

// Settle what was handed over to a node that does not have it.
func (d *Driver) Settle(ctx context.Context, id string) error {
	r, err := d.read(id)
	if err != nil || r == nil || !r.Leaving {
		return err
	}
	return d.settle(ctx, id)
}

// settle lets what the move has halted go on, and forgets that it was to leave.
func (d *Driver) settle(ctx context.Context, id string) error {
	s, err := d.domain(ctx, id)
	if err == nil && s.active() && s.state == golibvirt.DomainPaused {
		err = d.link.do(ctx, callTime, func(l *golibvirt.Libvirt) error { return l.DomainResume(d.domainOf(id)) })
	}
	if err != nil {
		return d.problem(id, "it cannot go on", err)
	}
	return d.mark(id, func(r *record) { r.Leaving = false })
}

// mark changes the record of an instance.
func (d *Driver) mark(id string, change func(*record)) error {
	d.marking.Lock()
	defer d.marking.Unlock()
	r, err := d.read(id)
	if err != nil || r == nil {
		return problem.New(problem.Internal, id, "its record cannot be read: %w", err)
	}
	change(r)
	return d.problem(id, "its record cannot be written", d.write(id, r))
}

// socketDir is a directory in which QEMU, which may run as any user, may make
// sockets; nobody else can guess its name.
func (d *Driver) socketDir() (string, error) {
	all := filepath.Join(d.RunDir, "moves")
	if err := openToAll(all); err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(all, "m")
	if err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o777)
}

// sockets in a directory: of the memory, and of the disks.
func sockets(dir string) []string {
	return []string{filepath.Join(dir, "memory"), filepath.Join(dir, "disks")}
}

func text(name, value string) golibvirt.TypedParam {
	return golibvirt.TypedParam{Field: name, Value: *golibvirt.NewTypedParamValueString(value)}
}
