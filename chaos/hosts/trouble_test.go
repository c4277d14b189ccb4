//go:build integration

package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// restartPause is that of packaging/files/skerry.service.
const restartPause = 500 * time.Millisecond

// nurse starts the agent of a host again whenever it ends, as systemd does, until
// the test is over or the function that it returns is called.
func nurse(t *testing.T, h *Host) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-h.AgentEnded():
			case <-ctx.Done():
				return
			}
			if Sleep(ctx, restartPause) != nil {
				return
			}
			if err := h.StartAgent(); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}

// awaitTold waits until status tells of a host, which is ready, what it must.
func awaitTold(t *testing.T, r *Rig, h *Host, condition string) {
	t.Helper()
	await(t, r, condition+" on "+h.Name, patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "status")
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if strings.Contains(line, h.Name) && strings.Contains(line, " ready ") && strings.Contains(line, condition) {
				return nil
			}
		}
		return fmt.Errorf("status says\n%s", out)
	})
}

// sufferTrouble of a voter: its site goes on, what runs is left alone, it says what
// is wrong, and it is a voter again when that has passed.
func sufferTrouble(t *testing.T, r *Rig, h *Host, condition string, begin, end func() error) {
	t.Helper()
	nurse(t, h)
	before := allPIDs(t, r)
	t.Cleanup(func() {
		if err := end(); err != nil { // nothing ends on a disk that hangs
			t.Error(err)
		}
	})
	if err := begin(); err != nil {
		t.Fatal(err)
	}
	await(t, r, "a write", patience, func(ctx context.Context) error {
		_, err := r.Skerry(ctx, strings.NewReader("{kind: Project, name: meanwhile}"), "apply", "-f", "-")
		return err
	})
	awaitTold(t, r, h, condition)
	if after := allPIDs(t, r); !slices.Equal(before, after) {
		t.Errorf("containers were %v, are %v", before, after)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	await(t, r, "the trouble to be over", patience, func(ctx context.Context) error {
		status, err := r.Status(ctx)
		if err == nil && len(status.GetProblems()) > 0 {
			err = errors.New(strings.Join(status.GetProblems(), "\n"))
		}
		return err
	})
	if after := allPIDs(t, r); !slices.Equal(before, after) {
		t.Errorf("containers were %v, are %v in the end", before, after)
	}
	log, err := os.ReadFile(h.AgentLog())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		// That is how a voter halts when its log is not taken.
		if strings.HasPrefix(line, "panic:") && !strings.Contains(line, "fatal commit error") {
			t.Error(line)
		}
	}
}

// eachNode runs one container on every node.
func eachNode(t *testing.T, r *Rig) {
	t.Helper()
	loadImage(t, r, "web.tar", webImage)
	apply(t, r, strings.Replace(web(0), "replicas: 0", "perNode: true", 1))
	awaitHealthy(t, r, "web", len(r.Hosts))
}

// buildFaultDisk gives each host that is added its state on a disk that fails as it is told.
func buildFaultDisk(t *testing.T, r *Rig) {
	t.Helper()
	r.FaultDisk = filepath.Join(t.TempDir(), "faultdisk")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", r.FaultDisk, "./faultdisk")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

func TestVotersWhoseDiskTakesNothingComeBack(t *testing.T) {
	r := newRig(t)
	buildFaultDisk(t, r)
	if err := r.Up(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	eachNode(t, r)
	leader, other, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for what, h := range map[string]*Host{"the coordinator": leader, "another voter": other} {
		t.Run(what, func(t *testing.T) {
			sufferTrouble(t, r, h, "DiskReadOnly", func() error { return h.Disk("readonly") }, func() error { return h.Disk("ok") })
		})
	}
	// Where no orders come a node whose disk hangs is heard, and says why it does not vote.
	// Of a coordinator tells TestTheLossOfTheCoordinatorEndsNoLease.
	t.Run("the disk of another voter hangs", func(t *testing.T) {
		_, h, err := r.Coordinator(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		sufferTrouble(t, r, h, "DiskHangs", func() error { return h.Disk("slow 1h") }, func() error { return h.Disk("ok") })
	})
}

func TestAVoterWithoutDescriptorsComesBack(t *testing.T) {
	r := newSite(t, 3, 0)
	eachNode(t, r)
	leader, other, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for what, h := range map[string]*Host{"the coordinator": leader, "another voter": other} {
		t.Run(what, func(t *testing.T) {
			var had unix.Rlimit
			sufferTrouble(t, r, h, "DescriptorsGone", func() error {
				pid, err := h.AgentPID()
				if err != nil {
					return err
				}
				files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
				if err != nil {
					return err
				}
				if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &had); err != nil {
					return err
				}
				return unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(len(files)), Max: had.Max}, nil)
			}, func() error {
				pid, err := h.AgentPID()
				if err != nil {
					return err
				}
				return unix.Prlimit(pid, unix.RLIMIT_NOFILE, &had, nil)
			})
		})
	}
}
