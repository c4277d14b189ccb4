package scheduler

import (
	"strings"
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// TestANodeThatIsNotTrustedIsTheLastResort: it is taken when no other one fits,
// before anything else has to go.
func TestANodeThatIsNotTrustedIsTheLastResort(t *testing.T) {
	full := template("old", 1, asksFor("1700m", "900Mi"))
	important := func(w *skerryv1.Workload) { w.Priority = 10 }
	for _, test := range []struct {
		name    string
		in      Input
		want    string
		because string
	}{
		{"another fits, of a zone that has one already",
			pending(with(siteOf(machine("n1", "a", isDistrusted), machine("n2", "b")), template("web", 2), placement(template("web", 2), 1, "n2")), template("web", 2), 2),
			"n2", "n2 is the only one of 2 nodes that fits"},
		{"no other fits",
			pending(with(siteOf(machine("n1", "a", isDistrusted), machine("n2", "b")), full, placement(full, 1, "n2")), template("web", 1), 1),
			"n1", "n1 is the only one of 2 nodes that fits; it was lost several times within an hour, and no node that is trusted fits"},
		{"what has a lower priority could go elsewhere",
			pending(with(siteOf(machine("n1", "a", isDistrusted), machine("n2", "b")), full, placement(full, 1, "n2")), template("web", 1, important), 1),
			"n1", "n1 is the only one of 2 nodes that fits; it was lost several times within an hour, and no node that is trusted fits"},
		{"none is trusted",
			pending(siteOf(machine("n1", "a", isDistrusted), machine("n2", "b", isDistrusted, hasCPU(4000))), template("web", 1), 1),
			"n2", "n2 is the best of 2 that fit: spread zone=b: 0 of 0 placements, 0 on this node, 12.5 % taken with it; " +
				"it was lost several times within an hour, and no node that is trusted fits"},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan := Schedule(test.in)
			if len(plan.Assign) == 0 || plan.Assign[0].GetNode() != test.want {
				t.Fatalf("it goes to %v, want %s", plan.Assign, test.want)
			}
			if got := plan.Assign[0].GetDecision().GetSummary(); got != test.because {
				t.Errorf("because %q, want %q", got, test.because)
			}
			if len(plan.Evict) > 0 {
				t.Errorf("%v must go", plan.Evict)
			}
		})
	}
}

// TestANodeThatIsNotTrustedIsRefusedForWhatItLacks and not for the trust: more of
// that would not help.
func TestANodeThatIsNotTrustedIsRefusedForWhatItLacks(t *testing.T) {
	plan := Schedule(pending(siteOf(machine("n1", "a", isDistrusted)), template("web", 1, asksFor("3", "64Mi")), 1))
	if len(plan.Postpone) != 1 {
		t.Fatalf("%d postponements", len(plan.Postpone))
	}
	decision := plan.Postpone[0].GetDecision()
	if got := strings.Join(decision.GetVerdicts()[0].GetRuledOut(), "; "); got != "3000m CPU asked for, 2000m of 2000m free" {
		t.Errorf("it is ruled out because %q", got)
	}
	if decision.GetSummary() != "no node fits: 1 node without 3000m CPU free" {
		t.Errorf("it says %q", decision.GetSummary())
	}
}
