package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"

	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// firstVoters nodes may vote unless their token says otherwise (SAFETY, rule
// 9).
const firstVoters = 5

// joinSite uses up a token. The token is bound to the joiner's key: the same
// key may repeat the call until the token expires and gets the same record,
// any other key is refused (SAFETY, rule 15).
func (x *tx) joinSite(change *sitev1.JoinSite) (*sitev1.Outcome, error) {
	token, err := usableToken(x.rows, x.time, change)
	if err != nil {
		return nil, err
	}
	if token.GetToken().GetToken().GetRole() == operatorRole {
		return x.joinOperator(token, change.GetKeyFingerprint())
	}
	return x.joinNode(token, change)
}

// CheckJoin says why a join would be refused, as far as its token goes. The
// coordinator asks before it writes: who has no token must not fill the log.
func (v *View) CheckJoin(change *sitev1.JoinSite) error {
	_, err := usableToken(v.rows, v.meta.time, change)
	return err
}

func usableToken(from *rows, now *timestamppb.Timestamp, change *sitev1.JoinSite) (*sitev1.TokenRecord, error) {
	refuse := func(text string) error {
		return problem.New(problem.Forbidden, "token", "%s", text).WithHint("make a new one: skerry token create")
	}
	if len(change.GetKeyFingerprint()) != sha256.Size {
		return nil, problem.New(problem.Invalid, "join", "the fingerprint of the key is not a SHA-256").WithField("keyFingerprint")
	}
	found := tokens.by(from, "hash", hex.EncodeToString(change.GetSecretHash()))
	if len(found) == 0 {
		return nil, refuse("this site does not know it")
	}
	token := found[0]
	if !later(token.GetToken().GetToken().GetExpires(), now) {
		return nil, refuse("it has expired")
	}
	if used := token.GetUsedByKey(); len(used) > 0 && !bytes.Equal(used, change.GetKeyFingerprint()) {
		return nil, refuse("it was used already, by another key")
	}
	return token, nil
}

func (x *tx) joinOperator(token *sitev1.TokenRecord, fingerprint []byte) (*sitev1.Outcome, error) {
	name := token.GetToken().GetToken().GetName()
	if x.isRevoked(fingerprint) {
		return nil, problem.New(problem.Forbidden, "Operator/"+name, "the key was revoked").
			WithHint("join with another key: remove the old credentials first")
	}
	if len(token.GetUsedByKey()) == 0 {
		if err := x.addOperator(&sitev1.OperatorRecord{
			Name: name, KeyFingerprint: fingerprint, Grants: token.GetToken().GetGrants(),
		}); err != nil {
			return nil, err
		}
		x.useToken(token, "operator "+name, fingerprint)
	}
	return &sitev1.Outcome{Operator: name}, nil
}

func (x *tx) joinNode(token *sitev1.TokenRecord, change *sitev1.JoinSite) (*sitev1.Outcome, error) {
	if len(token.GetUsedByKey()) > 0 {
		return x.joinAgain(token, change.GetKeyFingerprint())
	}
	grant := token.GetToken()
	name := grant.GetToken().GetName()
	if name == "" {
		name = change.GetNode().GetName()
	}
	mayVote := x.mayVoteByDefault()
	if grant.MayVote != nil {
		mayVote = grant.GetMayVote()
	}
	from := change.GetNode()
	node := &skerryv1.Node{
		Name:           name,
		Labels:         grant.GetLabels(),
		Zone:           grant.GetZone(),
		Id:             from.GetId(),
		Address:        from.GetAddress(),
		GossipAddress:  from.GetGossipAddress(),
		Capacity:       from.GetCapacity(),
		Version:        from.GetVersion(),
		MayVote:        mayVote || grant.GetWitness(),
		Witness:        grant.GetWitness(),
		KeyFingerprint: change.GetKeyFingerprint(),
	}
	if err := x.addNode(node); err != nil {
		return nil, err
	}
	x.useToken(token, "node "+name, change.GetKeyFingerprint())
	return &sitev1.Outcome{Node: node}, nil
}

// joinAgain answers a repeated call with the record that the first one made.
func (x *tx) joinAgain(token *sitev1.TokenRecord, fingerprint []byte) (*sitev1.Outcome, error) {
	for _, node := range nodes.list(x.rows) {
		if bytes.Equal(node.GetKeyFingerprint(), fingerprint) && node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED {
			return &sitev1.Outcome{Node: node}, nil
		}
	}
	return nil, problem.New(problem.Forbidden, "token", "the node that joined with it was removed: %s", token.GetToken().GetToken().GetUsedBy()).
		WithHint("make a new one: skerry token create")
}

func (x *tx) mayVoteByDefault() bool {
	return len(nodes.by(x.rows, byMayVote, "yes")) < firstVoters
}

func (x *tx) useToken(token *sitev1.TokenRecord, by string, fingerprint []byte) {
	used := shallow(token)
	used.UsedByKey = fingerprint
	used.Token = shallow(token.GetToken())
	used.Token.Token = shallow(token.GetToken().GetToken())
	used.Token.Token.UsedBy = by
	tokens.put(x, used)
}
