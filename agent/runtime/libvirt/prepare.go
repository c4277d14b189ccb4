package libvirt

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	golibvirt "github.com/digitalocean/go-libvirt"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// Prepare makes the disks and defines the domain.
func (d *Driver) Prepare(ctx context.Context, spec runtime.Spec) error {
	if err := runtime.CheckID(spec.ID); err != nil {
		return err
	}
	if spec.VM == nil {
		return problem.New(problem.Invalid, spec.ID, "it is no virtual machine")
	}
	present, err := d.one(ctx, spec.ID)
	if err != nil {
		return d.problem(spec.ID, "it cannot be prepared", err)
	}
	if present != nil && present.State != runtime.Broken {
		if present.SpecHash != spec.Hash() {
			return problem.New(problem.Conflict, spec.ID, "it exists with another specification").WithHint("remove it first")
		}
		return nil
	}
	if present != nil {
		if err := d.Remove(ctx, spec.ID); err != nil {
			return err
		}
	}
	free, err := d.claim(ctx, spec.ID, "it is being prepared")
	if err != nil {
		return err
	}
	defer free()
	if err := d.prepare(ctx, spec); err != nil {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), slowTime)
		defer cancel()
		return errors.Join(d.problem(spec.ID, "it cannot be prepared", err), d.Remove(after, spec.ID))
	}
	return nil
}

func (d *Driver) prepare(ctx context.Context, spec runtime.Spec) error {
	accel, err := d.accelFor(spec.VM)
	if err != nil {
		return err
	}
	if err := d.checkHost(spec.VM); err != nil {
		return err
	}
	if err := openToAll(d.instanceDir(spec.ID)); err != nil {
		return err
	}
	m := machine{spec: spec, accel: accel, log: d.logs.File(spec.ID, 0), console: d.consoleSocket(spec.ID)}
	if err := d.snapshots(spec.ID).Finish(nil); err != nil { // of a restore that a crash broke
		return err
	}
	if m.root, err = d.rootDisk(ctx, spec); err != nil {
		return err
	}
	if m.disks, err = d.volumeDisks(ctx, spec); err != nil {
		return err
	}
	if m.seed, err = d.seed(spec); err != nil {
		return err
	}
	if err := d.logs.Create(spec.ID); err != nil {
		return err
	}
	r := &record{SpecHash: spec.Hash(), Cycle: spec.Cycle, Accel: accel, Disks: diskFiles(m), Devices: spec.DevicesHash()}
	if err := d.write(spec.ID, r); err != nil {
		return err
	}
	text, err := d.xml(m)
	if err != nil {
		return err
	}
	return d.link.do(ctx, slowTime, func(l *golibvirt.Libvirt) error {
		_, err := l.DomainDefineXMLFlags(text, golibvirt.DomainDefineValidate)
		return err
	})
}

// The root disk: its file, and its name beside those of the others.
const (
	rootFile = "root.qcow2"
	rootName = "root"
)

// rootDisk returns the root disk, which is made once: it keeps what the guest
// wrote for as long as the placement lives.
func (d *Driver) rootDisk(ctx context.Context, spec runtime.Spec) (string, error) {
	image, err := d.disks.file(spec.ImageDigest)
	if err != nil {
		return "", err
	}
	file := filepath.Join(d.diskDir(spec.ID), rootFile)
	if exists(file) {
		return file, nil
	}
	size := image.DiskBytes
	if spec.VM.GetDiskSize() != "" {
		wanted, err := manifest.Memory(spec.VM.GetDiskSize())
		if err != nil {
			return "", problem.New(problem.Invalid, spec.ID, "%w", err).WithField("vm.diskSize")
		}
		if wanted < size {
			return "", problem.New(problem.Invalid, spec.ID, "its root disk of %s would be smaller than its image, which is %d bytes",
				spec.VM.GetDiskSize(), size).WithField("vm.diskSize")
		}
		size = wanted
	}
	if err := openToAll(d.diskDir(spec.ID)); err != nil {
		return "", err
	}
	if err := overlay(ctx, file, image, size); err != nil {
		return "", errors.Join(err, os.RemoveAll(d.diskDir(spec.ID)))
	}
	return file, nil
}

// accelFor a virtual machine, on this node and now.
func (d *Driver) accelFor(vm interface{ GetAccel() string }) (string, error) {
	kvm, why := d.host.kvm()
	switch {
	case vm.GetAccel() != accelTCG && kvm:
		return accelKVM, nil
	case vm.GetAccel() == accelKVM:
		return "", problem.New(problem.Conflict, "", "it needs KVM, which this node does not offer: %s", why)
	case !d.Emulation:
		return "", problem.New(problem.Conflict, "", "this node does not offer KVM (%s), and does not allow emulation", why).
			WithHint("libvirt.emulation: true in /etc/skerry/agent.yaml allows it")
	default:
		return accelTCG, nil
	}
}

const (
	accelKVM = "kvm"
	accelTCG = "tcg"
)
