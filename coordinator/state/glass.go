package state

import (
	"bytes"
	"slices"
	"time"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	// maxBroken are remembered of those whom root on a voter has made.
	maxBroken = 32
	// alarmFor is how long each of them is shown (SAFETY, rule 21).
	alarmFor = 7 * 24 * time.Hour
)

// createLocalOperator records an operator whom root on a voter has made. One
// that there is keeps its key: whoever uses it would be cut off without a word.
func (x *tx) createLocalOperator(change *sitev1.CreateLocalOperator) (*sitev1.Outcome, error) {
	node := nodes.get(x.rows, change.GetNode())
	if node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED || node.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_VOTER {
		return nil, problem.New(problem.Forbidden, "Node/"+bounded(change.GetNode(), maxNodeName), "it is no voter of the site").
			WithHint("run it on a voter: skerry status on any node names them")
	}
	about := "Operator/" + bounded(change.GetName(), maxName)
	if x.isRevoked(change.GetKeyFingerprint()) {
		return nil, problem.New(problem.Forbidden, about, "the key was revoked")
	}
	if present := operators.get(x.rows, change.GetName()); present != nil {
		if bytes.Equal(present.GetKeyFingerprint(), change.GetKeyFingerprint()) {
			return &sitev1.Outcome{Operator: change.GetName()}, nil // it is repeated
		}
		return nil, problem.New(problem.Conflict, about, "there is an operator of this name").
			WithHint("choose another name; with that you can end this one: skerry operator revoke %s", bounded(change.GetName(), maxName))
	}
	if len(change.GetGrants()) == 0 {
		return nil, problem.New(problem.Invalid, about, "it gets no role").WithField("role")
	}
	if err := x.addOperator(&sitev1.OperatorRecord{
		Name: change.GetName(), KeyFingerprint: change.GetKeyFingerprint(), Grants: change.GetGrants(),
	}); err != nil {
		return nil, err
	}
	x.keepBroken(&sitev1.BrokenGlass{Operator: change.GetName(), Node: node.GetName(), Time: x.time})
	x.warn(subject{kind: "Operator", name: change.GetName(), node: node.GetName()}, "OperatorMadeLocally",
		"root on %s has made operator %s with the roles: %s", node.GetName(), change.GetName(), namesOf(change.GetGrants()))
	return &sitev1.Outcome{Operator: change.GetName()}, nil
}

// keepBroken remembers it, whatever becomes of the operator.
func (x *tx) keepBroken(broken *sitev1.BrokenGlass) {
	if len(x.broken) == maxBroken {
		x.sum -= x.hash("broken", x.broken[0])
		x.broken = x.broken[1:]
	}
	// The full slice expression: views hold on to what was there before.
	x.broken = append(x.broken[:len(x.broken):len(x.broken)], broken)
	x.sum += x.hash("broken", broken)
}

// BrokenGlass are the operators whom root has made within the last week of
// site time, newest last.
func (v *View) BrokenGlass(now time.Time) []*sitev1.BrokenGlass {
	first := slices.IndexFunc(v.meta.broken, func(b *sitev1.BrokenGlass) bool { return now.Sub(b.GetTime().AsTime()) < alarmFor })
	if first < 0 {
		return nil
	}
	return v.meta.broken[first:]
}
