//go:build integration

package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBothSidesOfACutThatWereRecoveredSaySo: each began site epoch 2, so that neither
// is behind the other. One of them is chosen, and the machine of the other joins it
// as docs/operations.md says.
func TestBothSidesOfACutThatWereRecoveredSaySo(t *testing.T) {
	r := newSite(t, 3, 0)
	chosen, third, lost := r.Hosts[0], r.Hosts[1], r.Hosts[2]
	loadImage(t, r, "web.tar", webImage)
	apply(t, r, onNode("db", lost.Name, "partition: {mode: stay}\n"))
	awaitHealthy(t, r, "db", 1)
	if err := errors.Join(third.PowerOff(), r.Cut(t.Context(), []*Host{chosen}, []*Host{lost})); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*Host{chosen, lost} {
		if err := h.StopAgent(); err != nil {
			t.Fatal(err)
		}
		if out, err := h.Skerry(t.Context(), "site", "recover", "--yes", "--config", h.Config()); err != nil {
			t.Fatal(out, err)
		}
		if err := h.StartAgent(); err != nil {
			t.Fatal(err)
		}
		awaitReport(t, r, h, "(recover)")
	}
	if err := r.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*Host{chosen, lost} {
		awaitForked(t, r, h, 10*time.Second)
	}
	if err := errors.Join(third.Boot(t.Context()), third.StartAgent()); err != nil {
		t.Fatal(err)
	}
	awaitForked(t, r, third, patience)

	kept := filepath.Join(r.Dir, "forked.audit")
	skerry(t, r, nil, "audit", "export", kept, "--address", lost.API())
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	takeIn(t, r, chosen, lost)
	if strings.Contains(skerry(t, r, nil, "site", "report", "--address", chosen.API()), third.Name) {
		takeIn(t, r, chosen, third) // it learned of the other side first
	}
	for _, h := range []*Host{chosen, third} {
		if err := errors.Join(h.StopAgent(), h.StartAgent()); err != nil {
			t.Fatal(err)
		}
	}
	await(t, r, "one site again", patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "get", "nodes", "--address", chosen.API())
		if err == nil && (strings.Count(out, " ready ") != 3 || strings.Contains(out, "Forked")) {
			err = fmt.Errorf("the nodes are\n%s", out)
		}
		return err
	})
	awaitHealthy(t, r, "db", 1)
}

// takeIn a machine of the other side, by the commands of docs/operations.md.
func takeIn(t *testing.T, r *Rig, chosen, h *Host) {
	t.Helper()
	if err := errors.Join(h.StopAgent(), os.Rename(h.StateDir(), h.StateDir()+"-forked"), h.PowerOff(), h.Boot(t.Context()), h.StartAgent()); err != nil {
		t.Fatal(err)
	}
	skerry(t, r, nil, "node", "evict", h.Name, "--off", "--yes", "--address", chosen.API())
	token := strings.TrimSpace(skerry(t, r, nil, "token", "create", "--role", "node", "--quiet", "--address", chosen.API()))
	if out, err := h.Skerry(t.Context(), "join", token, chosen.API(), "--config", h.Config()); err != nil {
		t.Fatal(out, err)
	}
}

// awaitForked waits until a node says of itself that the site was recovered twice.
func awaitForked(t *testing.T, r *Rig, h *Host, limit time.Duration) {
	t.Helper()
	await(t, r, "Forked on "+h.Name, limit, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "status", "--address", h.API())
		for line := range strings.Lines(out) {
			if strings.Contains(line, h.Name) && strings.Contains(line, "Forked") {
				return nil
			}
		}
		return errors.Join(err, fmt.Errorf("it says\n%s", out))
	})
}
