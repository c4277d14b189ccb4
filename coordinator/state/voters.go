package state

import (
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// ApplyVoterChange records a change of the replicas that the log itself has
// already carried out; it cannot be refused.
func (s *Store) ApplyVoterChange(index uint64, change *sitev1.VoterChange) {
	x := s.begin(index, &sitev1.SiteClock{Time: change.GetTime(), Era: s.meta.timeEra})
	x.voterChange(change)
	s.publish(x)
	s.recordVoters(change)
}

func (x *tx) voterChange(change *sitev1.VoterChange) {
	if gone := nodes.get(x.rows, change.GetRemoveNode()); gone != nil && gone.GetRaftId() == change.GetRemoveRaftId() {
		node := shallow(gone)
		node.Voter, node.RaftId = skerryv1.VoterRole_VOTER_ROLE_UNSPECIFIED, 0
		x.putNode(node)
		x.inform(aboutNode(node.GetName()), "ReplicaRemoved", "node %s holds no replica any more", node.GetName())
	}
	x.nextRaftID = max(x.nextRaftID, change.GetAddRaftId()+1)
	if added := nodes.get(x.rows, change.GetAddNode()); added != nil {
		node := shallow(added)
		node.Voter, node.RaftId = change.GetRole(), change.GetAddRaftId()
		x.putNode(node)
		if node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER {
			x.inform(aboutNode(node.GetName()), "VoterAdded", "node %s votes", node.GetName())
		} else {
			x.inform(aboutNode(node.GetName()), "LearnerAdded", "node %s follows the log", node.GetName())
		}
	}
}
