package libvirt

import (
	"context"
	"encoding/xml"
	"slices"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	golibvirtxml "libvirt.org/go/libvirtxml"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/diskimage"
	"skerry.dev/agent/runtime/snapshot"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// detachTime is what a guest gets to give a device up.
	detachTime = 20 * time.Second
	// spareSlots are left for devices that come while a machine runs.
	spareSlots = 8
)

// plugged is what a running domain has, as far as it comes and goes.
type plugged struct {
	Disks []pluggedDisk `xml:"devices>disk"`
	Cards []pluggedCard `xml:"devices>interface"`
}

type pluggedDisk struct {
	Serial string `xml:"serial"`
	Target struct {
		Dev string `xml:"dev,attr"`
	} `xml:"target"`
}

type pluggedCard struct {
	MAC struct {
		Address string `xml:"address,attr"`
	} `xml:"mac"`
}

// Adjust gives a running instance the disks and network cards of the spec, and takes
// the others away. What it did before it failed is done.
func (d *Driver) Adjust(ctx context.Context, spec runtime.Spec) error {
	instance, r, err := d.present(ctx, spec.ID)
	if err != nil {
		return err
	}
	if instance.State != runtime.Running {
		return problem.New(problem.Conflict, spec.ID, "it does not run")
	}
	if err := d.checkHost(spec.VM); err != nil {
		return err
	}
	ctx, free, err := d.occupy(ctx, spec.ID, "its devices are changed", false)
	if err != nil {
		return err
	}
	defer free()
	m := machine{spec: spec}
	if m.disks, err = d.volumeDisks(ctx, spec); err != nil {
		return err
	}
	if err := d.adjustCards(ctx, spec.ID, d.cards(m)); err != nil {
		return d.problem(spec.ID, "its network cards were not changed", err)
	}
	err = d.adjustDisks(ctx, spec.ID, r, m.disks)
	if err == nil {
		r.SpecHash, r.Devices = spec.Hash(), spec.DevicesHash()
	}
	// Also what was done halfway is written down: the record is what is copied.
	if failed := d.write(spec.ID, r); err == nil {
		err = failed
	}
	return d.problem(spec.ID, "its disks were not changed", err)
}

