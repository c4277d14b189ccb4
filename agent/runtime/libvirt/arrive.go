package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	golibvirtxml "libvirt.org/go/libvirtxml"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/diskimage"
	"skerry.dev/agent/runtime/snapshot"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// maxOffer of another node, in bytes.
const maxOffer = 1 << 20

// arrival is one instance that comes from another node.
type arrival struct {
	d      *Driver
	id     string
	s      *session
	dir    string
	answer []byte
	// files of its disks, which are brought to the disk while they come.
	files  []string
	stop   context.CancelFunc
	synced chan struct{}
	// lost is why something that came is not on the disk: the system tells it once.
	lost error
	// kept: it is this node's now, or nobody here knows whose.
	kept bool
}

// syncEvery is how often what has come is brought to the disk, so that little is
// left to do while the guest stands still.
const syncEvery = time.Second

// Arrive begins to take an instance in.
func (d *Driver) Arrive(ctx context.Context, spec runtime.Spec, from []byte) (runtime.Arrival, error) {
	var o offer
	if err := runtime.CheckID(spec.ID); err != nil {
		return nil, err
	}
	if spec.VM == nil || len(from) > maxOffer || json.Unmarshal(from, &o) != nil || o.RootBytes < 0 || o.UsedBytes < 0 {
		return nil, problem.New(problem.Invalid, spec.ID, "it cannot be taken in as it is offered")
	}
	if err := checkVolumes(spec, o.Volumes); err != nil {
		return nil, err
	}
	if err := d.checkHost(spec.VM); err != nil {
		return nil, err
	}
	if kvm, why := d.host.kvm(); o.Accel == accelKVM && !kvm || o.Accel != accelKVM && !d.Emulation {
		return nil, problem.New(problem.Conflict, spec.ID, "it runs with %s, which this node does not offer: %s", o.Accel, why)
	}
	if err := errors.Join(d.Remove(ctx, spec.ID), os.RemoveAll(d.diskDir(spec.ID))); err != nil {
		return nil, err
	}
	s, err := d.link.connect(ctx)
	if err != nil {
		return nil, err
	}
	m := &arrival{d: d, id: spec.ID, s: s, stop: func() {}}
	if err := m.begin(ctx, spec, o); err != nil {
		m.Close()
		return nil, d.problem(spec.ID, "it cannot be taken in", err)
	}
	return m, nil
}

func (m *arrival) begin(ctx context.Context, spec runtime.Spec, o offer) (err error) {
	d := m.d
	if m.dir, err = d.socketDir(); err != nil {
		return err
	}
	if err := errors.Join(openToAll(d.instanceDir(spec.ID)), openToAll(d.diskDir(spec.ID))); err != nil {
		return err
	}
	image, err := d.disks.file(spec.ImageDigest)
	if err != nil {
		return err
	}
	if err := d.roomForBytes(spec.ID, o.UsedBytes); err != nil {
		return err
	}
	root := filepath.Join(d.diskDir(spec.ID), rootFile)
	if err := overlay(ctx, root, image, o.RootBytes); err != nil {
		return err
	}
	seed, err := d.seed(spec)
	if err != nil {
		return err
	}
	if err := d.logs.Create(spec.ID); err != nil {
		return err
	}
	r := &record{
		SpecHash: spec.Hash(), Cycle: spec.Cycle, Accel: o.Accel, Started: o.Started, Arriving: true,
		Devices: o.Devices, Disks: diskFiles(machine{spec: spec, root: root}),
	}
	for _, v := range o.Volumes {
		r.Disks = append(r.Disks, diskFile{
			Disk:   snapshot.Disk{Name: v.Disk, File: filepath.Join(d.volumeDir(spec.Project, v.Volume), volumeFile), Format: diskimage.Raw},
			Target: v.Target, Volume: v.Volume,
		})
	}
	if err := m.makeVolumes(ctx, r, o.Volumes); err != nil {
		return err
	}
	for _, disk := range r.Disks {
		m.files = append(m.files, disk.File)
	}
	paths, a := m.Sockets(), answer{XML: m.adapted(o)}
	if err := m.checkDevices(a.XML, append(slices.Clone(m.files), seed)); err != nil {
		return err
	}
	params := append([]golibvirt.TypedParam{
		text(golibvirt.MigrateParamDestXML, a.XML), text(golibvirt.MigrateParamURI, "unix:"+paths[0]),
		text(golibvirt.MigrateParamDisksURI, "unix:"+paths[1]),
	}, disksToMove(o.Volumes)...)
	err = d.link.bounded(ctx, slowTime, m.s, func() (err error) {
		a.Cookie, _, err = m.s.DomainMigratePrepare3Params(params, o.Cookie, uint32(moveFlags))
		return err
	})
	if err != nil {
		return err
	}
	if m.answer, err = json.Marshal(a); err != nil {
		return err
	}
	syncing, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop, m.synced = stop, make(chan struct{})
	go func() { defer close(m.synced); m.keepSynced(syncing) }()
	return nil
}

