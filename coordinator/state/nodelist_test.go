package state

import (
	"bytes"
	"slices"
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestEachViewListsTheNodesOfItsOwnMoment(t *testing.T) {
	s := newSite(t, 2)
	before := s.store.View()
	if got := nodeNames(before); !slices.Equal(got, []string{"n1", "n2"}) {
		t.Errorf("the nodes are %v", got)
	}
	slices.Reverse(before.Nodes()) // the list is the caller's own
	s.join(testNode(3))
	after := s.store.View()
	if got := nodeNames(after); !slices.Equal(got, []string{"n1", "n2", "n3"}) {
		t.Errorf("after a join the nodes are %v", got)
	}
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_DeleteResource{DeleteResource: &sitev1.DeleteResource{Kind: "Node", Name: "n2"}}})
	if got := s.store.View().Nodes()[1].GetState(); got != skerryv1.NodeState_NODE_STATE_REMOVED {
		t.Errorf("a node that was removed is listed as %v", got)
	}
	if got := nodeNames(before); !slices.Equal(got, []string{"n1", "n2"}) {
		t.Errorf("an old view has the nodes %v", got)
	}
}

func TestARestoredStateListsItsOwnNodes(t *testing.T) {
	one, three := newSite(t, 1), newSite(t, 3)
	data, err := three.store.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	_ = one.store.View().Nodes()
	if err := one.store.Restore(bytes.Clone(data)); err != nil {
		t.Fatal(err)
	}
	if got := nodeNames(one.store.View()); !slices.Equal(got, []string{"n1", "n2", "n3"}) {
		t.Errorf("the nodes are %v", got)
	}
}

func nodeNames(v *View) []string {
	var names []string
	for _, n := range v.Nodes() {
		names = append(names, n.GetName())
	}
	return names
}
