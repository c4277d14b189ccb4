package state

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

func rotate(key byte) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_RotateGossip{RotateGossip: &sitev1.RotateGossip{Key: bytes.Repeat([]byte{key}, gossipKeyBytes)}}}
}

func advance(version uint64) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_AdvanceGossip{AdvanceGossip: &sitev1.AdvanceGossip{Version: version}}}
}

func (s *site) confirmGossip(node string, version uint64) {
	s.t.Helper()
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{
		{Node: node, Facts: &sitev1.NodeFacts{GossipVersion: version}},
	}}}})
}

func TestAnEvictionAsksForANewGossipKey(t *testing.T) {
	s := newSite(t, 2)
	old := s.store.View().GossipKey()
	s.ok(evict("n2", false))
	if !s.store.View().Gossip().GetDue() {
		t.Fatal("none is due")
	}
	s.ok(rotate(9))
	view := s.store.View()
	if view.Gossip().GetDue() || !bytes.Equal(view.GossipKey(), old) || view.GossipSettled() {
		t.Fatalf("%v", view.Gossip())
	}
	if view.CommonIndex() != view.Index() {
		t.Error("nobody is told of the new key")
	}
	s.refused("conflict", advance(1))
	s.confirmGossip("n1", 2)
	if !s.store.View().GossipSettled() {
		t.Fatal("the only node has it, and it is not settled")
	}
	s.ok(advance(2))
	s.ok(advance(3))
	if ring := s.store.View().Gossip().GetRing(); len(ring.GetKeys()) != 1 || ring.GetKeys()[0][0] != 9 || s.store.View().GossipNext() {
		t.Errorf("it ends with %v", ring)
	}
	s.refused("conflict", rotate(9))
}

// TestRotationsNeverSplitThePool begins rotations at any time and lets nodes
// take over the keys late: a step is taken only by GossipSettled, so that at
// any time each node that is there can read what any other writes.
func TestRotationsNeverSplitThePool(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := newSite(t, 3)
		names := []string{"n1", "n2", "n3"}
		taken := map[string]*sitev1.GossipRing{}
		for _, name := range names {
			taken[name] = s.store.View().Gossip().GetRing()
		}
		next := byte(10)
		for range rapid.IntRange(1, 40).Draw(r, "steps") {
			switch rapid.IntRange(0, 4).Draw(r, "step") {
			case 0:
				if !s.store.View().GossipNext() { // what begins during another is a promise to fewer
					s.ok(rotate(next))
					next++
				}
			case 1, 2:
				if view := s.store.View(); view.GossipNext() && view.GossipSettled() {
					s.ok(advance(view.Gossip().GetRing().GetVersion()))
				}
			default:
				name := rapid.SampledFrom(names).Draw(r, "node")
				taken[name] = s.store.View().Gossip().GetRing()
				s.confirmGossip(name, taken[name].GetVersion())
			}
			for a, from := range taken {
				for b, to := range taken {
					if !reads(to, from.GetKeys()[0]) {
						r.Fatalf("%s with %v cannot read what %s writes with %v", b, to, a, from)
					}
				}
			}
		}
	})
}

func reads(ring *sitev1.GossipRing, key []byte) bool {
	for _, known := range ring.GetKeys() {
		if bytes.Equal(known, key) {
			return true
		}
	}
	return false
}
