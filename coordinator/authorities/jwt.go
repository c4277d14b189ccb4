package authorities

import (
	"bytes"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// jwtKept is how long a key stays that signs no more: its node may sign with it
// until it hears of the next one, and what it signed then still counts for a
// while.
const jwtKept = 2 * certs.JwtLifetime

// JwtKeys are the keys for JWT-SVIDs that the next version of the chain of trust
// names; nil when they are those of the last one. The keys of evicted nodes leave
// at once, those that were replaced when nothing they signed counts any more.
func JwtKeys(view *state.View, bundle *certs.Bundle, now time.Time) []*sitev1.JwtKey {
	next, changed := []*sitev1.JwtKey{}, false
	for _, key := range bundle.JwtKeys() {
		kept := keepJwtKey(view.Node(key.GetNode()), key, now)
		changed = changed || kept != key
		if kept != nil {
			next = append(next, kept)
		}
	}
	for node := range view.AllNodes() {
		if !signs(node) {
			continue // thousands do not; an error for each is not for free
		}
		_, err := certs.ParseJwtKey(node.GetJwtKey())
		if err != nil || bundle.JwtKey(certs.JwtKeyID(node.GetJwtKey())) != nil || len(next) == certs.MaxJwtKeys {
			continue
		}
		next = append(next, &sitev1.JwtKey{Node: node.GetName(), Key: node.GetJwtKey(), Added: timestamppb.New(now)})
		changed = true
	}
	if !changed {
		return nil
	}
	return next
}

// signs: the node has a replica.
func signs(node *skerryv1.Node) bool {
	return node.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_UNSPECIFIED && node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED
}

// keepJwtKey returns what becomes of a node's key; nil when it leaves.
func keepJwtKey(node *skerryv1.Node, key *sitev1.JwtKey, now time.Time) *sitev1.JwtKey {
	if node == nil || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
		return nil
	}
	if signs(node) && bytes.Equal(node.GetJwtKey(), key.GetKey()) {
		if key.GetRetires() == nil {
			return key
		}
		return &sitev1.JwtKey{Node: key.GetNode(), Key: key.GetKey(), Added: key.GetAdded()} // it votes again
	}
	retires := key.GetRetires()
	if retires == nil {
		return &sitev1.JwtKey{Node: key.GetNode(), Key: key.GetKey(), Added: key.GetAdded(), Retires: timestamppb.New(now.Add(jwtKept))}
	}
	// Time that was set back does not keep it longer.
	if left := retires.AsTime().Sub(now); left <= 0 || left > jwtKept {
		return nil
	}
	return key
}
