//go:build integration

package hosts

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
)

const bootID = "/proc/sys/kernel/random/boot_id"

// moving is a site with one machine that may move, and what it booted as.
type moving struct {
	*harness
	booted string
}

func newMoving(t *testing.T, partition, volume string) *moving {
	t.Helper()
	h := newMachineSite(t)
	vm, err := h.LoadMachine(t.Context(), Machine{Script: "while :; do sleep 1000; done", Memory: "160Mi", Volume: volume})
	h.must(err)
	apply(t, h.Rig, fmt.Sprintf("kind: Workload\nname: db\nvm: %s\nstopGrace: 500ms\npartition: %s\n", vm, partition))
	m := &moving{harness: h}
	m.booted = m.boot()
	return m
}

// boot is what the guest booted as; its agent tells it.
func (m *moving) boot() (id string) {
	m.t.Helper()
	await(m.t, m.Rig, "the guest's agent", 2*time.Minute, func(ctx context.Context) error {
		p, err := m.db(ctx)
		if err != nil {
			return err
		}
		id, err = m.Skerry(ctx, nil, "exec", p.GetName(), "--", "cat", bootID)
		return err
	})
	return id
}

// runsOn waits until it runs on a host and nowhere else, as it was booted.
func (m *moving) runsOn(want *Host) {
	m.t.Helper()
	await(m.t, m.Rig, "it to run on "+want.Name+" alone", 2*time.Minute, func(ctx context.Context) error {
		p, err := m.db(ctx)
		if err != nil {
			return err
		}
		if p.GetNode() != want.Name || p.GetMigration().GetOther() != "" {
			return fmt.Errorf("it is on %s, %v", p.GetNode(), p.GetMigration())
		}
		for _, h := range m.Hosts {
			pids, err := h.Processes(ctx, QEMU)
			if err != nil {
				return err
			}
			if (len(pids) == 1) != (h == want) {
				return fmt.Errorf("on %s run %d QEMUs", h.Name, len(pids))
			}
		}
		return nil
	})
	if id := m.boot(); id != m.booted {
		m.t.Errorf("the guest booted again: %s, then %s", m.booted, id)
	}
}

func (m *moving) where() *Host {
	m.t.Helper()
	p, err := m.db(m.t.Context())
	m.must(err)
	return m.Host(p.GetNode())
}

// TestAMachineMovesWhileItRuns: on request, from a node that is drained, and not
// at all when the two nodes lose each other.
func TestAMachineMovesWhileItRuns(t *testing.T) {
	m := newMoving(t, "{mode: stay}", "data")
	m.writes("one")
	coordinator, _, err := m.Coordinator(t.Context())
	m.must(err)
	from := m.where()
	var to, other *Host // neither of which coordinates
	for _, h := range m.others(coordinator) {
		if to == nil && h != from {
			to = h
		} else {
			other = h
		}
	}
	if text := refused(t, m.Rig, nil, "vm", "migrate", "db", "--to", from.Name); !strings.Contains(text, "it is there already") {
		t.Errorf("moving it to where it is says %s", text)
	}
	out := skerry(t, m.Rig, nil, "vm", "migrate", "db", "--to", to.Name)
	if !strings.Contains(out, "runs on "+to.Name) {
		t.Errorf("it says %s", out)
	}
	m.runsOn(to)
	m.holdsData("one", to)
	m.writes("two")

	m.must(m.Cut(t.Context(), []*Host{to}, []*Host{other}))
	if text := refused(t, m.Rig, nil, "vm", "migrate", "db", "--to", other.Name); !strings.Contains(text, "it stays on "+to.Name) {
		t.Errorf("moving it to a node out of reach says %s", text)
	}
	m.must(m.Heal(t.Context()))
	m.runsOn(to)
	m.holdsData("two", to)

	if plan := skerry(t, m.Rig, nil, "drain", to.Name, "--dry-run"); !strings.Contains(plan, "while it runs") {
		t.Errorf("before the drain it says %s", plan)
	}
	skerry(t, m.Rig, nil, "drain", to.Name, "--reason", "its fan")
	if now := m.where(); now == to {
		t.Errorf("after the drain it is on %s", now.Name)
	}
	m.runsOn(m.where())
	m.holdsData("two", m.where())
}

// writes a word onto the volume, from inside the guest.
func (m *moving) writes(word string) {
	m.t.Helper()
	p, err := m.db(m.t.Context())
	m.must(err)
	skerry(m.t, m.Rig, nil, "exec", p.GetName(), "--", "sh", "-c", "echo "+word+" | dd of=/dev/vdb bs=512 seek=1 conv=fsync 2>/dev/null")
}

// holdsData: the guest reads the word, and the volume is on one node alone.
func (m *moving) holdsData(word string, want *Host) {
	m.t.Helper()
	p, err := m.db(m.t.Context())
	m.must(err)
	if got := skerry(m.t, m.Rig, nil, "exec", p.GetName(), "--", "sh", "-c", "dd if=/dev/vdb bs=512 skip=1 count=1 2>/dev/null | head -n 1"); got != word+"\n" {
		m.t.Errorf("the volume holds %q, not %q", got, word)
	}
	await(m.t, m.Rig, "the volume to be on "+want.Name+" alone", time.Minute, func(ctx context.Context) error {
		volumes, err := m.Skerry(ctx, nil, "get", "volumes")
		if err != nil || !strings.Contains(volumes, want.Name) {
			return fmt.Errorf("%s, %w", volumes, err)
		}
		for _, h := range m.Hosts {
			if h.HoldsVolume("data") != (h == want) {
				return fmt.Errorf("on %s is data of it: %v", h.Name, h != want)
			}
		}
		return nil
	})
}

// TestAnExclusiveMachineMovesUnderItsLease: both nodes hold the lease while it
// moves, and what is cut off in the middle of it runs once.
func TestAnExclusiveMachineMovesUnderItsLease(t *testing.T) {
	m := newMoving(t, "{mode: exclusive, lease: 5s}", "")
	for range 2 {
		from := m.where()
		skerry(t, m.Rig, nil, "vm", "migrate", "db")
		if m.where() == from {
			t.Errorf("it is still on %s", from.Name)
		}
		m.pause(2 * lease)
		m.runsOn(m.where())
	}
}
