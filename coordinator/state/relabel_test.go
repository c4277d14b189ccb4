package state

import (
	"strings"
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

func relabel(change *sitev1.RelabelNode) *sitev1.Entry {
	change.Node = "n2"
	return &sitev1.Entry{Change: &sitev1.Entry_RelabelNode{RelabelNode: change}}
}

func TestOperatorsGiveLabelsAndZones(t *testing.T) {
	s := newSite(t, 2)
	s.ok(relabel(&sitev1.RelabelNode{Set: map[string]string{"disk": "ssd", "old": "yes"}}))
	s.ok(relabel(&sitev1.RelabelNode{Set: map[string]string{"disk": "nvme"}, Remove: []string{"old"}, Zone: "rack-b"}))
	n := s.store.View().Node("n2")
	if n.GetLabels()["disk"] != "nvme" || n.GetLabels()["old"] != "" || n.GetZone() != "rack-b" {
		t.Errorf("it is in zone %s with labels %v", n.GetZone(), n.GetLabels())
	}
	before := n.GetResourceVersion()
	s.ok(relabel(&sitev1.RelabelNode{Set: map[string]string{"disk": "nvme"}}))
	if got := s.store.View().Node("n2").GetResourceVersion(); got != before {
		t.Error("nothing changed, and yet the node did")
	}
	s.refused("not_found", relabel(&sitev1.RelabelNode{Remove: []string{"old"}}))
	s.refused("invalid", relabel(&sitev1.RelabelNode{Set: map[string]string{"zone": "x"}}))
	s.refused("invalid", relabel(&sitev1.RelabelNode{Set: map[string]string{"a": strings.Repeat("x", 64)}}))
	s.refused("invalid", relabel(&sitev1.RelabelNode{Zone: "Not A Zone"}))
}

func TestOnlyAnOperatorsWordFreesWhatStays(t *testing.T) {
	s := newSite(t, 2)
	s.ok(applyEntry(testWorkload("db", 1, func(w *skerryv1.Workload) { w.Partition = &skerryv1.Partition{Mode: manifest.Stay} })))
	s.ok(applyEntry(testWorkload("web", 1)))
	s.want(0, creates(create("db", 1), create("web", 1)))
	s.want(0, assigns(assign("db-1", "n2"), assign("web-1", "n2")))
	off := &sitev1.Entry{Change: &sitev1.Entry_ConfirmOff{ConfirmOff: &sitev1.ConfirmOff{Node: "n2"}}}
	s.refused("conflict", off)
	s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST)
	s.want(1, creates(create("db", 1)))
	s.ok(off)
	s.wantNames("db")
	s.wantNames("web", "web-1")
	s.want(0, creates(create("db", 1)))
}
