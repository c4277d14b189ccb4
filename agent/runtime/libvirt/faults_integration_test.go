//go:build integration

package libvirt

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// Whatever is under way when libvirtd is killed either fails in words that a person
// understands, or was done; made again, it comes to its end, and nothing is left of
// the first attempt.
func TestLibvirtdIsKilledInTheMiddle(t *testing.T) {
	own := startDaemon(t, "m")
	d := newNode(t, own).open(t)
	spec := withVolume(t, d, "vm-1")
	more := spec
	more.VM = proto.CloneOf(spec.VM)
	more.VM.Disks = append(more.VM.Disks, &skerryv1.Disk{Name: "more", Volume: "more"})
	more.Volumes = map[string]runtime.Volume{"vm-1": {SizeBytes: 8 << 20}, "more": {SizeBytes: 4 << 20}}
	export := func() error {
		content, _, err := d.Export(t.Context(), spec.ID, runtime.Export{}, silent)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, content)
		return err
	}
	echo := func() error {
		_, err := d.Exec(t.Context(), spec.ID, runtime.Exec{Command: []string{"echo", "hello"}, Stdout: io.Discard, Stderr: io.Discard})
		return err
	}
	screenshot := func() error {
		_, err := d.Screenshot(t.Context(), spec.ID)
		return err
	}
	frozen := false
	for _, step := range []struct {
		what string
		call func() error
		// after how long it is killed: about when QEMU, or the copy, is at work.
		after time.Duration
		want  runtime.State
	}{
		{"prepare", func() error { return d.Prepare(t.Context(), spec) }, 30 * time.Millisecond, runtime.Prepared},
		{"start", func() error { return startedAgain(t, d, spec) }, 100 * time.Millisecond, runtime.Running},
		{"snapshot", func() error { return again(d.Snapshot(t.Context(), spec.ID, "one", silent)) }, 100 * time.Millisecond, runtime.Running},
		{"export", export, 100 * time.Millisecond, runtime.Running},
		{"attach", func() error { return d.Adjust(t.Context(), more) }, 50 * time.Millisecond, runtime.Running},
		{"detach", func() error { return d.Adjust(t.Context(), spec) }, 20 * time.Millisecond, runtime.Running},
		{"pause and go on", func() error { return errors.Join(d.Pause(t.Context(), spec.ID), d.Resume(t.Context(), spec.ID)) }, 20 * time.Millisecond, runtime.Running},
		{"exec", echo, 50 * time.Millisecond, runtime.Running},
		{"screenshot", screenshot, 30 * time.Millisecond, runtime.Running},
		{"stop", func() error { return d.Stop(t.Context(), spec.ID, 0) }, 20 * time.Millisecond, runtime.Exited},
		{"remove", func() error { return d.Remove(t.Context(), spec.ID) }, 20 * time.Millisecond, 0},
	} {
		killed := make(chan struct{})
		time.AfterFunc(step.after, func() {
			own.Kill()
			close(killed)
		})
		err := step.call()
		<-killed // also when the call was faster
		if err != nil && (problem.KindOf(err) != problem.Unavailable && problem.KindOf(err) != problem.Timeout && problem.KindOf(err) != problem.NotFound) {
			t.Errorf("%s: libvirtd was killed, and it gave %s: %v", step.what, problem.KindOf(err), err)
		}
		must(t, own.Start())
		until(t, step.what+" is done the second time", func() bool {
			err := step.call()
			ended := step.want == runtime.Running && state(t, d, spec.ID) == runtime.Exited // by libvirt, when it came back
			switch {
			case err == nil && !ended:
			case err != nil && (strings.Contains(err.Error(), "believes that it still goes on") || strings.Contains(err.Error(), "does not know that it is there")):
				must(t, d.Stop(t.Context(), spec.ID, 0)) // as the hint says
				must(t, startedAgain(t, d, spec))
			case ended:
				must(t, startedAgain(t, d, spec))
			}
			if err != nil {
				t.Logf("%s: %v", step.what, err)
				return false
			}
			return state(t, d, spec.ID) == step.want
		})
		if step.want == runtime.Running {
			// A libvirtd that finds a guest whose start it does not remember ends it.
			until(t, "after "+step.what+" the guest is up", func() bool {
				return startedAgain(t, d, spec) == nil && d.PingAgent(t.Context(), spec.ID) == nil
			})
			d.thawAll(t.Context()) // as it is done now and then
			frozen = frozen || exists(d.freezeMark(spec.ID))
		}
		for _, dir := range []string{d.exportsDir(), filepath.Join(d.diskDir(spec.ID), "snapshots")} {
			entries, _ := os.ReadDir(dir) // there may be none
			for _, entry := range entries {
				if entry.Name() != "one" {
					t.Errorf("%s left %s in %s", step.what, entry.Name(), dir)
				}
			}
		}
	}
	if frozen {
		t.Error("a guest was left with file systems that are halted")
	}
	if _, err := d.snapshots(spec.ID).Get("one"); err != nil {
		t.Errorf("the snapshot did not outlive it all: %v", err)
	}
}

// again takes it that a snapshot was made already.
func again(err error) error {
	if problem.KindOf(err) == problem.Conflict {
		return nil
	}
	return err
}

// startedAgain prepares anew what may have begun and ended, as the agent does.
func startedAgain(t *testing.T, d *Driver, spec runtime.Spec) error {
	t.Helper()
	err := d.Start(t.Context(), spec.ID)
	if problem.KindOf(err) != problem.Conflict {
		return err
	}
	if err := errors.Join(d.Remove(t.Context(), spec.ID), d.Prepare(t.Context(), spec)); err != nil {
		return err
	}
	return d.Start(t.Context(), spec.ID)
}

// A disk that is full takes no image, and what was taken in so far is gone.
func TestTheDiskIsFull(t *testing.T) {
	h := newNode(t, theOne)
	must(t, os.MkdirAll(h.config.Dir, 0o755))
	must(t, unix.Mount("tmpfs", h.config.Dir, "tmpfs", 0, "size=300m"))
	t.Cleanup(func() { must(t, unix.Unmount(h.config.Dir, unix.MNT_DETACH)) })
	d := h.open(t)
	_, err := d.Import(t.Context(), io.LimitReader(zeros{}, 400<<20), "large")
	if problem.KindOf(err) != problem.Exhausted || !strings.Contains(err.Error(), "too full") {
		t.Errorf("it gave %v", err)
	}
	left, err := os.ReadDir(d.disks.temporary())
	if err != nil || len(left) != 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	if _, err := d.Import(t.Context(), bytes.NewReader(disk), "small"); err != nil {
		t.Errorf("what fits was not taken: %v", err)
	}
	spec := withVolume(t, d, "vm-1")
	must(t, d.Prepare(t.Context(), spec))
	fill, err := os.Create(filepath.Join(h.config.Dir, "fill"))
	must(t, err)
	must(t, unix.Fallocate(int(fill.Fd()), 0, 0, 100<<20))
	must(t, fill.Close())
	if err := d.Snapshot(t.Context(), spec.ID, "one", silent); problem.KindOf(err) != problem.Exhausted {
		t.Errorf("a snapshot onto a disk that is full gave %v", err)
	}
	must(t, d.Remove(t.Context(), spec.ID))
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
