package state

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Whoever is at a host, or is called like it, is found however the host is
// written; a node that was left is not.
func TestWhoIsAtAHost(t *testing.T) {
	s := newSite(t, 1)
	for i, address := range []string{"10.0.0.9:7443", "lan.example:7443", "10.0.0.3:7443"} {
		node := testNode(i + 2)
		node.Address = address
		s.join(node)
	}
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_DeleteResource{DeleteResource: &sitev1.DeleteResource{Kind: "Node", Name: "n4"}}})
	for host, want := range map[string]string{
		"10.0.0.9":         "n2",
		"::ffff:10.0.0.9":  "n2",
		"LAN.example":      "n3",
		"N3":               "n3",
		"10.0.0.3":         "",
		"n4":               "",
		"10.0.0.8":         "",
		"another.example.": "",
	} {
		var got *skerryv1.Node
		if found := s.store.View().AtHost(host); len(found) > 0 {
			got = found[0]
		}
		if got.GetName() != want {
			t.Errorf("at %s is %q, want %q", host, got.GetName(), want)
		}
	}
}

// What saves work must never leave anything out: a node of which a record or a
// placement changed is always told of.
func TestChangesOfNodesAreKnown(t *testing.T) {
	s := newSite(t, 2)
	s.ok(applyEntry(testWorkload("web", 1)))
	s.plan(&sitev1.Plan{Create: []*sitev1.NewPlacement{create("web", 1)}})
	before := s.index
	s.plan(&sitev1.Plan{Assign: []*sitev1.Assignment{assign("web-1", "n2")}})
	if got, known := s.store.View().TouchedAfter(before); !known || len(got) != 1 || got[0] != "n2" {
		t.Errorf("after an assignment to n2: %v, %v", got, known)
	}
	before = s.index
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_SetNodeState{SetNodeState: &sitev1.SetNodeState{Node: "n1", State: skerryv1.NodeState_NODE_STATE_LOST}}})
	if got, known := s.store.View().TouchedAfter(before); !known || len(got) != 1 || got[0] != "n1" {
		t.Errorf("after n1 was lost: %v, %v", got, known)
	}
	if got, known := s.restored().store.View().TouchedAfter(before); known {
		t.Errorf("a restored state claims to know that %v changed", got)
	}
}
