//go:build integration

package hosts

import (
	"context"
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
}
