package guard

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"skerry.dev/shared/env"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bench is a guard at work, and who asks it.
type bench struct {
	*Client
	t      *testing.T
	config Config
	stop   func()
}

func newBench(t *testing.T, watchdog string) *bench {
	t.Helper()
	dir := inMemory(t)
	system := env.NewSystem()
	b := &bench{
		t: t, Client: &Client{Dir: dir, Run: "run-1", Net: system.Net, Now: system.Clock.Now},
		config: Config{Dir: dir, Watchdog: watchdog, Run: "run-1", Env: system, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))},
	}
	b.run()
	return b
}

// run starts a guard.
func (b *bench) run() {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, b.config) }()
	b.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("the guard: %v", err)
		}
		ended <- nil
	}
	b.t.Cleanup(func() { b.Close(); b.stop() })
	b.await("the guard", func() error { _, err := b.Check(b.t.Context()); return err })
}

func (b *bench) await(what string, holds func() error) {
	b.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// armTime is left to a lease when it is armed, so that a machine that does much
// else comes to it before it is over.
const armTime = 4 * time.Second

// arm until the guard has taken it: it may be slow to answer.
func (b *bench) arm(id, target string, until, lease time.Duration) (kill time.Duration) {
	b.t.Helper()
	b.await("the lease of "+id, func() (err error) {
		kill, err = b.Arm(b.t.Context(), id, target, until, lease)
		return err
	})
	return kill
}

func (b *bench) now() time.Duration { return b.config.Env.Clock.Elapsed() }

// sleeper is a process in a control group of its own, which ignores SIGTERM.
func (b *bench) sleeper(group string) (alive func() bool) {
	b.t.Helper()
	groups := newCgroups()
	dir := filepath.Join(groups.root, group)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		b.t.Skipf("no control groups: %v", err)
	}
	// It waits until it is in its group: its children are there, too.
	cmd := exec.Command("sh", "-c", "trap '' TERM; read -r begin; while :; do sleep 1000 & wait; done")
	begin, err := cmd.StdinPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	dead := make(chan struct{})
	go func() { _ = cmd.Wait(); close(dead) }()
	b.t.Cleanup(func() {
		target := CgroupTarget("/" + group)
		b.await("the end of "+group, func() error {
			found, err := groups.strike(target, false)
			if pause(shortly); found && !groups.gone(target, false) {
				return errors.New("something is left")
			}
			return err
		})
		_ = cmd.Process.Kill()
		<-dead
		groups.release(target)
	})
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0o644); err != nil {
		b.t.Skipf("no process can be put into a control group: %v", err)
	}
	_, _ = begin.Write([]byte("\n")) // what comes late may be dead by now
	return func() bool {
		select {
		case <-dead:
			return false
		default:
			return true
		}
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("control groups need root")
	}
}

func TestGuardKillsBeforeTheLeaseEndsAndKeepsItSo(t *testing.T) {
	needRoot(t)
	b := newBench(t, "")
	group := "skerry-test-" + strconv.Itoa(os.Getpid()) + "/p.db-1"
	alive := b.sleeper(group)
	lease := 5 * time.Second
	until := b.now() + armTime
	kill := b.arm("p.db-1", CgroupTarget("/"+group), until, lease)
	if kill != until-Margin(lease) || !alive() && b.now() < kill {
		t.Fatalf("it is killed at %s of %s, alive %v", kill, until, alive())
	}
	b.await("its end", func() error {
		if alive() {
			return errors.New("it lives")
		}
		return nil
	})
	if _, err := b.Arm(t.Context(), "p.db-1", CgroupTarget("/"+group), b.now()+time.Hour, lease); err == nil {
		t.Error("it may live again")
	}
	// What comes late into the group runs nothing, and is killed too.
	late := b.sleeper(group)
	b.await("the end of what came late", func() error {
		if late() {
			return errors.New("it lives")
		}
		return nil
	})
	// The runtime gets at what is left, and what comes even later is killed too.
	frozen := func() string {
		state, err := os.ReadFile(filepath.Join(newCgroups().root, group, "freezer.state"))
		if err != nil {
			t.Skipf("control groups of version 2: %v", err)
		}
		return strings.TrimSpace(string(state))
	}
	// To be killed it thaws for a moment: signals do not reach what is frozen.
	b.await("that it is frozen again", func() error {
		if state := frozen(); state != "FROZEN" {
			return errors.New(state)
		}
		return nil
	})
	if err := b.Thaw(t.Context(), "p.db-1"); err != nil {
		t.Fatal(err)
	}
	b.await("the thaw", func() error {
		if state := frozen(); state != "THAWED" {
			return errors.New(state)
		}
		return nil
	})
	later := b.sleeper(group)
	b.await("the end of what came even later", func() error {
		if later() {
			return errors.New("it lives")
		}
		return nil
	})
	if err := b.Drop(t.Context(), "p.db-1"); err != nil {
		t.Error(err)
	}
}

