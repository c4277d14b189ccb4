package state

import (
	"bytes"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// maxGossipKeys decrypt at once; the oldest go first.
const maxGossipKeys = 4

func firstRing(key []byte) *sitev1.GossipState {
	return &sitev1.GossipState{Ring: &sitev1.GossipRing{Version: 1, Keys: [][]byte{key}}, Target: key}
}

// Gossip is the ring of gossip keys and where it is going.
func (v *View) Gossip() *sitev1.GossipState { return v.meta.gossip }

// GossipSettled tells whether every node that is there has taken over the
// ring. Lost ones get it on their sync stream before they gossip.
func (v *View) GossipSettled() bool {
	for _, node := range v.Nodes() {
		if node.GetState() == skerryv1.NodeState_NODE_STATE_READY && node.GetGossipVersion() < v.Gossip().GetRing().GetVersion() {
			return false
		}
	}
	return true
}

// GossipDue tells whether a rotation is to begin: somebody who was evicted knows
// the key. It waits while that node's replica is in the group: the log would be
// sent to it if a replica did not know of the eviction yet, and with it the new
// key.
func (v *View) GossipDue() bool {
	if !v.Gossip().GetDue() {
		return false
	}
	for _, node := range v.Nodes() {
		if node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED && node.GetRaftId() != 0 {
			return false
		}
	}
	return true
}

// GossipNext tells whether a rotation has a step to go.
func (v *View) GossipNext() bool {
	ring := v.Gossip().GetRing().GetKeys()
	return len(ring) > 1 || (len(ring) == 1 && !bytes.Equal(ring[0], v.Gossip().GetTarget()))
}

// rotateGossip brings in a key that only decrypts at first. Of an earlier
// rotation that was under way the keys stay until this one is done.
func (x *tx) rotateGossip(change *sitev1.RotateGossip) (*sitev1.Outcome, error) {
	if len(change.GetKey()) != gossipKeyBytes {
		return nil, problem.New(problem.Invalid, "gossip", "a key has %d bytes", gossipKeyBytes)
	}
	old := x.gossip.GetRing().GetKeys()
	for _, known := range old {
		if bytes.Equal(known, change.GetKey()) {
			return nil, problem.New(problem.Conflict, "gossip", "the key is in use already")
		}
	}
	keys := append([][]byte{old[0], change.GetKey()}, old[1:]...)
	x.setRing(keys[:min(len(keys), maxGossipKeys)], change.GetKey(), false)
	x.inform(subject{kind: "Site", name: x.site}, "GossipKeyRotates", "a new key is given to all nodes")
	return &sitev1.Outcome{}, nil
}

// advanceGossip takes the next step when every node has taken the last one.
func (x *tx) advanceGossip(change *sitev1.AdvanceGossip) (*sitev1.Outcome, error) {
	if change.GetVersion() != x.gossip.GetRing().GetVersion() {
		return nil, problem.New(problem.Conflict, "gossip", "the keys have changed since")
	}
	keys, target := x.gossip.GetRing().GetKeys(), x.gossip.GetTarget()
	switch {
	case !bytes.Equal(keys[0], target):
		next := [][]byte{target}
		for _, key := range keys {
			if !bytes.Equal(key, target) {
				next = append(next, key)
			}
		}
		x.setRing(next, target, x.gossip.GetDue())
	case len(keys) > 1:
		x.setRing([][]byte{target}, target, x.gossip.GetDue())
		x.inform(subject{kind: "Site", name: x.site}, "GossipKeyRotated", "the old key is of no use any more")
	}
	return &sitev1.Outcome{}, nil
}

func (x *tx) setRing(keys [][]byte, target []byte, due bool) {
	x.gossipKey = keys[0]
	x.gossip = &sitev1.GossipState{
		Ring:   &sitev1.GossipRing{Version: x.gossip.GetRing().GetVersion() + 1, Keys: keys},
		Target: target, Due: due,
	}
	x.common = x.index // every node gets it
}

// gossipKeyIsKnown to somebody who was evicted: a new one is due.
func (x *tx) gossipKeyIsKnown() {
	x.gossip = &sitev1.GossipState{Ring: x.gossip.GetRing(), Target: x.gossip.GetTarget(), Due: true}
}
