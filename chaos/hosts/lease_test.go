//go:build integration

package hosts

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/agent/ledger"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

const (
	beaterImage = "site.local/beater:1"
	lease       = 5 * time.Second
)

// watched is a site with a witness beside it.
func watched(t *testing.T, r *Rig) *harness {
	t.Helper()
	h := &harness{t: t, Rig: r}
	var err error
	h.witness, err = h.NewWitness(t.Context())
	h.must(err)
	t.Cleanup(func() {
		if err := h.witness.Close(); err != nil {
			t.Errorf("the witness: %v", err)
		}
	})
	return h
}

// harness is a site of three nodes with one exclusive placement, and a witness.
type harness struct {
	*Rig
	t       *testing.T
	witness *Witness
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	h := beating(t, 3)
	h.apply("db", "")
	return h
}

// beating is a site of so many nodes, watched, that has what tells the witness that it
// lives.
func beating(t *testing.T, nodes int) *harness {
	t.Helper()
	r := newRig(t)
	buildFaultDisk(t, r)
	if err := r.Up(t.Context(), nodes); err != nil {
		t.Fatal(err)
	}
	h := watched(t, r)
	path, err := h.BuildBeater(t.Context())
	h.must(err)
	loadImage(t, h.Rig, "beater.tar", beaterImage, path)
	return h
}

// apply an exclusive workload that tells the witness that it lives; place is a line of
// its manifest, or empty.
func (h *harness) apply(name, place string) {
	h.t.Helper()
	apply(h.t, h.Rig, fmt.Sprintf(`
kind: Workload
name: %s
container:
  image: %s
  command: [beater, "%s"]
  network: host
  resources: {cpu: 50m, memory: 128Mi}
stopGrace: 500ms
partition: {mode: exclusive, lease: %s}
%s
`, name, beaterImage, h.witness.Address, lease, place))
}

// running is where db runs now, once the site and the witness agree that it does.
func (h *harness) running() (*Host, Life) {
	h.t.Helper()
	var on *Host
	var life Life
	await(h.t, h.Rig, "db to run", 3*time.Minute, func(ctx context.Context) (err error) {
		defer func() {
			if err != nil { // there may be several sites, and two cores
				_ = Sleep(ctx, 200*time.Millisecond)
			}
		}()
		status, err := h.Status(ctx)
		if err == nil {
			err = unsettled(status, len(h.Hosts))
		}
		if err != nil {
			return err
		}
		p, err := h.db(ctx)
		if err != nil {
			return err
		}
		on = h.Host(p.GetNode())
		lives := h.witness.Lives()
		if len(lives) == 0 || time.Since(lives[len(lives)-1].Last) > time.Second {
			return errors.New("the witness hears nothing")
		}
		life = lives[len(lives)-1]
		return nil
	})
	return on, life
}

// db is its placement that runs.
func (h *harness) db(ctx context.Context) (*skerryv1.Placement, error) {
	c, err := h.Client()
	if err != nil {
		return nil, err
	}
	answer, err := c.Resources().List(ctx, connect.NewRequest(&skerryv1.ListRequest{Kind: "Placement"}))
	if err != nil {
		return nil, err
	}
	for _, resource := range answer.Msg.GetResources() {
		p := resource.GetPlacement()
		if p.GetWorkload() == "db" && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && p.GetStatus().GetPhase() == skerryv1.Phase_PHASE_RUNNING {
			return p, nil
		}
	}
	return nil, errors.New("no placement of db runs")
}

// replaced waits for a life that began after an event.
func (h *harness) replaced(since time.Time) time.Duration {
	h.t.Helper()
	var took time.Duration
	await(h.t, h.Rig, "another db", time.Minute, func(context.Context) error {
		lives := h.witness.Lives()
		if last := lives[len(lives)-1]; last.First.After(since) {
			took = last.First.Sub(since)
			return nil
		}
		return errors.New("none has begun")
	})
	if took > lease+3*time.Second {
		if events, err := h.Skerry(h.t.Context(), nil, "events"); err == nil {
			h.t.Logf("it took %s:\n%s", took, events)
			tellLogs(h.t, h.Rig)
		}
	}
	return took
}

func (h *harness) wantOnce() {
	h.t.Helper()
	if found := h.witness.Overlaps(); len(found) > 0 {
		h.t.Errorf("%s\n%s", strings.Join(found, "\n"), h.witness.Tell())
	}
}

func (h *harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-h.t.Context().Done():
		h.t.Fatal(h.t.Context().Err())
	}
}

// others are all hosts but one.
func (h *harness) others(not *Host) []*Host {
	return slices.DeleteFunc(slices.Clone(h.Hosts), func(other *Host) bool { return other == not })
}

