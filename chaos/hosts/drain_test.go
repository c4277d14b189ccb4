//go:build integration

package hosts

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// withLeast is a workload of the web server with a minAvailable, which can be
// updated all the same.
func withLeast(manifest, least string) string {
	return manifest + "minAvailable: " + least + "\nupdate: {maxSurge: 1}\n"
}

// onNode is one more web server, on one node.
func onNode(name, node, more string) string {
	text := strings.Replace(web(1), "name: web", "name: "+name, 1)
	return text + "place: {require: [{label: name, in: [" + node + "]}]}\n" + more
}

func TestADrainMovesAllAndNothingIsMissingMeanwhile(t *testing.T) {
	r := newSite(t, 3, 3)
	apply(t, r, withLeast(web(3), "3"))
	victim, other, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if out := skerry(t, r, nil, "drain", victim.Name, "--dry-run"); !strings.Contains(out, "web") {
		t.Errorf("what a drain would move:\n%s", out)
	}
	if got := on(awaitHealthy(t, r, "web", 3), victim); got != 1 {
		t.Fatalf("%d on %s, which was not drained yet", got, victim.Name)
	}
	out := drainWatching(t, r, 3, "drain", victim.Name)
	for _, want := range []string{"gets nothing new", "waits until web-4 is healthy", "is gone, 0 left", "node " + victim.Name + " is drained"} {
		if !strings.Contains(out, want) {
			t.Errorf("the drain does not say %q:\n%s", want, out)
		}
	}
	if len(containerPIDs(t, victim)) != 0 {
		t.Errorf("on %s there run %v", victim.Name, containerPIDs(t, victim))
	}
	await(t, r, "another coordinator", patience, func(ctx context.Context) error {
		status, err := r.Status(ctx)
		if err == nil && status.GetCoordinator() == victim.Name {
			err = fmt.Errorf("%s still coordinates", victim.Name)
		}
		return err
	})
	skerry(t, r, nil, "cordon", other.Name, "--reason", "the fan is loud")
	apply(t, r, withLeast(web(6), "3"))
	for _, p := range awaitHealthy(t, r, "web", 6) {
		if p.GetNode() == victim.Name || p.GetNode() == other.Name && p.GetName() > "web-4" {
			t.Errorf("%s got %s", p.GetNode(), p.GetName())
		}
	}
	skerry(t, r, nil, "uncordon", other.Name)
	skerry(t, r, nil, "uncordon", victim.Name)
	if out := skerry(t, r, nil, "get", "nodes"); strings.Contains(out, "drained") || strings.Contains(out, "cordoned") {
		t.Errorf("after all were put into service again:\n%s", out)
	}
	apply(t, r, withLeast(web(8), "3"))
	if got := on(awaitHealthy(t, r, "web", 8), victim); got == 0 {
		t.Errorf("%s gets nothing new", victim.Name)
	}
}

func TestADrainThatCannotEndSaysSoAtOnce(t *testing.T) {
	r := newSite(t, 3, 1)
	victim := r.Hosts[1]
	apply(t, r, onNode("bound", victim.Name, "minAvailable: 1\nupdate: {maxSurge: 1}\n"))
	awaitHealthy(t, r, "bound", 1)
	begun := time.Now()
	text := refused(t, r, nil, "drain", victim.Name, "--deadline", "10m")
	if took := time.Since(begun); took > patience {
		t.Errorf("it said so after %s", took)
	}
	for _, want := range []string{"bound-1", "cannot move", "skerry uncordon " + victim.Name} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q: %s", want, text)
		}
	}
	skerry(t, r, nil, "uncordon", victim.Name)
	awaitHealthy(t, r, "bound", 1)
	// Without time it is given up, and what is left runs on.
	if text := refused(t, r, nil, "drain", victim.Name, "--deadline", "1s"); !strings.Contains(text, "bound-1") {
		t.Error(text)
	}
	await(t, r, "the drain to be given up", patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "describe", "node", victim.Name)
		if err == nil && !strings.Contains(out, "it took too long: bound-1 is left") {
			err = fmt.Errorf("it is %s", out)
		}
		return err
	})
	if got := awaitHealthy(t, r, "bound", 1); got[0].GetName() != "bound-1" {
		t.Errorf("there runs %s", got[0].GetName())
	}
}

func TestAfterMaintenanceWhatStaysStartsOnItsNodeAgain(t *testing.T) {
	r := newSite(t, 3, 3)
	victim := r.Hosts[2]
	apply(t, r, onNode("db", victim.Name, "partition: {mode: stay}\n"))
	awaitHealthy(t, r, "db", 1)
	if out := skerry(t, r, nil, "node", "maintenance", victim.Name, "--reason", "new disk"); !strings.Contains(out, "db") || !strings.Contains(out, "is in maintenance: nothing runs on it") {
		t.Errorf("the way into maintenance:\n%s", out)
	}
	if len(containerPIDs(t, victim)) != 0 {
		t.Errorf("on %s there run %v", victim.Name, containerPIDs(t, victim))
	}
	awaitHealthyOff(t, r, "web", 3, victim)
	if err := victim.PowerOff(); err != nil {
		t.Fatal(err)
	}
	await(t, r, "the node to be lost without an alarm", patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "events")
		if err == nil && !strings.Contains(out, "NodeOff") {
			err = fmt.Errorf("the events are %s", out)
		}
		if strings.Contains(out, "NodeLost") {
			t.Errorf("an alarm:\n%s", out)
		}
		return err
	})
	if err := victim.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := victim.StartAgent(); err != nil {
		t.Fatal(err)
	}
	await(t, r, "the node to be back", patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "get", "node", victim.Name)
		if err == nil && !strings.Contains(out, "ready,maintenance") {
			err = fmt.Errorf("it is %s", out)
		}
		return err
	})
	if len(containerPIDs(t, victim)) != 0 {
		t.Errorf("before its return there run %v", containerPIDs(t, victim))
	}
	skerry(t, r, nil, "node", "return", victim.Name)
	if got := awaitHealthy(t, r, "db", 1); got[0].GetNode() != victim.Name || got[0].GetName() == "db-1" {
		t.Errorf("it is back as %s on %s", got[0].GetName(), got[0].GetNode())
	}
}

// on counts the placements on a host.
func on(placements []*skerryv1.Placement, h *Host) int {
	return len(slices.DeleteFunc(slices.Clone(placements), func(p *skerryv1.Placement) bool { return p.GetNode() != h.Name }))
}

// drainWatching runs a command that must succeed, and checks that meanwhile no
// fewer than so many of web are healthy. It returns what the command wrote.
func drainWatching(t *testing.T, r *Rig, least int, args ...string) string {
	t.Helper()
	path := filepath.Join(r.Dir, "drain.out")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), settleTime)
	defer cancel()
	command, err := r.As(ctx, r.Home(), file, args...)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	c := clientOf(t, r)
	for {
		if all, err := placements(ctx, c); err == nil {
			running := slices.DeleteFunc(all, func(p *skerryv1.Placement) bool { return p.GetWorkload() != "web" || !healthy(p) })
			if len(running) < least {
				t.Errorf("%d of web are healthy: %v", len(running), running)
			}
		}
		select {
		case err := <-ended:
			text, readErr := os.ReadFile(path)
			if err != nil || readErr != nil {
				t.Fatalf("skerry %s: %v %v\n%s", strings.Join(args, " "), err, readErr, text)
			}
			return string(text)
		default:
		}
	}
}
