//go:build integration

package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// cutTime is longer than memberlist remembers a dead node (30 s); with
// SKERRY_CHAOS=long it is ten minutes.
func cutTime() time.Duration {
	if os.Getenv("SKERRY_CHAOS") == "long" {
		return 10 * time.Minute
	}
	return 40 * time.Second
}

func TestGossipHealsAfterALongCut(t *testing.T) {
	r := newSite(t, 3, 0)
	_, cut, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rest := slices.DeleteFunc(slices.Clone(r.Hosts), func(h *Host) bool { return h == cut })
	if err := r.Cut(t.Context(), []*Host{cut}, rest); err != nil {
		t.Fatal(err)
	}
	select {
	case <-time.After(cutTime()):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	if err := r.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	// The log of each pool member tells that the other side came back, not only
	// that the sync stream did.
	await(t, r, "one pool", patience, func(context.Context) error {
		text, err := os.ReadFile(cut.AgentLog())
		if err != nil {
			return err
		}
		for _, h := range rest {
			if !poolHas(string(text), h.Name) {
				return fmt.Errorf("%s does not have %s in its pool", cut.Name, h.Name)
			}
		}
		return nil
	})
}

// poolHas reads a log: the last word about a member is that it joined.
func poolHas(log, member string) bool {
	last := ""
	for line := range strings.Lines(log) {
		if strings.Contains(line, "pool: ") && strings.Contains(line, "node="+member) {
			last = line
		}
	}
	return strings.Contains(last, "pool: member joined")
}

func TestAgentsEndLeavesContainersAlone(t *testing.T) {
	r := newSite(t, 1, 2)
	h := r.Hosts[0]
	before := containerPIDs(t, h)
	for name, stop := range map[string]func() error{"stopped": h.StopAgent, "killed": h.KillAgent} {
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if during := containerPIDs(t, h); !slices.Equal(before, during) {
			t.Fatalf("%s: containers were %v, are %v", name, before, during)
		}
		if err := h.StartAgent(); err != nil {
			t.Fatal(err)
		}
		settled(t, r)
		awaitHealthy(t, r, "web", 2)
		if after := containerPIDs(t, h); !slices.Equal(before, after) {
			t.Fatalf("%s and started: containers were %v, are %v", name, before, after)
		}
	}
}

func TestContainerdStopsAndComesBack(t *testing.T) {
	r := newSite(t, 1, 2)
	h := r.Hosts[0]
	if err := h.StopContainerd(); err != nil {
		t.Fatal(err)
	}
	await(t, r, "the condition ContainerdDown", patience, func(ctx context.Context) error {
		status, err := r.Status(ctx)
		if err != nil {
			return err
		}
		if problems := strings.Join(status.GetProblems(), "\n"); !strings.Contains(problems, "ContainerdDown") {
			return fmt.Errorf("problems: %q", problems)
		}
		return nil
	})
	if text := refused(t, r, nil, "exec", "web-1", "--", "true"); !strings.Contains(text, "containerd") {
		t.Errorf("exec without containerd says %s", text)
	}
	if err := h.StartContainerd(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, r, "the condition to end", patience, func(ctx context.Context) error {
		status, err := r.Status(ctx)
		if err == nil && len(status.GetProblems()) > 0 {
			err = errors.New(strings.Join(status.GetProblems(), "\n"))
		}
		return err
	})
	for _, p := range awaitHealthy(t, r, "web", 2) {
		if p.GetStatus().GetRestarts() != 0 {
			t.Errorf("%s was restarted %d times", p.GetName(), p.GetStatus().GetRestarts())
		}
	}
}

func TestOrderlyStopHandsOver(t *testing.T) {
	r := newSite(t, 3, 0)
	coordinator, other, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := coordinator.StopAgent(); err != nil {
		t.Fatal(err)
	}
	// It has handed over before it ended: the next write needs no election.
	begun := time.Now()
	if _, err := r.Skerry(t.Context(), strings.NewReader(web(0)), "apply", "-f", "-", "--address", other.API()); err != nil {
		t.Fatal(err)
	}
	t.Logf("the first write after an orderly stop took %s", time.Since(begun))
	if err := coordinator.StartAgent(); err != nil {
		t.Fatal(err)
	}
	settled(t, r)
}

func TestImageLoadedOnceRunsEverywhere(t *testing.T) {
	r := newSite(t, 3, 0)
	// Through a node that does not coordinate.
	_, other, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	loadImage(t, r, "web.tar", webImage)
	apply(t, r, web(3))
	on := map[string]bool{}
	for _, p := range awaitHealthy(t, r, "web", 3, other) {
		on[p.GetNode()] = true
	}
	if len(on) != 3 {
		t.Fatalf("the copies are on %v", on)
	}
}

func TestFullDiskIsToldAndPasses(t *testing.T) {
	r := newSite(t, 1, 1)
	h := r.Hosts[0]
	before := containerPIDs(t, h)
	if err := h.StopAgent(); err != nil {
		t.Fatal(err)
	}
	// The state moves to a disk of its own.
	script := `set -e
cp -a "$1" /run/state && mount -t tmpfs -o size=256m tmpfs "$1" && cp -a /run/state/. "$1"/`
	if _, err := h.Command(t.Context(), nil, "sh", "-c", script, "sh", h.StateDir()); err != nil {
		t.Fatal(err)
	}
	if err := h.StartAgent(); err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	await(t, r, "the ballast", patience, func(ctx context.Context) error {
		_, err := h.Command(ctx, nil, "test", "-s", h.StateDir()+"/ballast")
		return err
	})
	filler := h.StateDir() + "/filler"
	if _, err := h.Command(t.Context(), nil, "sh", "-c", `dd if=/dev/zero of="$1" bs=64k >/dev/null 2>&1 || true`, "sh", filler); err != nil {
		t.Fatal(err)
	}
	await(t, r, "a refusal that names the disk", patience, func(ctx context.Context) error {
		_, err := r.Skerry(ctx, strings.NewReader(web(1)), "apply", "-f", "-")
		if err == nil {
			return errors.New("the write was taken")
		}
		if !strings.Contains(err.Error(), "DiskFull") {
			return err
		}
		return nil
	})
	if out, err := r.Skerry(t.Context(), nil, "status"); err != nil || !strings.Contains(out, "DiskFull") {
		t.Errorf("status: %v\n%s", err, out)
	}
	if out, err := h.Command(t.Context(), nil, "sh", "-c", `test ! -e "$1"`, "sh", h.StateDir()+"/ballast"); err != nil {
		t.Errorf("the ballast is still on board: %v %s", err, out)
	}
	if after := containerPIDs(t, h); !slices.Equal(before, after) {
		t.Errorf("containers were %v, are %v", before, after)
	}
	if _, err := h.Command(t.Context(), nil, "rm", filler); err != nil {
		t.Fatal(err)
	}
	await(t, r, "a write after there is room", patience, func(ctx context.Context) error {
		_, err := r.Skerry(ctx, strings.NewReader(web(2)), "apply", "-f", "-")
		return err
	})
	awaitHealthy(t, r, "web", 2)
	if log, err := os.ReadFile(h.AgentLog()); err != nil || strings.Contains(string(log), "goroutine ") {
		t.Errorf("the agent panicked, or has no log: %v", err)
	}
}

func TestStateIsForRootAndContainersReadTheirOwn(t *testing.T) {
	r := newSite(t, 1, 0)
	h := r.Hosts[0]
	loadImage(t, r, "web.tar", webImage)
	apply(t, r, strings.Replace(web(1), "image:", "user: \"1000:1000\"\n  image:", 1))
	awaitHealthy(t, r, "web", 1)
	if out := skerry(t, r, nil, "exec", "web-1", "--", "sh", "-c", "id -u; cat /etc/hosts /etc/resolv.conf"); !strings.HasPrefix(out, "1000\n") || !strings.Contains(out, "web-1") {
		t.Errorf("a user in the container sees %q", out)
	}
	open, err := h.Command(t.Context(), nil, "find", h.StateDir(), "-type", "f", "-perm", "/077", "-not", "-path", "*/containers/*")
	if err != nil || open != "" {
		t.Errorf("%v; others may read %s", err, open)
	}
	if info, err := os.Stat(h.StateDir()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v %v", info.Mode(), err)
	}
}

func TestAgentThatComesBackSoonIsNoLoss(t *testing.T) {
	r := newSite(t, 3, 3)
	_, other, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := allPIDs(t, r)
	if err := other.KillAgent(); err != nil {
		t.Fatal(err)
	}
	// Longer than silence takes to be noticed, shorter than the patience with a
	// machine that is up.
	select {
	case <-time.After(3 * time.Second):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
	if err := other.StartAgent(); err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	if events := skerry(t, r, nil, "events"); strings.Contains(events, "NodeLost") || strings.Contains(events, "PlacementReplaced") {
		t.Errorf("an agent's restart was taken for a loss:\n%s", events)
	}
	if after := allPIDs(t, r); !slices.Equal(before, after) {
		t.Errorf("containers were %v, are %v", before, after)
	}
}
