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

func newMoving(t *testing.T, partition string) *moving {
	t.Helper()
	h := newMachineSite(t)
	vm, err := h.LoadMachine(t.Context(), Machine{Script: "while :; do sleep 1000; done", Memory: "160Mi"})
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
	m := newMoving(t, "{mode: stay}")
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

	m.must(m.Cut(t.Context(), []*Host{to}, []*Host{other}))
	if text := refused(t, m.Rig, nil, "vm", "migrate", "db", "--to", other.Name); !strings.Contains(text, "it stays on "+to.Name) {
		t.Errorf("moving it to a node out of reach says %s", text)
	}
	m.must(m.Heal(t.Context()))
	m.runsOn(to)

	skerry(t, m.Rig, nil, "drain", to.Name, "--reason", "its fan")
	if now := m.where(); now == to {
		t.Errorf("after the drain it is on %s", now.Name)
	}
	m.runsOn(m.where())
}

// TestAnExclusiveMachineMovesUnderItsLease: both nodes hold the lease while it
// moves, and what is cut off in the middle of it runs once.
func TestAnExclusiveMachineMovesUnderItsLease(t *testing.T) {
	m := newMoving(t, "{mode: exclusive, lease: 5s}")
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
