//go:build integration

package hosts

import (
	"context"
	"os"
	"strings"
	"testing"

	"skerry.dev/chaos/check"
)

// TestASiteWhoseOperatorsHaveLostEverythingLetsRootIn throws all credentials
// away.
func TestASiteWhoseOperatorsHaveLostEverythingLetsRootIn(t *testing.T) {
	r := newSite(t, 4, 0)
	_, other, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(r.Home()); err != nil {
		t.Fatal(err)
	}
	home := r.Home() + "-rescue"
	create := func(h *Host, name string) (string, error) {
		return h.Command(t.Context(), nil, "env", "SKERRY_HOME="+home, r.Binary, "operator", "create", "--local", name, "--config", h.Config())
	}
	// A voter that does not coordinate passes it on.
	await(t, r, "an operator made by root", patience, func(context.Context) error {
		out, err := create(other, "rescue") // it may not know yet that it votes
		if err == nil && !strings.Contains(out, "operator rescue of site "+Site) {
			t.Fatalf("it gave %s", out)
		}
		return err
	})
	as := func(args ...string) string {
		t.Helper()
		out, err := output(r.as(t.Context(), args...), nil, home)
		if err != nil {
			t.Fatalf("skerry %s: %v", strings.Join(args, " "), err)
		}
		return out
	}
	said := "root on " + other.Name + " has made operator rescue"
	if got := as("status"); !strings.Contains(got, said) {
		t.Errorf("the status says nothing of it:\n%s", got)
	}
	if got := as("events"); !strings.Contains(got, "OperatorMadeLocally") {
		t.Errorf("no event:\n%s", got)
	}
	as("operator", "revoke", "admin", "--yes")
	if got := as("audit", "list"); !strings.Contains(got, "create-operator-locally") || !strings.Contains(got, "node/"+other.Name) {
		t.Errorf("the audit log does not say it:\n%s", got)
	}
	if err := os.RemoveAll(home); err != nil {
		t.Fatal(err)
	}
	voters := 0
	for _, h := range r.Hosts {
		out, err := create(h, "also-"+h.Name)
		if err == nil {
			voters++
		} else if !strings.Contains(err.Error()+out, "it is no voter of the site") {
			t.Errorf("%s: %s %v", h.Name, out, err)
		}
		if err := os.RemoveAll(home); err != nil {
			t.Fatal(err)
		}
	}
	if want := check.VoterTarget(len(r.Hosts)); voters != want {
		t.Errorf("root on %d nodes could, of which %d vote", voters, want)
	}
	for _, h := range r.Hosts {
		if h == other {
			continue
		}
		if err := h.PowerOff(); err != nil {
			t.Fatal(err)
		}
	}
	await(t, r, "the refusal without a quorum", patience, func(context.Context) error {
		out, err := create(other, "alone")
		if err == nil {
			t.Fatalf("without a quorum: %s", out)
		}
		if !strings.Contains(err.Error()+out, "quorum") {
			return err
		}
		return nil
	})
}
