package state

import (
	"bytes"
	"slices"

	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// maxRevoked keys; a version of the chain of trust carries each of them.
const maxRevoked = MaxTrust

// revoke a key for good. It is in the state from this entry on; the coordinator
// then writes it into the chain of trust, which every node has.
func (x *tx) revoke(subject string, fingerprint []byte) error {
	if len(fingerprint) == 0 || x.isRevoked(fingerprint) {
		return nil
	}
	if len(x.revoked) == maxRevoked {
		return exhausted("revoked keys", maxRevoked)
	}
	r := &sitev1.Revocation{Subject: subject, KeyFingerprint: fingerprint}
	// The full slice expression: views hold on to what was there before.
	x.revoked = append(x.revoked[:len(x.revoked):len(x.revoked)], r)
	x.sum += x.hash("revoked", r)
	return nil
}

func (m *meta) isRevoked(fingerprint []byte) bool {
	return slices.ContainsFunc(m.revoked, func(r *sitev1.Revocation) bool {
		return bytes.Equal(r.GetKeyFingerprint(), fingerprint)
	})
}

// Revoked are all keys that were ever revoked, oldest first.
func (v *View) Revoked() []*sitev1.Revocation { return v.meta.revoked }

// IsRevoked tells whether a key was revoked, also when the chain of trust does
// not say so yet.
func (v *View) IsRevoked(fingerprint []byte) bool { return v.meta.isRevoked(fingerprint) }

// OnRecord tells whether a peer's key is on record for its ID.
func (v *View) OnRecord(peer certs.Peer) bool {
	var key []byte
	switch peer.Role {
	case certs.RoleNode:
		if node := v.Node(peer.Name); node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED {
			key = node.GetKeyFingerprint()
		}
	case certs.RoleOperator:
		key = v.Operator(peer.Name).GetKeyFingerprint()
	}
	return len(key) > 0 && bytes.Equal(key, peer.KeyFingerprint)
}

// evictNode takes a node out of the site, whatever it runs. What may run
// anywhere is forgotten, so that it starts elsewhere; what stays on the node
// keeps its record until an operator states that the machine is off (SAFETY, rule 3):
// nothing says that it has ended.
func (x *tx) evictNode(change *sitev1.EvictNode) (*sitev1.Outcome, error) {
	node := nodes.get(x.rows, change.GetNode())
	if node == nil {
		return nil, missing("Node", change.GetNode())
	}
	off := change.GetOff()
	if off && change.GetWeighed() && node.GetState() == skerryv1.NodeState_NODE_STATE_READY {
		return nil, problem.New(problem.Conflict, "Node/"+node.GetName(), "it is not off: it was heard a moment ago").
			WithHint("switch it off and wait until it is lost; without --off it leaves the site at once, and what stays on it starts nowhere else yet")
	}
	switch {
	case node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED:
		if _, err := x.expel(node, off); err != nil {
			return nil, err
		}
	case off:
		x.forgetPlacements(node.GetName(), true)
	}
	if off && change.GetWeighed() {
		x.warn(aboutNode(node.GetName()), "NodeConfirmedOff", "an operator states that it is off for good: what stays on it or is exclusive there may start elsewhere")
	}
	return &sitev1.Outcome{}, nil
}

// expel is how every node leaves the site.
func (x *tx) expel(node *skerryv1.Node, off bool) (*sitev1.Outcome, error) {
	name := node.GetName()
	if x.isOnlyVoter(node) {
		return nil, problem.New(problem.Conflict, "Node/"+name, "it is the only voter of the site").
			WithHint("let another node join first, and wait until it votes")
	}
	if x.isOnlySigner(node) {
		return nil, problem.New(problem.Conflict, "Node/"+name, "its CA is the only one of the site that counts").
			WithHint("the CA of another voter is added within seconds after it has joined: try again")
	}
	if err := x.revoke("node/"+name, node.GetKeyFingerprint()); err != nil {
		return nil, err
	}
	x.forgetPlacements(name, off)
	x.forgetCopies(name)
	x.gossipKeyIsKnown()
	x.holds(name, nil)
	x.changeNodeState(node, skerryv1.NodeState_NODE_STATE_REMOVED)
	x.warn(aboutNode(name), "NodeEvicted", "node %s was evicted from the site: its key does not count any more", name)
	return &sitev1.Outcome{}, nil
}

// isOnlySigner: nobody else could sign the next version of the chain of trust.
func (x *tx) isOnlySigner(node *skerryv1.Node) bool {
	body := &sitev1.TrustBody{}
	if err := proto.Unmarshal(x.trust[len(x.trust)-1].GetBody(), body); err != nil {
		return false // it was checked when it was appended
	}
	counts := func(n *skerryv1.Node) bool {
		return slices.ContainsFunc(body.GetAuthorities(), func(der []byte) bool { return bytes.Equal(der, n.GetAuthority()) })
	}
	for _, other := range nodes.list(x.rows) {
		if other.GetName() != node.GetName() && other.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER &&
			other.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED && counts(other) {
			return false
		}
	}
	return counts(node)
}

// forgetPlacements of a node that was evicted: all of them when it is off, else
// those that may run twice. What is exclusive is forgotten when its lease has
// ended.
func (x *tx) forgetPlacements(node string, off bool) {
	for _, p := range append(placements.by(x.rows, byNode, node), placements.by(x.rows, byOther, node)...) {
		if otherOf(p) != "" && (off || p.GetNode() != node) {
			if off {
				x.partGone(node, p, false)
			}
			continue
		}
		if off || p.GetEnded() != nil || (!IsStay(p.GetSpec()) && !MayRun(p)) {
			x.volumesStay(p)
			placements.remove(x, placements.key(p))
			continue
		}
		if p.GetLostSince() == nil {
			lost := shallow(p)
			lost.LostSince = x.time
			x.putPlacement(lost)
		}
		if IsExclusive(p.GetSpec()) {
			x.inform(aboutPlacement(p), "PlacementLeft", "node %s, which was evicted, may run it until its lease of %s ends", node, p.GetSpec().GetPartition().GetLease())
			continue
		}
		x.warn(aboutPlacement(p), "PlacementLeft", "it stays on %s, which was evicted, and may still run there", node)
	}
}

// revokeOperator forgets an operator. The last one with the role admin stays:
// somebody must be able to let others in.
func (x *tx) revokeOperator(change *sitev1.RevokeOperator) (*sitev1.Outcome, error) {
	operator := operators.get(x.rows, change.GetName())
	if operator == nil {
		return nil, x.noOperator(change.GetName())
	}
	if err := x.revoke("operator/"+operator.GetName(), operator.GetKeyFingerprint()); err != nil {
		return nil, err
	}
	operators.remove(x, operator.GetName())
	if err := x.checkAdmin(); err != nil {
		return nil, err
	}
	x.forgetTokensOf(operator.GetName())
	x.warn(subject{kind: "Operator", name: operator.GetName()}, "OperatorRevoked", "operator %s may do nothing any more", operator.GetName())
	return &sitev1.Outcome{}, nil
}

// noOperator says that there is none, and whether one may still come.
func (x *tx) noOperator(name string) error {
	about := "Operator/" + bounded(name, maxName)
	for _, t := range tokens.list(x.rows) {
		token := t.GetToken().GetToken()
		if token.GetRole() == operatorRole && token.GetName() == name && token.GetUsedBy() == "" && later(token.GetExpires(), x.time) {
			return problem.New(problem.NotFound, about, "nobody has joined under that name yet, but there is an unused token for it: %s", token.GetId()).
				WithHint("skerry token revoke %s", token.GetId())
		}
	}
	return problem.New(problem.NotFound, about, "there is no such operator").
		WithHint("skerry operator list shows who there is")
}

// forgetTokensOf an operator: with an unused one the operator would be back.
func (x *tx) forgetTokensOf(operator string) {
	for _, t := range tokens.list(x.rows) {
		token := t.GetToken().GetToken()
		if token.GetRole() == operatorRole && token.GetName() == operator && token.GetUsedBy() == "" {
			tokens.remove(x, token.GetId())
		}
	}
}

// revokeToken forgets a token. What has joined by it stays.
func (x *tx) revokeToken(change *sitev1.RevokeToken) (*sitev1.Outcome, error) {
	token := tokens.get(x.rows, change.GetId())
	about := "token " + bounded(change.GetId(), maxName)
	if token == nil {
		return nil, problem.New(problem.NotFound, about, "there is no such token").WithHint("skerry token list shows what there is")
	}
	if used := token.GetToken().GetToken().GetUsedBy(); used != "" {
		return nil, problem.New(problem.Conflict, about, "%s has joined with it already", used).
			WithHint("take that back: skerry node evict NAME, or skerry operator revoke NAME")
	}
	tokens.remove(x, token.GetToken().GetToken().GetId())
	x.warn(subject{kind: "Token", name: change.GetId()}, "TokenRevoked", "nobody can join with it any more")
	return &sitev1.Outcome{}, nil
}
