package api

import (
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestWhatStaysOnAnEvictedNodeWaitsForTheWordThatItIsOff(t *testing.T) {
	p := &skerryv1.Placement{Name: "db-0", Node: "n3"}
	evicted := &skerryv1.Node{Name: "n3", State: skerryv1.NodeState_NODE_STATE_REMOVED}
	if got, want := forStaying(evicted, p), "the node was evicted; once the machine is off for good: skerry node evict n3 --off"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := forStaying(&skerryv1.Node{Name: "n3", State: skerryv1.NodeState_NODE_STATE_LOST}, p), "bring the node back"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
