package api

import (
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestANodeIsNotNamedAsAnotherHost(t *testing.T) {
	others := []*skerryv1.Node{
		{Name: "self", Address: "10.0.0.9:7443"},
		{Name: "voter", Address: "10.0.0.1:7443"},
		{Name: "lan", Address: "lan.example:7443"},
		{Name: "gone", Address: "10.0.0.3:7443", State: skerryv1.NodeState_NODE_STATE_REMOVED},
	}
	for name, c := range map[string]struct {
		address string
		named   bool
	}{
		"its own address":                     {"10.0.0.9:7443", true},
		"its own name":                        {"self:7443", true},
		"an address of nobody":                {"10.0.0.8:7443", true},
		"the address of another":              {"10.0.0.1:9000", false},
		"the address of another, in IPv6":     {"[::ffff:10.0.0.1]:7443", false},
		"the name of another":                 {"VOTER:7443", false},
		"the host name of another":            {"LAN.example:7443", false},
		"the address of a node that was left": {"10.0.0.3:7443", true},
	} {
		got := ownAddresses(others, &skerryv1.Node{Name: "self", Address: c.address})
		if named := len(got) == 1; named != c.named {
			t.Errorf("%s (%s): named is %t, want %t", name, c.address, named, c.named)
		}
	}
}

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
