package guard

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"skerry.dev/shared/env"
)

// nobody is a process that there never is: a group that lists it never empties.
const nobody = 1 << 30

// stuckBench is the loop of a guard whose control groups are directories, and whose
// machines are none.
type stuckBench struct {
	*server
	t *testing.T
}

func newStuckBench(t *testing.T) *stuckBench {
	t.Helper()
	system := env.NewSystem()
	s := &server{
		Config: Config{Dir: inMemory(t), Run: "run-1", Env: system, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))},
		groups: cgroups{root: inMemory(t), unified: true}, machines: newMachines(), requests: make(chan request), stuck: map[string]bool{},
	}
	s.machines.proc = inMemory(t)
	return &stuckBench{server: s, t: t}
}

// inMemory is a directory as /run, /proc and the control groups are: whoever writes to a
// disk may wait for what others write to it. Its path is short, for sockets.
func inMemory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "skerry-guard-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// run the loop until the test ends.
func (b *stuckBench) run() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.loop(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("the guard: %v", err)
		}
	})
}

// ask tells how long the answer took.
func (b *stuckBench) ask(text string) (string, time.Duration) {
	began := b.Env.Clock.Elapsed()
	answer := make(chan reply, 1)
	b.requests <- request{text: text, answer: answer}
	said := <-answer
	return said.text, b.Env.Clock.Elapsed() - began
}

// group lists a process as one that is in it; the test says when it has gone.
func (b *stuckBench) group(name string, pid int) (procs string) {
	b.t.Helper()
	dir := filepath.Join(b.groups.root, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		b.t.Fatal(err)
	}
	procs = filepath.Join(dir, "cgroup.procs")
	if err := os.WriteFile(procs, []byte(strconv.Itoa(pid)), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return procs
}

// arm an instance that is killed after a while.
func (b *stuckBench) arm(id, target string, after time.Duration) (kill time.Duration) {
	b.t.Helper()
	const lease = 5 * time.Second
	until := b.Env.Clock.Elapsed() + after + Margin(lease)
	kill, err := b.core.Arm(id, target, until, lease, b.Env.Clock.Elapsed())
	if err != nil {
		b.t.Fatal(err)
	}
	return kill
}

func TestTheGuardTellsThatItsDirectoryIsNotInMemory(t *testing.T) {
	for dir, want := range map[string]bool{inMemory(t): false, "/proc": true} {
		var said bytes.Buffer
		s := &server{
			Config: Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(&said, nil))},
			groups: cgroups{root: t.TempDir(), unified: true}, machines: newMachines(),
		}
		s.harden()
		if told := strings.Contains(said.String(), "the run directory is not in memory"); told != want {
			t.Errorf("%s: told: %t: %s", dir, told, said.String())
		}
	}
}

// TestWhatCannotBeKilledKeepsNothingElseAlive: beside twelve containers and twelve
// machines that hang in a driver, what can be killed is dead when its lease ends,
// whether it falls due with them or after them, and whoever asks is answered soon.
func TestWhatCannotBeKilledKeepsNothingElseAlive(t *testing.T) {
	for _, scheme := range []string{cgroupScheme, machineScheme} {
		for name, after := range map[string]time.Duration{"with them": 100 * time.Millisecond, "after them": 1500 * time.Millisecond} {
			t.Run(scheme+" "+name, func(t *testing.T) {
				b := newStuckBench(t)
				for i := range 12 {
					id := fmt.Sprintf("p.stuck-%d", i)
					if scheme == cgroupScheme {
						b.group(id, nobody)
						b.arm(id, CgroupTarget("/"+id), 100*time.Millisecond)
						continue
					}
					b.hang(MachineTarget(id))
					b.arm(id, MachineTarget(id), 100*time.Millisecond)
				}
				cmd := exec.Command("sleep", "1000")
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				procs := b.group("p.db-1", cmd.Process.Pid)
				kill := b.arm("p.db-1", CgroupTarget("/p.db-1"), after)
				dead := make(chan time.Duration, 1)
				go func() {
					_ = cmd.Wait()
					dead <- b.Env.Clock.Elapsed()
					_ = os.WriteFile(procs, nil, 0o600)
				}()
				b.run()
				var worst time.Duration
				for b.Env.Clock.Elapsed() < kill+Margin(0) {
					for i := range 13 {
						_, took := b.ask(fmt.Sprintf("list %d", i))
						worst = max(worst, took)
					}
					time.Sleep(time.Millisecond)
				}
				if late := <-dead - kill; late >= Margin(0) {
					t.Errorf("what can be killed is dead %s late: its lease is over", late)
				}
				if worst >= answerTime/4 {
					t.Errorf("an answer takes %s", worst)
				}
			})
		}
	}
}

// hang lists a process of a machine as killed that never ends: a pipe in place of
// it, to which nobody writes.
func (b *stuckBench) hang(target string) {
	b.t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	b.machines.dying[target] = append(b.machines.dying[target], dying{fd: int(r.Fd())})
}
