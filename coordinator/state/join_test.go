package state

import (
	"bytes"
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestTokenIsBoundToTheFirstKey(t *testing.T) {
	s := newSite(t, 1)
	s.token("n7", "node")
	first := s.ok(joinEntry("n7", testNode(7)))
	if first.GetNode().GetName() != "n7" || !bytes.Equal(first.GetNode().GetKeyFingerprint(), fingerprint("n7")) {
		t.Fatalf("the record of the node that joined is %v", first.GetNode())
	}
	before := s.objects()
	again := s.ok(joinEntry("n7", testNode(7)))
	if !proto.Equal(first.GetNode(), again.GetNode()) {
		t.Errorf("the repeated call got %v, the first one %v", again.GetNode(), first.GetNode())
	}
	// What a repeated call says of itself is not looked at.
	renamed := testNode(8)
	renamed.KeyFingerprint = fingerprint("n7")
	if other := s.ok(joinEntry("n7", renamed)); !proto.Equal(first.GetNode(), other.GetNode()) {
		t.Errorf("the repeated call under another name got %v", other.GetNode())
	}
	if !bytes.Equal(before, s.objects()) {
		t.Error("a repeated call changed something")
	}
	s.refused("forbidden", joinEntry("n7", testNode(9)))
	s.refused("forbidden", joinEntry("never made", testNode(9)))
	short := joinEntry("n7", testNode(7))
	short.GetJoinSite().KeyFingerprint = fingerprint("n7")[:16]
	s.refused("invalid", short)
}

func TestOperatorTokenIsBoundToTheFirstKey(t *testing.T) {
	s := newSite(t, 1)
	s.token("mia", "operator")
	laptop, stranger := &skerryv1.Node{KeyFingerprint: fingerprint("laptop")}, &skerryv1.Node{KeyFingerprint: fingerprint("stranger")}
	for range 2 {
		if got := s.ok(joinEntry("mia", laptop)).GetOperator(); got != "mia" {
			t.Fatalf("the token made operator %q", got)
		}
	}
	s.refused("forbidden", joinEntry("mia", stranger))
	if got := s.store.View().Operator("mia").GetKeyFingerprint(); !bytes.Equal(got, fingerprint("laptop")) {
		t.Errorf("the operator's key is %x", got)
	}
}

func TestAWitnessGetsNoWork(t *testing.T) {
	s := newSite(t, 2)
	secret := fingerprint("secret of w")
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token: &skerryv1.Token{Id: "t-w", Role: "node", Expires: &timestamppb.Timestamp{Seconds: 1_000_000}}, SecretHash: secret, Witness: true,
	}}})
	node := s.ok(joinEntry("w", testNode(3))).GetNode()
	if !node.GetWitness() || !node.GetMayVote() {
		t.Fatalf("it is %v", node)
	}
	s.ok(applyEntry(testWorkload("web", 1)))
	if rejected := s.plan(&sitev1.Plan{Create: []*sitev1.NewPlacement{create("web", 1)}}); rejected != 0 {
		t.Fatal("the placement was not made")
	}
	if rejected := s.plan(&sitev1.Plan{Assign: []*sitev1.Assignment{assign("web-1", "n3")}}); rejected != 1 {
		t.Error("it got a placement")
	}
	if rejected := s.plan(&sitev1.Plan{Assign: []*sitev1.Assignment{assign("web-1", "n2")}}); rejected != 0 {
		t.Error("another node did not get it")
	}
}

func TestTokenExpiresForItsOwnKeyToo(t *testing.T) {
	s := newSite(t, 1)
	expires := s.index + 4
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token:      &skerryv1.Token{Id: "t-n7", Role: "node", Expires: &timestamppb.Timestamp{Seconds: int64(expires)}},
		SecretHash: fingerprint("secret of n7"),
	}}})
	s.ok(joinEntry("n7", testNode(7)))
	s.ok(joinEntry("n7", testNode(7)))
	s.refused("forbidden", joinEntry("n7", testNode(7)))
	s.refused("forbidden", joinEntry("n7", testNode(8)))
}

func TestTimeInTheLogNeverGoesBack(t *testing.T) {
	s := newSite(t, 1)
	s.token("n7", "node")
	late := joinEntry("nobody", testNode(7))
	late.Time = &timestamppb.Timestamp{Seconds: 2_000_000}
	s.index++
	s.store.Apply(s.index, late)
	// A coordinator whose clock is behind cannot make an expired token good.
	s.refused("forbidden", joinEntry("n7", testNode(7)))
}

