//go:build integration

package hosts

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const auditTime = patience

// TestTheAuditLogOutlivesItsCoordinator: what a coordinator signed is in every
// later export, whoever leads then, and what a voter lost it gets back.
func TestTheAuditLogOutlivesItsCoordinator(t *testing.T) {
	r := newSite(t, 3, 1)
	dir := t.TempDir()
	kept := filepath.Join(dir, "before.checkpoint")
	await(t, r, "checkpoint", auditTime, func(ctx context.Context) error {
		_, err := r.Skerry(ctx, nil, "audit", "checkpoint", kept)
		return err
	})
	victim, other, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range r.Hosts {
		await(t, r, "leaves on "+h.Name, auditTime, func(ctx context.Context) error {
			_, err := r.Skerry(ctx, nil, "audit", "show", "0", "--address", h.API())
			return err
		})
	}
	if err := victim.KillAgent(); err != nil {
		t.Fatal(err)
	}
	await(t, r, "write after the coordinator died", auditTime, func(ctx context.Context) error {
		_, err := r.Skerry(ctx, nil, "token", "create", "--role", "node", "--address", other.API())
		return err
	})
	id := siteID(t, r)
	whole := filepath.Join(dir, "whole.audit")
	verifyLater(t, r, whole, id, "--checkpoint", kept)
	if out, err := r.Skerry(t.Context(), nil, "audit", "list", "--verb", "create-token", "-o", "json"); err != nil || !strings.Contains(out, "/operator/") {
		t.Errorf("the list of tokens that were made: %v\n%s", err, out)
	}
	if out, err := r.Skerry(t.Context(), nil, "audit", "show", "0"); err != nil || !strings.Contains(out, "in the tree that") {
		t.Errorf("the first entry: %v\n%s", err, out)
	}
	forge(t, r, whole, id)

	// The victim comes back without its leaves, and gets them from the others.
	leaves := filepath.Join(victim.StateDir(), "audit")
	if err := os.RemoveAll(leaves); err != nil {
		t.Fatal(err)
	}
	awaitLeaves(t, r, victim)

	// So it does when they cannot be read. Its replica of the log is in order, and stays.
	settled(t, r)
	before := replicaOf(t, r, victim)
	if err := victim.StopAgent(); err != nil {
		t.Fatal(err)
	}
	manifests, err := filepath.Glob(filepath.Join(leaves, "MANIFEST-*"))
	if err != nil || len(manifests) == 0 {
		t.Fatalf("%v %v", manifests, err)
	}
	for _, name := range manifests {
		if err := os.WriteFile(name, []byte("something else"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	awaitLeaves(t, r, victim)
	settled(t, r)
	if after := replicaOf(t, r, victim); after != before {
		t.Errorf("replica %d was given up for %d", before, after)
	}
	await(t, r, "a condition that names what was set aside", patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "status")
		if err == nil && (!strings.Contains(out, "AuditDamaged") || !strings.Contains(out, leaves+"-damaged-1")) {
			err = fmt.Errorf("it says\n%s", out)
		}
		return err
	})

	archive := filepath.Join(dir, "archive.audit")
	if out, err := r.Skerry(t.Context(), nil, "audit", "archive", archive); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	rest := filepath.Join(dir, "rest.audit")
	verifyLater(t, r, rest, id)
	if out, err := offline(t, r, "audit", "verify", archive, rest, "--site-id", id, "--checkpoint", kept); err != nil {
		t.Errorf("the archive and what follows: %v\n%s", err, out)
	}
	await(t, r, "deletion of what was archived", auditTime, func(ctx context.Context) error {
		if out, err := r.Skerry(ctx, nil, "audit", "show", "0"); err == nil || !strings.Contains(err.Error()+out, "archived") {
			return fmt.Errorf("the first entry is still there: %v", err)
		}
		return nil
	})
}

func siteID(t *testing.T, r *Rig) string {
	t.Helper()
	out, err := r.Skerry(t.Context(), nil, "status", "-o", "json")
	var status struct{ SiteID string }
	if err == nil {
		err = json.Unmarshal([]byte(out), &status)
	}
	if err != nil || status.SiteID == "" {
		t.Fatalf("no site ID: %v", err)
	}
	return status.SiteID
}

// verifyLater exports and verifies as an auditor would: without credentials.
func verifyLater(t *testing.T, r *Rig, file, id string, flags ...string) {
	t.Helper()
	await(t, r, "export that is signed to its end", auditTime, func(ctx context.Context) error {
		if err := os.RemoveAll(file); err != nil {
			return err
		}
		_, err := r.Skerry(ctx, nil, "audit", "export", file)
		return err
	})
	if out, err := offline(t, r, append([]string{"audit", "verify", file, "--site-id", id}, flags...)...); err != nil {
		t.Fatalf("the export is not believed: %v\n%s", err, out)
	}
}

// awaitLeaves starts an agent and waits until its node gives out the first leaf.
func awaitLeaves(t *testing.T, r *Rig, h *Host) {
	t.Helper()
	if err := h.StartAgent(); err != nil {
		t.Fatal(err)
	}
	await(t, r, "leaves of the voter that lost them", auditTime, func(ctx context.Context) error {
		_, err := r.Skerry(ctx, nil, "audit", "show", "0", "--address", h.API())
		return err
	})
}

// replicaOf is the raft ID of a node's replica.
func replicaOf(t *testing.T, r *Rig, h *Host) uint64 {
	t.Helper()
	status, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range status.GetNodes() {
		if node.GetName() == h.Name {
			return node.GetRaftId()
		}
	}
	t.Fatalf("the site does not know %s", h.Name)
	return 0
}

// forge changes one byte and expects that it is found.
func forge(t *testing.T, r *Rig, file, id string) {
	t.Helper()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	forged := slices.Clone(whole)
	forged[len(forged)*2/3] ^= 1
	name := file + ".forged"
	if err := os.WriteFile(name, forged, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := offline(t, r, "audit", "verify", name, "--site-id", id); err == nil {
		t.Errorf("a changed export was believed:\n%s", out)
	}
}

// offline runs skerry on a machine that knows no site.
func offline(t *testing.T, r *Rig, args ...string) (string, error) {
	t.Helper()
	return output(r.as(t.Context(), args...), nil, t.TempDir())
}
