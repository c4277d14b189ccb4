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
)

// TestTwoNodesAndAWitness bear the loss of either node. The witness votes, runs
// nothing, has neither CA nor secrets, and does not stay coordinator.
func TestTwoNodesAndAWitness(t *testing.T) {
	r := newSite(t, 2, 0)
	witness, err := r.Add(t.Context(), "--witness")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
	loadImage(t, r, "web.tar", webImage)
	apply(t, r, web(3))
	for _, p := range awaitHealthy(t, r, "web", 3) {
		if p.GetNode() == witness.Name {
			t.Errorf("%s is on the witness", p.GetName())
		}
	}
	if out := skerry(t, r, nil, "get", "nodes"); strings.Count(out, "voter (witness)") != 1 {
		t.Errorf("the nodes are shown as\n%s", out)
	}
	if _, err := os.Stat(filepath.Join(witness.StateDir(), "identity", "authority-key.pem")); !os.IsNotExist(err) {
		t.Errorf("the witness has a CA: %v", err)
	}
	if out := skerry(t, r, nil, "secret", "keys"); strings.Contains(out, witness.Name) || !strings.Contains(out, "node-1") {
		t.Errorf("who can open the secrets:\n%s", out)
	}
	wantNoNeedOfContainerd(t, r, witness)
	lost, _, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := lost.PowerOff(); err != nil {
		t.Fatal(err)
	}
	await(t, r, "a coordinator that is no witness", patience, func(ctx context.Context) error {
		status, err := r.Status(ctx)
		if err == nil && (status.GetCoordinator() == "" || status.GetCoordinator() == witness.Name || status.GetCoordinator() == lost.Name) {
			err = fmt.Errorf("the coordinator is %q", status.GetCoordinator())
		}
		return err
	})
	await(t, r, "a change", patience, func(ctx context.Context) error {
		_, err := r.Skerry(ctx, nil, "scale", "web", "--replicas", "1")
		return err
	})
	awaitHealthy(t, r, "web", 1)
	wantNoRecoveryByTheWitness(t, r, witness)
}

// wantNoRecoveryByTheWitness: it has the log, and no CA to begin a site epoch with. It says
// so before it asks anybody or writes anything.
func wantNoRecoveryByTheWitness(t *testing.T, r *Rig, witness *Host) {
	t.Helper()
	for _, h := range r.Hosts {
		if h != witness {
			if err := h.PowerOff(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := witness.StopAgent(); err != nil {
		t.Fatal(err)
	}
	out, err := witness.Skerry(t.Context(), "site", "recover", "--yes", "--config", witness.Config())
	if err == nil || !strings.Contains(fmt.Sprint(out, err), "it is a witness") || strings.Contains(out, "begins on") {
		t.Errorf("the witness recovered the site, or said not why it does not: %s %v", out, err)
	}
}

// wantNoNeedOfContainerd: when another node tells that its containerd is down, the
// witness, whose went first, has told nothing.
func wantNoNeedOfContainerd(t *testing.T, r *Rig, witness *Host) {
	t.Helper()
	if err := errors.Join(witness.StopContainerd(), witness.StopAgent(), witness.StartAgent()); err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	if err := r.Hosts[0].StopContainerd(); err != nil {
		t.Fatal(err)
	}
	problems := func(ctx context.Context) (string, error) {
		status, err := r.Status(ctx)
		return strings.Join(status.GetProblems(), "\n"), err
	}
	await(t, r, "the condition ContainerdDown", patience, func(ctx context.Context) error {
		told, err := problems(ctx)
		if err == nil && !strings.Contains(told, "ContainerdDown") {
			err = fmt.Errorf("problems: %q", told)
		}
		return err
	})
	if told, err := problems(t.Context()); err != nil || strings.Contains(told, witness.Name) {
		t.Errorf("the witness complains: %v\n%s", err, told)
	}
	if err := r.Hosts[0].StartContainerd(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, r, "the condition to end", patience, func(ctx context.Context) error {
		told, err := problems(ctx)
		if err == nil && told != "" {
			err = errors.New(told)
		}
		return err
	})
}