// guards are the processes of skerry guard on a host.
func (h *harness) guards(on *Host) []int {
	h.t.Helper()
	pids, err := on.Processes(h.t.Context(), "skerry", "guard")
	h.must(err)
	return pids
}

func (h *harness) signalGuard(on *Host, signal syscall.Signal) {
	h.t.Helper()
	pids := h.guards(on) // one that was begun beside it ends at once
	if len(pids) == 0 {
		h.t.Fatalf("no guard runs on %s", on.Name)
	}
	h.must(on.Signal(h.t.Context(), signal, pids...))
}

// scenario is a test of its own, after which it runs, and ran once.
func (h *harness) scenario(name string, f func(t *testing.T)) {
	h.t.Run(name, func(t *testing.T) {
		outer := h.t
		h.t = t
		defer func() { h.t = outer }()
		f(t)
		h.running()
		h.wantOnce()
	})
}

func (h *harness) undisturbed(t *testing.T, before Life) {
	t.Helper()
	if _, after := h.running(); after.Name != before.Name {
		t.Errorf("it was another process before")
	}
}

// TestWhatIsExclusiveRunsOnce does to the node of an exclusive placement, and to
// its coordinator, what its promise is about. A witness outside sees every life.
func TestWhatIsExclusiveRunsOnce(t *testing.T) {
	h := newHarness(t)
	scenario, undisturbed := h.scenario, h.undisturbed
	scenario("its agent is restarted", func(t *testing.T) {
		on, before := h.running()
		h.must(on.StopAgent())
		h.must(on.StartAgent())
		h.pause(2 * lease)
		undisturbed(t, before)
		on, _ = h.running()
		h.must(on.KillAgent())
		h.must(on.StartAgent())
		h.pause(2 * lease)
		undisturbed(t, before)
	})
	scenario("its guard is killed", func(t *testing.T) {
		on, before := h.running()
		h.signalGuard(on, syscall.SIGKILL)
		h.pause(2 * lease)
		undisturbed(t, before)
	})
	scenario("its guard is paused", func(t *testing.T) {
		on, before := h.running()
		h.signalGuard(on, syscall.SIGSTOP)
		paused := time.Now()
		await(t, h.Rig, "its end", time.Minute, func(context.Context) error {
			if lives := h.witness.Lives(); lives[len(lives)-1].Name == before.Name && time.Since(lives[len(lives)-1].Last) < 500*time.Millisecond {
				return errors.New("it lives")
			}
			return nil
		})
		// The agent ends it by the runtime, which takes its time on a busy machine:
		// what holds to the moment is the guard's to promise.
		if lives := h.witness.Lives(); lives[len(lives)-1].Last.Sub(paused) > lease+2*time.Second {
			t.Errorf("it lived for %s without a guard", lives[len(lives)-1].Last.Sub(paused))
		}
		h.signalGuard(on, syscall.SIGCONT)
	})
	scenario("its node is cut off", func(t *testing.T) {
		on, _ := h.running()
		h.must(h.Cut(t.Context(), []*Host{on}, h.others(on)))
		took := h.replaced(time.Now())
		t.Logf("replaced after %s", took)
		h.must(h.Heal(t.Context()))
	})
	scenario("its agent is killed", func(t *testing.T) {
		on, _ := h.running()
		h.must(on.KillAgent())
		t.Logf("replaced after %s", h.replaced(time.Now()))
		h.must(on.StartAgent())
	})
	scenario("its agent is stopped for longer than its lease", func(t *testing.T) {
		on, _ := h.running()
		h.must(on.PauseAgent())
		t.Logf("replaced after %s", h.replaced(time.Now()))
		h.pause(lease)
		h.must(on.ResumeAgent())
	})
	scenario("its machine loses power", func(t *testing.T) {
		on, _ := h.running()
		h.must(on.PowerOff())
		t.Logf("replaced after %s", h.replaced(time.Now()))
		h.must(on.Boot(t.Context()))
		h.must(on.StartAgent())
	})
	scenario("the coordinator is stopped and wakes as a deposed one", func(t *testing.T) {
		coordinator, _, err := h.Coordinator(t.Context())
		h.must(err)
		h.must(coordinator.PauseAgent())
		h.pause(3 * lease)
		h.must(coordinator.ResumeAgent())
	})
	scenario("two coordinators follow each other quickly while its node is cut off", func(t *testing.T) {
		on, _ := h.running()
		h.must(h.Cut(t.Context(), []*Host{on}, h.others(on)))
		since := time.Now()
		for _, other := range h.others(on) {
			h.must(other.StopAgent())
			h.must(other.StartAgent())
			h.pause(time.Second)
		}
		t.Logf("replaced after %s", h.replaced(since))
		h.must(h.Heal(t.Context()))
	})
	t.Logf("the lives of db:\n%s", h.witness.Tell())
}