func TestTokensThatAreRefused(t *testing.T) {
	expires := &timestamppb.Timestamp{Seconds: 1_000_000}
	make := func(change func(*sitev1.CreateToken)) *sitev1.Entry {
		c := &sitev1.CreateToken{
			Token:      &skerryv1.Token{Id: "t-new", Role: "node", Expires: expires},
			SecretHash: fingerprint("secret of new"),
		}
		change(c)
		return &sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: c}}
	}
	for _, test := range []struct {
		name, kind string
		change     func(*sitev1.CreateToken)
	}{
		{"a secret that is not hashed", "invalid", func(c *sitev1.CreateToken) { c.SecretHash = []byte("sk1-plain") }},
		{"no secret", "invalid", func(c *sitev1.CreateToken) { c.SecretHash = nil }},
		{"the secret of another token", "conflict", func(c *sitev1.CreateToken) { c.SecretHash = fingerprint("secret of old") }},
		{"the ID of another token", "conflict", func(c *sitev1.CreateToken) { c.Token.Id = "t-old" }},
		{"no ID", "invalid", func(c *sitev1.CreateToken) { c.Token.Id = "" }},
		{"a role that there is not", "invalid", func(c *sitev1.CreateToken) { c.Token.Role = "root" }},
		{"an operator without a name", "invalid", func(c *sitev1.CreateToken) { c.Token.Role = "operator" }},
		{"an end in the past", "invalid", func(c *sitev1.CreateToken) { c.Token.Expires = &timestamppb.Timestamp{Seconds: 1} }},
		{"no end", "invalid", func(c *sitev1.CreateToken) { c.Token.Expires = nil }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, 1)
			s.token("old", "operator")
			s.refused(test.kind, make(test.change))
		})
	}
}

func TestOneNodeForEachName(t *testing.T) {
	s := newSite(t, 2)
	impostor := testNode(2)
	impostor.KeyFingerprint = fingerprint("impostor")
	s.openToken("any")
	s.refused("conflict", joinEntry("any", impostor))
	// The refused call did not use the token up.
	s.ok(joinEntry("any", testNode(3)))
}

// openToken lets the node choose its name.
func (s *site) openToken(secret string) {
	s.t.Helper()
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token:      &skerryv1.Token{Id: "t-" + secret, Role: "node", Expires: &timestamppb.Timestamp{Seconds: 1_000_000}},
		SecretHash: fingerprint("secret of " + secret),
	}}})
}

func TestFirstFiveNodesMayVote(t *testing.T) {
	s := newSite(t, 7)
	for n := 1; n <= 7; n++ {
		node := s.store.View().Node(fmt.Sprintf("n%d", n))
		if want := n <= 5; node.GetMayVote() != want {
			t.Errorf("%s may vote: %t, want %t", node.GetName(), node.GetMayVote(), want)
		}
	}
}

func TestRemovedNodeDoesNotComeBackWithItsOldToken(t *testing.T) {
	s := newSite(t, 2)
	s.ok(deleteEntry("Node", "n2"))
	s.refused("forbidden", joinEntry("n2", testNode(2)))
	if s.store.View().Node("n2").GetState() != skerryv1.NodeState_NODE_STATE_REMOVED {
		t.Error("the node is not removed any more")
	}
	// A new token makes it a new node.
	s.openToken("again")
	s.refused("forbidden", joinEntry("again", testNode(2)))
	again := testNode(2)
	again.KeyFingerprint = fingerprint("a new key")
	s.ok(joinEntry("again", again))
}

func TestTokenListIsBoundedAndExpiredOnesGoFirst(t *testing.T) {
	s := newSite(t, 1)
	entry := func(n int, expires int64) *sitev1.Entry {
		return &sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
			Token:      &skerryv1.Token{Id: fmt.Sprintf("t-%d", n), Role: "node", Expires: &timestamppb.Timestamp{Seconds: expires}},
			SecretHash: fingerprint(fmt.Sprint(n)),
		}}}
	}
	for n := range maxTokens {
		expires := int64(1_000_000)
		if n < 3 {
			expires = 500
		}
		s.ok(entry(n, expires))
	}
	s.ok(entry(maxTokens, 1_000_000))
	if got := len(s.store.View().Tokens()); got != maxTokens-2 {
		t.Errorf("%d tokens are remembered, want %d", got, maxTokens-2)
	}
	s.ok(entry(maxTokens+1, 1_000_000))
	s.ok(entry(maxTokens+2, 1_000_000))
	s.refused("exhausted", entry(maxTokens+3, 1_000_000))
}
