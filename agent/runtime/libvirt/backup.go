package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"path/filepath"
	"strings"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"
	golibvirtxml "libvirt.org/go/libvirtxml"

	"skerry.dev/agent/runtime/snapshot"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// jobPoll is how often a copy is asked how far it is.
	jobPoll = 200 * time.Millisecond
	// freezeTime is what the guest's agent gets to write all to the disks, in
	// seconds.
	freezeTime = 10
)

// backup copies disks of a running guest into a directory, as they are at one
// moment: QEMU keeps what the guest overwrites meanwhile.
func (d *Driver) backup(ctx context.Context, id string, disks []diskFile, dir string, progress snapshot.Progress) (copies []snapshot.Disk, quiet bool, err error) {
	targets := &golibvirtxml.DomainBackupPushDisks{}
	for _, disk := range disks {
		to := filepath.Join(dir, disk.Name+"."+disk.Format)
		copies = append(copies, snapshot.Disk{Name: disk.Name, File: to, Format: disk.Format})
		targets.Disks = append(targets.Disks, golibvirtxml.DomainBackupPushDisk{
			Name: disk.Target, Driver: &golibvirtxml.DomainBackupDiskDriver{Type: disk.Format},
			Target: &golibvirtxml.DomainDiskSource{File: &golibvirtxml.DomainDiskSourceFile{File: to}},
		})
	}
	text, err := xml.Marshal(&golibvirtxml.DomainBackup{Push: &golibvirtxml.DomainBackupPush{Disks: targets}})
	if err != nil {
		return nil, false, err
	}
	if err := d.endJob(ctx, id); err != nil {
		return nil, false, err
	}
	quiet = d.freeze(ctx, id)
	err = d.link.do(ctx, slowTime, func(l *golibvirt.Libvirt) error {
		return l.DomainBackupBegin(d.domainOf(id), string(text), nil, 0)
	})
	if quiet {
		quiet = d.thaw(ctx, id)
	}
	if err == nil {
		err = d.awaitJob(ctx, id, progress)
	}
	if err != nil {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*callTime)
		defer cancel()
		return nil, false, errors.Join(d.problem(id, "its disks cannot be copied", err), d.unlessGone(after, id, d.endJob(after, id)))
	}
	return copies, quiet, nil
}

// unlessGone forgets an error about an instance whose copy ended with libvirt, or
// with the guest.
func (d *Driver) unlessGone(ctx context.Context, id string, err error) error {
	if s, failed := d.domain(ctx, id); failed != nil || !s.active() {
		return nil
	}
	return err
}

// freezeMark is there from before a guest's file systems are halted until they are
// known to go on: whoever finds it sees to that.
func (d *Driver) freezeMark(id string) string { return filepath.Join(d.instanceDir(id), "frozen") }

// freeze makes the guest write all it has to its file systems, if its agent can.
func (d *Driver) freeze(ctx context.Context, id string) bool {
	if d.agent(ctx, id, pingTime, "guest-ping", nil, nil) != nil || d.Env.FS.WriteFile(d.freezeMark(id), nil, 0o600) != nil {
		return false
	}
	err := d.agent(ctx, id, freezeTime, "guest-fsfreeze-freeze", nil, nil)
	if err != nil {
		d.thaw(ctx, id) // it may be about to
	}
	return err == nil
}

// thaw tells whether the guest was frozen until now. One that does not answer is
// asked again until it does.
func (d *Driver) thaw(ctx context.Context, id string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), slowTime)
	defer cancel()
	var thawed int
	err := d.agent(ctx, id, freezeTime, "guest-fsfreeze-thaw", nil, &thawed)
	var answer golibvirt.Error
	if err == nil || errors.As(err, &answer) && !silentAgent(err) {
		// It goes on, or cannot be halted at all.
		if err := d.Env.FS.Remove(d.freezeMark(id)); err != nil {
			d.Logger.Warn("that the file systems of a guest go on was not noted", "instance", id, "error", err)
		}
		return thawed > 0
	}
	d.Logger.Warn("the file systems of a guest may be halted; it is asked again", "instance", id, "error", err)
	return false
}

// thawAll asks the guests that a crash may have left with file systems that are
// halted.
func (d *Driver) thawAll(ctx context.Context) {
	for _, id := range d.mustInstances() {
		if !exists(d.freezeMark(id)) {
			continue
		}
		if _, free, err := d.occupy(ctx, id, "its file systems go on", true); err == nil {
			d.thaw(ctx, id)
			free()
		}
	}
}

// endJob ends a copy that an earlier call began and nobody waits for.
func (d *Driver) endJob(ctx context.Context, id string) error {
	err := d.link.do(ctx, callTime, func(l *golibvirt.Libvirt) error {
		kind, params, err := l.DomainGetJobStats(d.domainOf(id), 0)
		if err != nil || golibvirt.DomainJobType(kind) == golibvirt.DomainJobNone {
			return err
		}
		if operation, _ := value(params, golibvirt.DomainJobOperationStr).(int32); operation != int32(golibvirt.DomainJobOperationStrBackup) {
			return problem.New(problem.Conflict, id, "libvirt is at work on it").WithHint("wait until that is over")
		}
		return l.DomainAbortJob(d.domainOf(id))
	})
	if err != nil && strings.Contains(err.Error(), lostJob) {
		return problem.New(problem.Unavailable, id, "libvirt was ended in the middle of a copy, and believes that it still goes on").
			WithHint("the disks of this machine can be copied again after skerry vm restart NAME, or while it is off")
	}
	return err
}

// lostJob is what libvirt says of a copy that it began and has forgotten since: it
// takes no other one until the guest ends.
const lostJob = "backup job data missing"

// awaitJob waits for the end of the copy, and tells what came of it.
func (d *Driver) awaitJob(ctx context.Context, id string, progress snapshot.Progress) error {
	for {
		if err := env.Sleep(ctx, d.Env.Clock, jobPoll); err != nil {
			return context.Cause(ctx)
		}
		var over bool
		err := d.link.do(ctx, callTime, func(l *golibvirt.Libvirt) (err error) {
			over, err = d.lookAtJob(l, id, progress)
			return err
		})
		if over || err != nil {
			return err
		}
	}
}

func (d *Driver) lookAtJob(l *golibvirt.Libvirt, id string, progress snapshot.Progress) (over bool, err error) {
	kind, params, err := l.DomainGetJobStats(d.domainOf(id), 0)
	if err != nil {
		return false, err
	}
	if golibvirt.DomainJobType(kind) != golibvirt.DomainJobNone {
		done, _ := value(params, golibvirt.DomainJobDiskProcessed).(uint64)
		total, _ := value(params, golibvirt.DomainJobDiskTotal).(uint64)
		progress(int64(done), int64(total))
		return false, nil
	}
	_, params, err = l.DomainGetJobStats(d.domainOf(id), golibvirt.DomainJobStatsCompleted)
	if err != nil {
		return false, err
	}
	if success, ok := value(params, golibvirt.DomainJobSuccess).(int32); ok && success == 1 {
		return true, nil
	}
	why, _ := value(params, golibvirt.DomainJobErrmsg).(string)
	if why == "" {
		why = "the guest ended, or the copy was given up"
	}
	return false, errors.New(why)
}

func value(params []golibvirt.TypedParam, field string) any {
	for _, p := range params {
		if p.Field == field {
			return p.Value.I
		}
	}
	return nil
}
