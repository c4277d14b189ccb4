package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"

	golibvirt "github.com/digitalocean/go-libvirt"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/diskimage"
	"skerry.dev/shared/problem"
)

// maxOffer of another node, in bytes.
const maxOffer = 1 << 20

// arrival is one instance that comes from another node.
type arrival struct {
	d        *Driver
	id       string
	s        *session
	dir      string
	answer   []byte
	finished bool
}

// Arrive begins to take an instance in.
func (d *Driver) Arrive(ctx context.Context, spec runtime.Spec, from []byte) (runtime.Arrival, error) {
	var o offer
	if err := runtime.CheckID(spec.ID); err != nil {
		return nil, err
	}
	if spec.VM == nil || len(spec.VM.GetDisks()) > 0 || len(from) > maxOffer || json.Unmarshal(from, &o) != nil || o.RootBytes < 0 {
		return nil, problem.New(problem.Invalid, spec.ID, "it cannot be taken in as it is offered")
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
	m := &arrival{d: d, id: spec.ID, s: s}
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
	root := filepath.Join(d.diskDir(spec.ID), rootFile)
	if err := overlay(ctx, root, image, o.RootBytes); err != nil {
		return err
	}
	if _, err := d.seed(spec); err != nil {
		return err
	}
	if err := d.logs.Create(spec.ID); err != nil {
		return err
	}
	r := &record{
		SpecHash: spec.Hash(), Cycle: spec.Cycle, Accel: o.Accel, Started: o.Started, Arriving: true,
		Devices: o.Devices, Disks: diskFiles(machine{spec: spec, root: root}),
	}
	if err := d.write(spec.ID, r); err != nil {
		return err
	}
	paths, a := m.Sockets(), answer{XML: m.adapted(o)}
	params := []golibvirt.TypedParam{
		text(golibvirt.MigrateParamDestXML, a.XML), text(golibvirt.MigrateParamURI, "unix:"+paths[0]),
		text(golibvirt.MigrateParamDisksURI, "unix:"+paths[1]), text(golibvirt.MigrateParamMigrateDisks, rootTarget),
	}
	err = d.link.bounded(ctx, slowTime, m.s, func() (err error) {
		a.Cookie, _, err = m.s.DomainMigratePrepare3Params(params, o.Cookie, uint32(moveFlags))
		return err
	})
	if err != nil {
		return err
	}
	m.answer, err = json.Marshal(a)
	return err
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

func (m *arrival) Answer() []byte    { return m.answer }
func (m *arrival) Sockets() []string { return sockets(m.dir) }

// Finish lets it run here. Its QEMU is there when may is asked, so that the guard
// finds it from then on.
func (m *arrival) Finish(ctx context.Context, rest []byte, may func() error) error {
	if err := may(); err != nil {
		return err
	}
	err := m.d.link.bounded(ctx, slowTime, m.s, func() error {
		const notCancelled = 0
		_, _, err := m.s.DomainMigrateFinish3Params([]golibvirt.TypedParam{
			text(golibvirt.MigrateParamDestName, domainName(m.id)),
		}, rest, uint32(moveFlags), notCancelled)
		return err
	})
	look, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTime)
	defer cancel()
	s, failed := m.d.domain(look, m.id)
	switch {
	case failed == nil && s.active() && s.finished():
		m.finished = true
		return m.d.mark(m.id, func(r *record) { r.Arriving = false })
	case err == nil:
		err = errors.Join(errors.New("it does not run at the end"), failed)
	}
	return m.d.problem(m.id, "it cannot be taken in", err)
}

// Close removes what has not finished. When libvirt's connection ends, so does
// what was begun on it.
func (m *arrival) Close() {
	_ = m.s.conn.Close()
	_ = os.RemoveAll(m.dir)
	if m.finished {
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
