package ledger

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

func TestABookIsWrittenAgainWhenAnythingInItChanges(t *testing.T) {
	peers, trust := []*sitev1.Peer{{Name: "n1"}}, []*sitev1.TrustVersion{{Body: []byte("first")}}
	book := func(change func(*sitev1.Assignments)) *sitev1.Assignments {
		b := &sitev1.Assignments{Peers: peers, Trust: trust, GossipKey: []byte("key"), Gossip: &sitev1.GossipRing{Version: 1}, Site: "rock", SiteId: "id"}
		change(b)
		return b
	}
	nothing := func(*sitev1.Assignments) {}
	for _, test := range []struct {
		name   string
		change func(*sitev1.Assignments)
		same   bool
	}{
		{"nothing", nothing, true},
		{"equal peers and chain of another stream", func(b *sitev1.Assignments) {
			b.Peers, b.Trust = []*sitev1.Peer{{Name: "n1"}}, []*sitev1.TrustVersion{{Body: []byte("first")}}
		}, true},
		{"a peer", func(b *sitev1.Assignments) { b.Peers = append(b.Peers[:1:1], &sitev1.Peer{Name: "n2"}) }, false},
		{"the chain", func(b *sitev1.Assignments) { b.Trust = nil }, false},
		{"the key of gossip", func(b *sitev1.Assignments) { b.GossipKey = []byte("next") }, false},
		{"the ring of gossip", func(b *sitev1.Assignments) { b.Gossip = &sitev1.GossipRing{Version: 2} }, false},
		{"the site", func(b *sitev1.Assignments) { b.Site = "reef" }, false},
		{"the site's ID", func(b *sitev1.Assignments) { b.SiteId = "other" }, false},
	} {
		if got := sameBook(book(test.change), book(nothing)); got != test.same {
			t.Errorf("%s: the same is %v", test.name, got)
		}
	}
	if sameBook(&sitev1.Assignments{}, nil) {
		t.Error("an empty book is taken for none")
	}
}