// checkVolumes refuses volumes that are not those of the machine as it is to be.
func checkVolumes(spec runtime.Spec, offered []offeredVolume) error {
	seen := map[string]bool{targetOf(0): true}
	for _, v := range offered {
		names := func(disk *skerryv1.Disk) bool { return disk.GetVolume() == v.Volume && disk.GetName() == v.Disk }
		switch {
		case seen[v.Target] || seen["volume "+v.Volume] || !diskTarget.MatchString(v.Target) || v.Bytes < 1 || v.Bytes > manifest.MaxVolumeBytes,
			runtime.CheckID(volumeID(spec.Project, v.Volume)) != nil:
			return problem.New(problem.Invalid, spec.ID, "its volumes cannot be taken in as they are offered")
		case !slices.ContainsFunc(spec.VM.GetDisks(), names):
			return problem.New(problem.Conflict, spec.ID, "it still has volume %s, which it is not to have", v.Volume)
		}
		seen[v.Target], seen["volume "+v.Volume] = true, true
	}
	if len(offered) != len(spec.VM.GetDisks()) {
		return problem.New(problem.Conflict, spec.ID, "it has %d volumes, and is to have %d", len(offered), len(spec.VM.GetDisks()))
	}
	return nil
}

// diskTarget is how libvirt calls a virtio disk.
var diskTarget = regexp.MustCompile(`^vd[a-z]$`)

// makeVolumes for what comes. What is there already under their names is left
// alone. The record is written first: what it names is removed when it fails.
func (m *arrival) makeVolumes(ctx context.Context, r *record, offered []offeredVolume) error {
	d, project := m.d, projectOf(m.id)
	for _, v := range offered {
		free, err := d.claim(ctx, volumeUse(project, v.Volume), "a machine comes with it")
		if err != nil {
			return err
		}
		defer free()
		if dir := d.volumeDir(project, v.Volume); exists(dir) {
			return problem.New(problem.Conflict, m.id, "there is a volume %s on this node already, of which the site does not know: %s", v.Volume, dir).
				WithHint("look whether somebody still needs it, and move it away")
		}
	}
	if err := d.write(m.id, r); err != nil {
		return err
	}
	for _, v := range offered {
		dir := d.volumeDir(project, v.Volume)
		if err := errors.Join(openToAll(dir), makeSparse(filepath.Join(dir, volumeFile), v.Bytes)); err != nil {
			return err
		}
	}
	return nil
}

// keepSynced brings what comes to the disk until ctx ends, or it cannot.
func (m *arrival) keepSynced(ctx context.Context) {
	for env.Sleep(ctx, m.d.Env.Clock, syncEvery) == nil {
		m.lost = errors.Join(m.lost, m.sync())
		if m.lost != nil {
			return
		}
	}
}

// sync the disks, and that they are there.
func (m *arrival) sync() error {
	var failed error
	for _, file := range m.files {
		failed = errors.Join(failed, syncVolume(file), syncVolume(filepath.Dir(file)))
	}
	return failed
}

