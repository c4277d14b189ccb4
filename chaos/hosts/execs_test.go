//go:build integration

package hosts

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// A node that holds no replica keeps the record itself.
func TestACommandOnAPlainNodeThatWasCutOffIsInTheAuditLogAfterwards(t *testing.T) {
	r := newSite(t, 4, 4)
	placed := awaitHealthy(t, r, "web", 4)
	status, err := r.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var votes []string
	for _, node := range status.GetNodes() {
		if node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER {
			votes = append(votes, node.GetName())
		}
	}
	at := slices.IndexFunc(r.Hosts, func(h *Host) bool {
		return !slices.Contains(votes, h.Name) && slices.ContainsFunc(placed, func(p *skerryv1.Placement) bool { return p.GetNode() == h.Name })
	})
	if at < 0 {
		t.Fatalf("voters are %v, placements on %v", votes, placed)
	}
	cut := r.Hosts[at]
	ran := placed[slices.IndexFunc(placed, func(p *skerryv1.Placement) bool { return p.GetNode() == cut.Name })].GetName()
	if err := r.Cut(t.Context(), []*Host{cut}, slices.Delete(slices.Clone(r.Hosts), at, at+1)); err != nil {
		t.Fatal(err)
	}
	answersAlone(t, r, cut)
	if out, err := cut.Command(t.Context(), nil, r.Binary, "exec", ran, "--address", cut.API(), "--", "echo", "alone"); err != nil || !strings.Contains(out, "alone") {
		t.Fatalf("a command on the node that was cut off: %q %v", out, err)
	}
	// So is who read logs there, and across a restart of the agent.
	if out, err := cut.Command(t.Context(), nil, r.Binary, "logs", ran, "--address", cut.API()); err != nil {
		t.Fatalf("logs of the node that was cut off: %q %v", out, err)
	}
	await(t, r, "the count to be on the disk", patience, func(context.Context) error {
		_, err := os.Stat(cut.StateDir() + "/reads.counts")
		return err
	})
	if err := cut.KillAgent(); err != nil {
		t.Fatal(err)
	}
	if err := cut.StartAgent(); err != nil {
		t.Fatal(err)
	}
	if err := r.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, r, "the reading of logs to be in the audit log", patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "audit", "list", "--verb", "logs", "-o", "json")
		if err == nil && (!strings.Contains(out, "Placement/default/"+ran) || !strings.Contains(out, cut.Name)) {
			err = fmt.Errorf("it lists %s", out)
		}
		return err
	})
	await(t, r, "the command to be in the audit log", patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "audit", "list", "--verb", "exec")
		if err == nil && (!strings.Contains(out, "Placement/default/"+ran) || !strings.Contains(out, "echo alone")) {
			err = fmt.Errorf("it lists %s", out)
		}
		return err
	})
}