func (d *Driver) plugged(ctx context.Context, id string) (*plugged, error) {
	var text string
	err := d.link.do(ctx, callTime, func(l *golibvirt.Libvirt) (err error) {
		text, err = l.DomainGetXMLDesc(d.domainOf(id), 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	p := &plugged{}
	return p, xml.Unmarshal([]byte(text), p)
}

func (p *plugged) hasCard(mac string) bool {
	return slices.ContainsFunc(p.Cards, func(c pluggedCard) bool { return strings.EqualFold(c.MAC.Address, mac) })
}

func (p *plugged) disk(name string) (target string, has bool) {
	at := slices.IndexFunc(p.Disks, func(d pluggedDisk) bool { return d.Serial == name })
	if at < 0 {
		return "", false
	}
	return p.Disks[at].Target.Dev, true
}

// freeTarget is a name that no disk has.
func (p *plugged) freeTarget() string {
	for at := 1; ; at++ {
		name := targetOf(at)
		if !slices.ContainsFunc(p.Disks, func(d pluggedDisk) bool { return d.Target.Dev == name }) {
			return name
		}
	}
}

func (d *Driver) adjustCards(ctx context.Context, id string, wanted []golibvirtxml.DomainInterface) error {
	now, err := d.plugged(ctx, id)
	if err != nil {
		return err
	}
	for _, card := range now.Cards {
		if slices.ContainsFunc(wanted, func(w golibvirtxml.DomainInterface) bool { return strings.EqualFold(w.MAC.Address, card.MAC.Address) }) {
			continue
		}
		old := golibvirtxml.DomainInterface{
			MAC:    &golibvirtxml.DomainInterfaceMAC{Address: card.MAC.Address},
			Source: &golibvirtxml.DomainInterfaceSource{User: &golibvirtxml.DomainInterfaceSourceUser{}},
		}
		text, err := old.Marshal()
		if err != nil {
			return err
		}
		if err := d.unplug(ctx, id, "network card "+card.MAC.Address, text, func(p *plugged) bool { return p.hasCard(card.MAC.Address) }); err != nil {
			return err
		}
	}
	for _, card := range wanted {
		if now.hasCard(card.MAC.Address) {
			continue
		}
		text, err := card.Marshal()
		if err != nil {
			return err
		}
		if err := d.plug(ctx, id, text); err != nil {
			return err
		}
	}
	return nil
}

// adjustDisks takes down in the record what it does.
func (d *Driver) adjustDisks(ctx context.Context, id string, r *record, wanted []volumeDisk) error {
	for _, disk := range slices.Clone(r.Disks) {
		if disk.Name == rootName || slices.ContainsFunc(wanted, func(w volumeDisk) bool { return w.name == disk.Name }) {
			continue
		}
		if err := d.removeDisk(ctx, id, disk); err != nil {
			return err
		}
		r.Disks = slices.DeleteFunc(r.Disks, func(known diskFile) bool { return known.Name == disk.Name })
	}
	for _, disk := range wanted {
		target, err := d.addDisk(ctx, id, disk)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(r.Disks, func(known diskFile) bool { return known.Name == disk.name }) {
			r.Disks = append(r.Disks, diskFile{Disk: snapshot.Disk{Name: disk.name, File: disk.file, Format: diskimage.Raw}, Target: target, Volume: disk.volume})
		}
	}
	return nil
}

func (d *Driver) removeDisk(ctx context.Context, id string, disk diskFile) error {
	now, err := d.plugged(ctx, id)
	if err != nil {
		return err
	}
	target, has := now.disk(disk.Name)
	if !has {
		return nil
	}
	old := diskXML(target, disk.File, disk.Format, disk.Name, false)
	text, err := old.Marshal()
	if err != nil {
		return err
	}
	return d.unplug(ctx, id, "disk "+disk.Name, text, func(p *plugged) bool {
		_, has := p.disk(disk.Name)
		return has
	})
}

func (d *Driver) addDisk(ctx context.Context, id string, disk volumeDisk) (target string, err error) {
	now, err := d.plugged(ctx, id)
	if err != nil {
		return "", err
	}
	if target, has := now.disk(disk.name); has {
		return target, nil
	}
	target = now.freeTarget()
	fresh := diskXML(target, disk.file, diskimage.Raw, disk.name, disk.readOnly)
	text, err := fresh.Marshal()
	if err != nil {
		return "", err
	}
	return target, d.plug(ctx, id, text)
}

// plug in a device. A libvirtd that was killed in the middle of it forgets what it
// has given to QEMU already, and then QEMU takes it no second time.
func (d *Driver) plug(ctx context.Context, id, device string) error {
	err := d.link.do(ctx, slowTime, func(l *golibvirt.Libvirt) error {
		return l.DomainAttachDeviceFlags(d.domainOf(id), device, uint32(golibvirt.DomainDeviceModifyLive))
	})
	if err != nil && strings.Contains(err.Error(), "Duplicate ") {
		return problem.New(problem.Unavailable, id, "libvirt was ended while it plugged a device in, and does not know that it is there").
			WithHint("it has it after the next skerry vm restart NAME")
	}
	return err
}

// unplug asks the guest to give a device up, and waits until it has.
func (d *Driver) unplug(ctx context.Context, id, what, device string, has func(*plugged) bool) error {
	err := d.link.do(ctx, slowTime, func(l *golibvirt.Libvirt) error {
		return l.DomainDetachDeviceFlags(d.domainOf(id), device, uint32(golibvirt.DomainDeviceModifyLive))
	})
	if err != nil && !strings.Contains(err.Error(), "already in the process of unplug") {
		return err
	}
	for end := d.Env.Clock.Elapsed() + detachTime; ; {
		now, err := d.plugged(ctx, id)
		if err != nil || !has(now) {
			return err
		}
		if d.Env.Clock.Elapsed() >= end {
			return problem.New(problem.Timeout, id, "the guest does not give up %s", what).
				WithHint("it may be in use there, or the guest cannot: it is gone after the next skerry vm restart NAME")
		}
		if err := env.Sleep(ctx, d.Env.Clock, pollEvery); err != nil {
			return err
		}
	}
}