// adapted is the domain as it is to be here: the same machine, whose files are
// below this node's directories. libvirt writes paths in quotes or after a bracket
// that no text of users can hold.
func (m *arrival) adapted(o offer) string {
	return strings.NewReplacer(
		"'"+filepath.Clean(o.Dir)+"/", "'"+filepath.Clean(m.d.Dir)+"/",
		"'"+filepath.Clean(o.RunDir)+"/", "'"+filepath.Clean(m.d.RunDir)+"/",
		">"+filepath.Clean(o.Dir)+"/", ">"+filepath.Clean(m.d.Dir)+"/",
		`owner="`+o.Owner+`"`, `owner="`+m.d.owner+`"`,
		`owner='`+o.Owner+`'`, `owner='`+m.d.owner+`'`,
	).Replace(o.XML)
}

// checkDevices refuses a machine with other files or devices of this node than are
// meant for it: another node has written its description.
func (m *arrival) checkDevices(text string, files []string) error {
	var domain golibvirtxml.Domain
	if err := domain.Unmarshal(text); err != nil || domain.Devices == nil {
		return problem.New(problem.Invalid, m.id, "its description cannot be read")
	}
	for _, disk := range domain.Devices.Disks {
		if disk.Source == nil || disk.Source.File == nil || !slices.Contains(files, disk.Source.File.File) {
			return problem.New(problem.Invalid, m.id, "its disk %s is none that it may have", disk.Serial)
		}
	}
	if len(domain.Devices.Hostdevs) > 0 || len(domain.Devices.Filesystems) > 0 || len(domain.Devices.Shmems) > 0 {
		return problem.New(problem.Invalid, m.id, "it has devices of its node")
	}
	return nil
}

func (m *arrival) Answer() []byte    { return m.answer }
func (m *arrival) Sockets() []string { return sockets(m.dir) }

// Finish lets it run here. All that came is on the disk by then, and the record
// says that it may run: should this node end in the middle, it is this node's as
// soon as its domain is there, and begins again from its disks. Its QEMU is there
// when may is asked, so that the guard finds it from then on.
func (m *arrival) Finish(ctx context.Context, rest []byte, may func() error) error {
	m.endSync()
	if err := errors.Join(m.lost, m.sync()); err != nil {
		return m.d.problem(m.id, "its disks cannot be brought to the disk", err)
	}
	if err := may(); err != nil {
		return err
	}
	if err := m.d.mark(m.id, func(r *record) { r.Taken = true }); err != nil {
		return err
	}
	m.kept = true
	// libvirt would go on if nobody waited for it.
	err := m.d.link.bounded(context.WithoutCancel(ctx), slowTime, m.s, func() error {
		const notCancelled = 0
		_, _, err := m.s.DomainMigrateFinish3Params([]golibvirt.TypedParam{
			text(golibvirt.MigrateParamDestName, domainName(m.id)),
		}, rest, uint32(moveFlags), notCancelled)
		return err
	})
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	// As instance says of it.
	switch s, failed := m.d.domain(look, m.id); {
	case err == nil || failed == nil && s != nil && (s.finished() || !s.active()):
		return m.d.mark(m.id, (*record).arrived)
	case failed == nil && s == nil && m.d.mark(m.id, func(r *record) { r.Taken = false }) == nil: // it never began
		m.kept = false
	}
	return m.d.problem(m.id, "it cannot be taken in", err)
}

func (m *arrival) endSync() {
	m.stop()
	if m.synced != nil {
		<-m.synced
	}
}

// Close removes what has not finished. When libvirt's connection ends, so does
// what was begun on it.
func (m *arrival) Close() {
	m.endSync()
	_ = m.s.conn.Close()
	_ = os.RemoveAll(m.dir)
	if m.kept {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), slowTime)
	defer cancel()
	if err := errors.Join(m.d.Remove(ctx, m.id), m.d.Forget(ctx, m.id)); err != nil {
		m.d.Logger.Warn("something is left of a machine that was not taken in", "instance", m.id, "error", err)
	}
}

// diskBytes of the disk that a file of ours holds.
func diskBytes(ctx context.Context, file string) (int64, error) {
	said, err := qemuImg(ctx, checkTime, "info", "-U", "--output=json", "-f", diskimage.QCOW2, file)
	if err != nil {
		return 0, err
	}
	var told struct {
		VirtualSize int64 `json:"virtual-size"`
	}
	return told.VirtualSize, json.Unmarshal(said, &told)
}
