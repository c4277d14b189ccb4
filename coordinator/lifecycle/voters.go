package lifecycle

import (
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/consensus/voters"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// haltedCondition is what a node reports whose replica must not run any more.
const haltedCondition = "VoterHalted"

// voterControl is what is remembered between changes of the voters.
type voterControl struct {
	// replicas by raft ID.
	replicas map[uint64]replicaWatch
	// last change that was asked for, without its stamp, and when.
	last *sitev1.VoterChange
	at   time.Duration
	// newest replica that was asked for, and on which node: raft may carry out
	// what was given up long ago.
	newest   uint64
	newestOn string
}

// replicaWatch is since when a replica is known and when it was last active.
type replicaWatch struct{ since, active time.Duration }

// changeVoters asks for the next change of the voters. While one is under way
// it asks for no other, and for the same only after a while: raft says nothing
// of those that it drops.
func (s *step) changeVoters(progress Progress) {
	s.followReplicas(progress)
	if s.underWay() {
		s.wakeAt(s.voters.at + s.config.ChangeRetry)
		return
	}
	change := voters.Next(s.voterInput(progress))
	if change == nil {
		return
	}
	s.numberAnew(change)
	s.voters.last, s.voters.at = proto.CloneOf(change), s.now
	stamp := s.view.Time().AsTime()
	if s.wall.After(stamp) {
		stamp = s.wall
	}
	change.Time = timestamppb.New(stamp)
	s.effects.Change = change
}

// handOver names the voters that may lead when the coordinator itself was
// removed from the site, is drained, or is a witness.
func (s *step) handOver() {
	self := s.view.Node(s.config.Self)
	removed := self.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED
	if !removed && !state.Leaves(self) && !self.GetWitness() {
		return
	}
	for _, node := range s.view.Voters() {
		if node.GetWitness() {
			continue
		}
		if node.GetState() == skerryv1.NodeState_NODE_STATE_READY && (removed || s.isUp(node) && !state.Leaves(node)) {
			s.effects.HandOver = append(s.effects.HandOver, node.GetRaftId())
		}
	}
}

// MayLead are the replicas of the other voters that would not hand the leadership on.
func MayLead(view *state.View, self string) []uint64 {
	var may []uint64
	for _, node := range view.Voters() {
		if node.GetName() != self && !node.GetWitness() && node.GetState() == skerryv1.NodeState_NODE_STATE_READY && !state.Leaves(node) {
			may = append(may, node.GetRaftId())
		}
	}
	return may
}

// isUp: nothing puts the node in doubt.
func (s *step) isUp(node *skerryv1.Node) bool {
	w := s.nodes[node.GetName()]
	return node.GetName() != s.config.Self && w != nil && !w.isLost() && !w.suspected(s.now)
}

// underWay: the last change was asked for a short while ago, and the state does
// not show it yet.
func (s *step) underWay() bool {
	last := s.voters.last
	if last == nil || s.now >= s.voters.at+s.config.ChangeRetry {
		return false
	}
	added, removed := s.view.Node(last.GetAddNode()), s.view.Node(last.GetRemoveNode())
	done := added.GetRaftId() == last.GetAddRaftId() && (added == nil || added.GetVoter() == last.GetRole()) &&
		(removed == nil || removed.GetRaftId() != last.GetRemoveRaftId())
	return !done
}

// numberAnew makes sure that no two nodes are given the same replica, even when
// the first one is still on its way through the log.
func (s *step) numberAnew(change *sitev1.VoterChange) {
	if change.GetRole() != skerryv1.VoterRole_VOTER_ROLE_LEARNER {
		return
	}
	v := &s.voters
	switch {
	case v.newest < change.GetAddRaftId():
	case v.newestOn == change.GetAddNode():
		change.AddRaftId = v.newest
	default:
		change.AddRaftId = v.newest + 1
	}
	v.newest, v.newestOn = change.GetAddRaftId(), change.GetAddNode()
}

// followReplicas notes which replicas take part.
func (s *step) followReplicas(progress Progress) {
	before := s.voters.replicas
	s.voters.replicas = map[uint64]replicaWatch{}
	for _, node := range s.view.Replicas() {
		id := node.GetRaftId()
		w, known := before[id]
		if !known {
			w = replicaWatch{since: s.now, active: never}
		}
		if r := progress.replica(id); r != nil && r.Active {
			w.active = s.now
		}
		s.voters.replicas[id] = w
	}
}

func (p Progress) replica(id uint64) *Replica {
	at := slices.IndexFunc(p.Replicas, func(r Replica) bool { return r.ID == id })
	if at < 0 {
		return nil
	}
	return &p.Replicas[at]
}

func (s *step) voterInput(progress Progress) voters.Input {
	in := voters.Input{Self: s.config.Self, NextRaftID: s.view.NextRaftID()}
	others := 0
	for node := range s.view.AllNodes() {
		if !node.GetMayVote() && node.GetRaftId() == 0 {
			// On a site of thousands most are of this kind, and only count.
			if others == voters.Counted {
				continue
			}
			if node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED {
				others++
			}
		}
		m := voters.Member{
			Name: node.GetName(), Zone: node.GetZone(), MayVote: node.GetMayVote(), Witness: node.GetWitness(),
			Lost:    node.GetState() == skerryv1.NodeState_NODE_STATE_LOST,
			Removed: node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED,
			Role:    node.GetVoter(), RaftID: node.GetRaftId(),
		}
		if w := s.nodes[node.GetName()]; w != nil && !w.isLost() && !m.Removed {
			m.Ready = s.isSteady(w)
			m.Halted = s.hasHalted(node)
		}
		if r := progress.replica(node.GetRaftId()); r != nil {
			// On a young site a few entries are all there is: a replica that holds none
			// of them would not know the others, nor answer them when the coordinator goes.
			m.CaughtUp = r.Active && r.Match+min(s.config.VoterLag, progress.Commit/8) >= progress.Commit
		}
		in.Members = append(in.Members, m)
	}
	return in
}

// isSteady: it is up for long enough to be given a replica.
func (s *step) isSteady(w *watch) bool {
	if w.suspected(s.now) || w.up == never {
		return false
	}
	s.wakeAt(w.up + s.config.VoterSettle)
	return s.now >= w.up+s.config.VoterSettle
}

// hasHalted: the node says so, and its replica is really silent. A node says so
// for a while after it was given a new one.
func (s *step) hasHalted(node *skerryv1.Node) bool {
	says := slices.ContainsFunc(node.GetConditions(), func(c *skerryv1.Condition) bool { return c.GetType() == haltedCondition })
	w, known := s.voters.replicas[node.GetRaftId()]
	return says && known && s.now >= max(w.since, w.active)+s.config.VoterSilence
}
