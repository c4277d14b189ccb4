package state

import (
	"fmt"
	"slices"
	"testing"
	"time"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func createLocally(name, key, node string) *sitev1.Entry {
	return &sitev1.Entry{
		Principal: "spiffe://reef/node/" + node, From: "local root on " + node,
		Change: &sitev1.Entry_CreateLocalOperator{CreateLocalOperator: &sitev1.CreateLocalOperator{
			Name: name, KeyFingerprint: fingerprint(key), Node: node, Grants: []*skerryv1.Grant{{Role: "admin"}},
		}},
	}
}

func TestRootOnAVoterMakesAnOperatorAndEverybodySeesIt(t *testing.T) {
	s := newSite(t, 2)
	leaves := s.leaves()
	s.refused("forbidden", createLocally("rescue", "rescue", "n2"))
	s.refused("forbidden", createLocally("rescue", "rescue", "n9"))
	s.refused("conflict", createLocally("admin", "rescue", "n1"))
	s.refused("invalid", createLocally("../x", "rescue", "n1"))
	s.ok(createLocally("rescue", "rescue", "n1"))
	if leaf := last(leaves); leaf.GetPrincipal() != "spiffe://reef/node/n1" || leaf.GetFrom() != "local root on n1" || leaf.GetVerb() != "create-operator-locally" ||
		!slices.Equal(leaf.GetResources(), []string{"Operator/rescue", "Node/n1"}) || leaf.GetResult() != "ok" {
		t.Errorf("the audit log says %v", leaf)
	}
	view := s.store.View()
	if got := view.Operator("rescue"); got.GetGrants()[0].GetRole() != "admin" {
		t.Errorf("it is %v", got)
	}
	warned := slices.ContainsFunc(view.Events(0, 0), func(e *skerryv1.Event) bool {
		return e.GetReason() == "OperatorMadeLocally" && e.GetSeverity() == skerryv1.Severity_SEVERITY_WARNING && e.GetNode() == "n1"
	})
	if !warned {
		t.Error("no event warns of it")
	}
	s.ok(createLocally("rescue", "rescue", "n1")) // the same key, again
	if got := s.store.View().BrokenGlass(time.Unix(int64(s.index), 0)); len(got) != 1 {
		t.Errorf("remembered are %v", got)
	}
}

func TestTheAlarmLastsForAWeekWhateverBecomesOfTheOperator(t *testing.T) {
	s := newSite(t, 1)
	s.ok(createLocally("rescue", "rescue", "n1"))
	made := time.Unix(int64(s.index), 0)
	s.ok(revokeOperator("rescue"))
	s.refused("forbidden", createLocally("rescue", "rescue", "n1")) // the key is dead
	s = s.restored()
	for after, want := range map[time.Duration]int{0: 1, 7*24*time.Hour - time.Second: 1, 7 * 24 * time.Hour: 0} {
		if got := s.store.View().BrokenGlass(made.Add(after)); len(got) != want {
			t.Errorf("after %s: %v", after, got)
		}
	}
	for n := range maxBroken + 5 {
		s.ok(createLocally(fmt.Sprintf("o%d", n), fmt.Sprintf("o%d", n), "n1"))
	}
	got := s.restored().store.View().BrokenGlass(made)
	if len(got) != maxBroken || got[maxBroken-1].GetOperator() != fmt.Sprintf("o%d", maxBroken+4) {
		t.Errorf("%d are remembered, the last one is %v", len(got), got[len(got)-1])
	}
}

// restored is the site from its own snapshot.
func (s *site) restored() *site {
	s.t.Helper()
	data, err := s.store.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	other := New()
	if err := other.Restore(data); err != nil {
		s.t.Fatal(err)
	}
	return &site{t: s.t, store: other, index: s.index}
}