// maxFollow is how long after an election the last agent may take to follow, here where
// many hosts share two processors.
const maxFollow = 2 * time.Second

// TestTheLossOfTheCoordinatorEndsNoLease: what is exclusive on nodes that nothing has
// happened to keeps its process when another coordinator is elected.
func TestTheLossOfTheCoordinatorEndsNoLease(t *testing.T) {
	h := beating(t, 4) // one of them is no voter
	for _, host := range h.Hosts {
		h.apply("db-of-"+host.Name, fmt.Sprintf("place: {require: [{label: name, in: [%s]}]}", host.Name))
	}
	rounds := 1
	if os.Getenv("SKERRY_CHAOS") == "long" {
		rounds = 5
	}
	for range rounds {
		h.loseCoordinator("its agent is stopped", (*Host).PauseAgent, (*Host).ResumeAgent)
		h.loseCoordinator("its host is cut off", func(lost *Host) error {
			return h.Cut(t.Context(), []*Host{lost}, h.others(lost))
		}, func(*Host) error { return h.Heal(t.Context()) })
		h.loseCoordinator("its disk hangs", func(lost *Host) error {
			t.Cleanup(func() { h.must(lost.Disk("ok")) }) // nothing ends on a disk that hangs
			return lost.Disk("slow 1h")
		}, func(found *Host) error { return found.Disk("ok") })
	}
}

// loseCoordinator for longer than a lease, and looks what that did to the others.
func (h *harness) loseCoordinator(name string, lose, find func(*Host) error) {
	h.t.Helper()
	var coordinator *Host
	before := map[*Host]map[string]string{}
	await(h.t, h.Rig, "everything to run", 3*time.Minute, func(ctx context.Context) (err error) {
		if err = h.Settled(ctx); err != nil {
			return err
		}
		for _, host := range h.Hosts {
			if before[host], err = host.Containers(); err == nil && len(before[host]) != 1 {
				err = fmt.Errorf("on %s runs %v", host.Name, before[host])
			}
			if err != nil {
				return err
			}
		}
		coordinator, _, err = h.Coordinator(ctx)
		return err
	})
	terms := map[*Host]uint64{}
	for _, host := range h.others(coordinator) {
		terms[host], _ = h.ordered(host)
	}
	lost := time.Now()
	h.must(lose(coordinator))
	followed := map[*Host]time.Time{}
	await(h.t, h.Rig, "all others to follow", time.Minute, func(context.Context) error {
		for host, before := range terms {
			if term, at := h.ordered(host); term > before && followed[host].IsZero() {
				followed[host] = at
			}
		}
		if len(followed) < len(terms) {
			return fmt.Errorf("%d of %d have orders of another one", len(followed), len(terms))
		}
		return nil
	})
	h.pause(time.Until(lost.Add(lease + time.Second)))
	elected := h.elected(lost)
	for host, at := range followed {
		h.t.Logf("%s: elected after %s, %s follows %s later", name, elected.Sub(lost), host.Name, at.Sub(elected))
		if at.Sub(elected) > maxFollow {
			h.t.Errorf("%s: %s follows the new coordinator only %s after its election", name, host.Name, at.Sub(elected))
		}
		after, err := host.Containers()
		h.must(err)
		if !maps.Equal(before[host], after) {
			h.t.Errorf("%s: on %s, which is healthy, ran %v, and runs %v", name, host.Name, before[host], after)
		}
	}
	h.must(find(coordinator))
}

// ordered is the term of the orders that the agent of a host has kept, and when it has.
func (h *harness) ordered(host *Host) (term uint64, at time.Time) {
	h.t.Helper()
	kept, err := ledger.Open(env.NewSystem().FS, host.StateDir())
	h.must(err)
	info, err := os.Stat(filepath.Join(host.StateDir(), "ledger", "assignments.pb"))
	h.must(err)
	return kept.Current().GetOrder().GetTerm(), info.ModTime()
}

// elected is when an agent last wrote that it coordinates, after a moment.
func (h *harness) elected(after time.Time) time.Time {
	h.t.Helper()
	var last time.Time
	for _, host := range h.Hosts {
		text, err := os.ReadFile(host.AgentLog())
		h.must(err)
		for line := range strings.Lines(string(text)) {
			stamp, rest, _ := strings.Cut(line, " ")
			at, err := time.Parse(time.RFC3339Nano, strings.TrimPrefix(stamp, "time="))
			if err == nil && strings.Contains(rest, "this node is the coordinator\"") && at.After(after) && at.After(last) {
				last = at
			}
		}
	}
	if last.IsZero() {
		h.t.Fatal("no agent says that it coordinates")
	}
	return last
}
