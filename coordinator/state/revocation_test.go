package state

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func evict(node string, off bool) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_EvictNode{EvictNode: &sitev1.EvictNode{Node: node, Off: off, Weighed: off}}}
}

func revokeOperator(name string) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_RevokeOperator{RevokeOperator: &sitev1.RevokeOperator{Name: name}}}
}

func revokeToken(id string) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_RevokeToken{RevokeToken: &sitev1.RevokeToken{Id: id}}}
}

// operatorToken lets an operator of this name join.
func (s *site) operatorToken(id, name string) {
	s.t.Helper()
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token:      &skerryv1.Token{Id: id, Role: "operator", Name: name, Expires: &timestamppb.Timestamp{Seconds: 1_000_000}},
		SecretHash: fingerprint("secret of " + id),
	}}})
}

func (s *site) joinOperator(id, key string) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{
		SecretHash: fingerprint("secret of " + id), KeyFingerprint: fingerprint(key),
	}}}
}

// randomRevocation is one that an operator could send. Nobody states that a
// machine is off: what stays there may then run twice by the operator's word.
func randomRevocation(r *rapid.T, node string) *sitev1.Entry {
	switch rapid.IntRange(0, 2).Draw(r, "revocation") {
	case 0:
		return evict(node, false)
	case 1:
		return revokeOperator(rapid.SampledFrom([]string{"admin", "mara"}).Draw(r, "operator"))
	default:
		return revokeToken("t-" + node)
	}
}

func TestEvictedNodeLeavesWhatStaysAndLosesTheRest(t *testing.T) {
	s := newSite(t, 3)
	s.ok(applyEntry(testWorkload("web", 1)))
	s.ok(applyEntry(testWorkload("db", 1, stays)))
	s.plan(creates(create("web", 1), create("db", 1)))
	s.plan(assigns(assign("web-1", "n2"), assign("db-1", "n2")))
	s.ok(evict("n2", false))
	view := s.store.View()
	if node := view.Node("n2"); node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED || !view.IsRevoked(node.GetKeyFingerprint()) {
		t.Fatalf("it is %v, revoked are %v", node, view.Revoked())
	}
	if view.Placement("default", "web-1") != nil {
		t.Error("what may run anywhere is still bound to it")
	}
	if p := view.Placement("default", "db-1"); p.GetNode() != "n2" || p.GetLostSince() == nil {
		t.Errorf("what stays is %v", p)
	}
	// Deleted or not, it may run there until somebody says that it does not.
	s.ok(deleteEntry("Workload", "db"))
	if s.store.View().Placement("default", "db-1") == nil {
		t.Error("what stays was forgotten though the machine may run")
	}
	s.ok(evict("n2", false)) // once more says nothing new
	s.ok(evict("n2", true))
	if p := s.store.View().Placement("default", "db-1"); p != nil {
		t.Errorf("the machine is off, and %v is still bound to it", p)
	}
	s.wantWord("n2", true)
}

// Replicas agree on what older entries did, and on the leaves of the audit log.
func TestAnOlderWordThatAMachineIsOffStaysWhatItWas(t *testing.T) {
	s := newSite(t, 3)
	leaves := s.leaves()
	older := evict("n2", true)
	older.GetEvictNode().Weighed = false
	s.ok(older)
	s.wantWord("n2", false)
	if leaf := last(leaves); leaf.GetVerb() != "evict" || leaf.GetMessage() != "" {
		t.Errorf("its leaf is %v", leaf)
	}
}

// wantWord: whether everybody may see that an operator has just said that a machine is off.
func (s *site) wantWord(node string, want bool) {
	s.t.Helper()
	events := s.store.View().Events(s.index-1, 0)
	if got := slices.ContainsFunc(events, func(e *skerryv1.Event) bool {
		return e.GetReason() == "NodeConfirmedOff" && e.GetName() == node
	}); got != want {
		s.t.Errorf("an event tells that %s is said to be off: %t, of %v", node, got, events)
	}
}

// A word that is known to be false would let what is exclusive run twice.
func TestANodeThatIsHeardIsNotOff(t *testing.T) {
	s := newSite(t, 3)
	s.ok(applyEntry(testWorkload("db", 1, stays)))
	s.plan(creates(create("db", 1)))
	s.plan(assigns(assign("db-1", "n2")))
	outcome := s.refused("conflict", evict("n2", true))
	if !strings.Contains(outcome.GetError(), "it was heard a moment ago") {
		t.Errorf("it is refused by %q", outcome.GetError())
	}
	if state := s.store.View().Node("n2").GetState(); state != skerryv1.NodeState_NODE_STATE_READY || s.store.View().Placement("default", "db-1") == nil {
		t.Errorf("half of it was done: the node is %v", state)
	}
	s.lose("n2")
	s.ok(evict("n2", true))
	if p := s.store.View().Placement("default", "db-1"); p != nil {
		t.Errorf("the machine is off, and %v is still bound to it", p)
	}
	s.wantWord("n2", true)
}

func TestEvictionsThatAreRefused(t *testing.T) {
	s := newSite(t, 2)
	s.refused("conflict", evict("n1", false)) // the only voter
	s.refused("not_found", evict("n9", false))
}

func TestRevokedKeysComeBackNeither(t *testing.T) {
	s := newSite(t, 2)
	s.refused("conflict", revokeOperator("admin"))
	s.refused("not_found", revokeOperator("mara"))
	s.operatorToken("t-mara", "mara")
	if outcome := s.refused("not_found", revokeOperator("mara")); !strings.Contains(outcome.GetError(), "unused token for it: t-mara") {
		t.Errorf("the token is not named: %s", outcome.GetError())
	}
	s.ok(s.joinOperator("t-mara", "mara's key"))
	s.operatorToken("t-spare", "mara")
	s.ok(revokeOperator("mara"))
	if s.store.View().Operator("mara") != nil || !s.store.View().IsRevoked(fingerprint("mara's key")) {
		t.Error("the operator is still there")
	}
	// Neither by the token that was used, nor by one that was made before.
	s.refused("forbidden", s.joinOperator("t-mara", "mara's key"))
	s.refused("forbidden", s.joinOperator("t-spare", "another key"))
	s.operatorToken("t-again", "mara")
	s.refused("forbidden", s.joinOperator("t-again", "mara's key"))
	s.ok(s.joinOperator("t-again", "another key"))
	// A new key for the same name ends the one before.
	s.operatorToken("t-renew", "mara")
	s.ok(s.joinOperator("t-renew", "a third key"))
	if !s.store.View().IsRevoked(fingerprint("another key")) {
		t.Error("the key that was replaced still counts")
	}
}

func TestRevokedTokenIsOfNoUse(t *testing.T) {
	s := newSite(t, 1)
	s.operatorToken("t-1", "mara")
	s.ok(revokeToken("t-1"))
	s.refused("not_found", revokeToken("t-1"))
	s.refused("forbidden", s.joinOperator("t-1", "mara's key"))
	s.operatorToken("t-2", "mara")
	s.ok(s.joinOperator("t-2", "mara's key"))
	s.refused("conflict", revokeToken("t-2"))
}
