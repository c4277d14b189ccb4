package state

import (
	"crypto/sha256"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// trusts appends a version of the chain of trust with these CAs.
func (s *site) trusts(authorities ...string) {
	s.t.Helper()
	s.ok(s.nextTrust(authorities...))
}

// nextTrust is the next version of the chain of trust, with these CAs.
func (s *site) nextTrust(authorities ...string) *sitev1.Entry {
	s.t.Helper()
	last := s.store.View().Trust()
	previous := sha256.Sum256(last[len(last)-1].GetBody())
	body := &sitev1.TrustBody{Site: "reef", Version: uint64(len(last)) + 1, Previous: previous[:]}
	for _, authority := range authorities {
		body.Authorities = append(body.Authorities, []byte(authority))
	}
	encoded, err := proto.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	return &sitev1.Entry{Change: &sitev1.Entry_ExtendTrust{ExtendTrust: &sitev1.ExtendTrust{Version: &sitev1.TrustVersion{Body: encoded}}}}
}

// says what a node is.
func (s *site) says(node string, facts *sitev1.NodeFacts) {
	s.t.Helper()
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{
		Reports: []*sitev1.NodeReport{{Node: node, Facts: facts}},
	}}})
}

func TestACAIsHeldByWhatItHasIssuedToNodesAndWorkloads(t *testing.T) {
	s := newSite(t, 3)
	s.trusts("old", "new")
	old, fresh := fingerprint("old"), fingerprint("new")
	s.says("n1", &sitev1.NodeFacts{SvidIssuer: fresh, Authority: []byte("new")})
	for _, node := range []string{"n1", "n2", "n3"} {
		s.says(node, &sitev1.NodeFacts{SvidIssuer: fresh, RefusedIssuers: [][]byte{old}})
	}
	if got := s.store.View().HangsOn([]byte("old")); len(got) != 0 {
		t.Errorf("on the old one hang %v", got)
	}
	s.says("n2", &sitev1.NodeFacts{SvidIssuer: fresh, WorkloadIssuers: [][]byte{[]byte("no fingerprint"), old, fresh}, RefusedIssuers: [][]byte{old}})
	if got := s.store.View().HangsOn([]byte("old")); !slices.Equal(got, []string{"n2"}) {
		t.Errorf("on the old one hang %v", got)
	}
	// An agent that has just started has not looked at its SVIDs yet.
	s.says("n2", &sitev1.NodeFacts{})
	if got := s.restored().store.View().HangsOn([]byte("old")); !slices.Equal(got, []string{"n2"}) {
		t.Errorf("after a restart of the agent hang %v", got)
	}
	many := make([][]byte, maxIssuers+10)
	for i := range many {
		many[i] = old
	}
	s.says("n3", &sitev1.NodeFacts{SvidIssuer: fresh, WorkloadIssuers: many})
	if got := s.store.View().Node("n3").GetWorkloadIssuers(); len(got) != maxIssuers {
		t.Errorf("%d are kept", len(got))
	}
	for _, view := range []*View{s.store.View(), s.restored().store.View()} {
		if got := view.Retiring(); len(got) != 1 || !slices.Equal(got[0], old) {
			t.Errorf("%x retire", got)
		}
	}
}

func TestOnACAThatRetiresMayHangWhoStillTakesWhatItIssues(t *testing.T) {
	s := newSite(t, 3)
	s.trusts("old", "lost", "new")
	old, fresh := fingerprint("old"), fingerprint("new")
	s.says("n1", &sitev1.NodeFacts{SvidIssuer: fresh, Authority: []byte("new")})
	takesNoMore := &sitev1.NodeFacts{SvidIssuer: fresh, RefusedIssuers: [][]byte{old, fresh, []byte("no fingerprint")}}
	for _, node := range []string{"n1", "n2"} {
		s.says(node, takesNoMore)
	}
	for authority, want := range map[string][]string{"old": {"n3"}, "lost": {"n1", "n2", "n3"}, "new": {"n1", "n2"}} {
		s.says("n3", &sitev1.NodeFacts{SvidIssuer: old})
		if got := s.store.View().HangsOn([]byte(authority)); !slices.Equal(got, want) {
			t.Errorf("on the %s one hang %v", authority, got)
		}
		s.says("n3", &sitev1.NodeFacts{SvidIssuer: fresh})
		if got := s.store.View().HangsOn([]byte(authority)); !slices.Contains(got, "n3") {
			t.Errorf("on the %s one hang %v, though n3 may take what it issues", authority, got)
		}
	}
	s.says("n3", takesNoMore)
	if got := s.restored().store.View().HangsOn([]byte("old")); len(got) != 0 {
		t.Errorf("when all have renewed, %v hang", got)
	}
}

func TestWhatWasForswornOfACACountsNoMoreOnceItIssuesAgain(t *testing.T) {
	s := newSite(t, 3)
	s.trusts("old", "new")
	old, fresh := fingerprint("old"), fingerprint("new")
	takesNoMore := &sitev1.NodeFacts{SvidIssuer: fresh, RefusedIssuers: [][]byte{old}}
	s.says("n1", &sitev1.NodeFacts{SvidIssuer: fresh, Authority: []byte("new")})
	for _, node := range []string{"n1", "n2", "n3"} {
		s.says(node, takesNoMore)
	}
	s.says("n1", &sitev1.NodeFacts{SvidIssuer: fresh, Authority: []byte("old")})
	s.says("n2", takesNoMore) // was under way
	s.says("n1", &sitev1.NodeFacts{SvidIssuer: fresh, Authority: []byte("new")})
	if got := s.store.View().HangsOn([]byte("old")); len(got) != 3 {
		t.Errorf("on the old one hang %v", got)
	}
}

func TestARetirementIsRefusedOfACAOnWhichSomethingHangsMeanwhile(t *testing.T) {
	s := newSite(t, 3)
	s.trusts("old", "new")
	fresh := fingerprint("new")
	s.says("n1", &sitev1.NodeFacts{SvidIssuer: fresh, Authority: []byte("new")})
	takesNoMore := &sitev1.NodeFacts{SvidIssuer: fresh, RefusedIssuers: [][]byte{fingerprint("old")}}
	for _, node := range []string{"n1", "n2"} {
		s.says(node, takesNoMore)
	}
	for name, facts := range map[string]*sitev1.NodeFacts{
		"the SVID of a node":     {SvidIssuer: fingerprint("old")},
		"what it may yet take":   {SvidIssuer: fresh},
		"the SVID of a workload": {SvidIssuer: fresh, WorkloadIssuers: [][]byte{fingerprint("old")}},
	} {
		s.says("n3", facts)
		if outcome := s.apply(s.nextTrust("new")); outcome.GetErrorKind() != "conflict" {
			t.Errorf("%s hangs on the old one, and it may be retired: %v", name, outcome)
		}
	}
	if outcome := s.apply(s.nextTrust("old")); outcome.GetErrorKind() != "conflict" {
		t.Errorf("one that issues may be retired: %v", outcome)
	}
	s.says("n3", takesNoMore)
	s.trusts("new")
}