// TestWhatNeverBeganMayBeginAfterItsLeaseHasEnded: its group was frozen, is not any
// more, and what is started in it lives; once that has been ended it stays so. What
// is dropped without ever having run leaves no group behind.
func TestWhatNeverBeganMayBeginAfterItsLeaseHasEnded(t *testing.T) {
	needRoot(t)
	b := newBench(t, "")
	parent := "skerry-test-" + strconv.Itoa(os.Getpid())
	b.sleeper(parent + "/probe") // skips where there are no control groups
	t.Cleanup(func() { _ = os.Remove(filepath.Join(newCgroups().root, parent)) })
	group, lease := parent+"/p.db-2", 5*time.Second
	dir := filepath.Join(newCgroups().root, group)
	b.arm("p.db-2", CgroupTarget("/"+group), b.now()+armTime, lease)
	entry := func() Entry {
		entries, err := b.List(t.Context())
		if err != nil || len(entries) != 1 {
			return Entry{}
		}
		return entries[0]
	}
	b.await("its end", func() error {
		if _, err := os.Stat(dir); err != nil || !entry().Ended || entry().Ran {
			return fmt.Errorf("%v, it is %+v", err, entry())
		}
		return nil
	})
	if _, err := b.Arm(t.Context(), "p.db-2", CgroupTarget("/"+group), b.now()+armTime, lease); err == nil {
		t.Error("it is armed though nobody said that it never began")
	}
	b.await("to be guarded anew", func() error {
		_, err := b.Anew(t.Context(), "p.db-2", CgroupTarget("/"+group), b.now()+armTime, lease)
		return err
	})
	if state, err := os.ReadFile(filepath.Join(dir, "freezer.state")); err == nil && strings.TrimSpace(string(state)) != "THAWED" {
		t.Errorf("it is guarded anew, and %s", state)
	}
	alive := b.sleeper(group)
	b.await("its end", func() error {
		if alive() || !entry().Ran {
			return fmt.Errorf("it lives %v, and is %+v", alive(), entry())
		}
		return nil
	})
	b.stop()
	b.run()
	if e := entry(); !e.Ended || !e.Ran {
		t.Errorf("the guard that comes after knows of %+v", e)
	}
	if err := b.Drop(t.Context(), "p.db-2"); err != nil {
		t.Error(err)
	}
	unused := parent + "/p.db-3"
	b.arm("p.db-3", CgroupTarget("/"+unused), b.now()+armTime, lease)
	b.await("its end", func() error {
		if !entry().Ended {
			return errors.New("it is armed")
		}
		return nil
	})
	if err := b.Drop(t.Context(), "p.db-3"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(newCgroups().root, unused)); err == nil {
		t.Error("its group is left")
	}
}

// TestWhatCannotBeRememberedIsRefusedInWords: its state cannot be written.
func TestWhatCannotBeRememberedIsRefusedInWords(t *testing.T) {
	needRoot(t)
	b := newBench(t, "")
	if err := os.Mkdir(filepath.Join(b.Dir, stateName+".next"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := b.Arm(t.Context(), "p.db-1", "cgroup:/skerry-test/x", b.now()+time.Hour, time.Hour)
	if err == nil || !strings.HasPrefix(err.Error(), "the guard refuses: there is no room to remember it: ") {
		t.Errorf("it says: %v", err)
	}
}

func TestGuardThatComesAfterKnowsWhatTheOneBeforeHeld(t *testing.T) {
	needRoot(t)
	b := newBench(t, "")
	until := b.now() + time.Hour
	b.arm("p.db-1", "cgroup:/skerry-test/x", until, time.Hour)
	b.stop()
	b.run()
	entries, err := b.List(t.Context())
	if err != nil || len(entries) != 1 || entries[0].ID != "p.db-1" || entries[0].Until != until || entries[0].Ended {
		t.Fatalf("%v, it holds %v", err, entries)
	}
	// After a reboot it counts for nothing.
	b.stop()
	b.config.Run, b.Run = "run-2", "run-2"
	b.run()
	if entries, err := b.List(t.Context()); err != nil || len(entries) != 0 {
		t.Errorf("%v, after a reboot it holds %v", err, entries)
	}
}

func TestOneGuardAtATime(t *testing.T) {
	needRoot(t)
	b := newBench(t, "")
	if err := Run(t.Context(), b.config); err == nil || !strings.Contains(err.Error(), "another guard") {
		t.Errorf("a second guard: %v", err)
	}
	old := &Client{Dir: b.Dir, Run: "run-2", Net: b.Net, Now: b.Now}
	defer old.Close()
	if isOld, err := old.Check(t.Context()); !isOld || err == nil {
		t.Errorf("a guard of another run of the machine is taken: %v %v", isOld, err)
	}
	if err := b.End(t.Context()); err != nil {
		t.Error(err)
	}
	b.await("its end", func() error {
		if _, err := b.Check(t.Context()); err == nil {
			return errors.New("it answers")
		}
		return nil
	})
}

// TestWatchdogIsFedUntilSomethingCannotBeKilled, with a file in place of the
// device and a target that there is no way to kill.
func TestWatchdogIsFedUntilSomethingCannotBeKilled(t *testing.T) {
	needRoot(t)
	device := filepath.Join(t.TempDir(), "watchdog")
	if err := os.WriteFile(device, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b := newBench(t, device)
	fed := func() int64 {
		info, err := os.Stat(device)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	before := fed()
	b.await("food", func() error {
		if fed() < before+3 {
			return errors.New("it is not fed")
		}
		return nil
	})
	b.arm("p.vm-1", "nothing:that", b.now()+armTime, 5*time.Second)
	b.await("the end of feeding", func() error {
		before := fed()
		time.Sleep(2 * longestPause)
		if fed() != before {
			return errors.New("it is fed on")
		}
		return nil
	})
	if err := b.Drop(t.Context(), "p.vm-1"); err != nil {
		t.Error(err)
	}
}
