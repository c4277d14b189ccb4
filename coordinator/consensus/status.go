package consensus

import (
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Status of a replica.
type Status struct {
	ID, Term uint64
	// Leader is the raft ID of the leader that this replica follows; 0 when it
	// knows of none, or hears it no more.
	Leader   uint64
	IsLeader bool
	// Serving: it leads, and has applied an entry of its own term, so that its
	// state holds everything that was ever acknowledged.
	Serving bool
	// HasQuorum: it leads, or hears from one who does.
	HasQuorum bool
	// SinceContact is how long ago HasQuorum was last true, NoContact when it never
	// was in this process; set by Node.
	SinceContact    time.Duration
	Applied, Commit uint64
	Voters          []uint64
	Learners        []uint64
	// Joint: a change of the voters has begun and not ended; the voters before it
	// must agree too.
	Joint bool
	// Standstills of this replica, whether it leads or not.
	Standstills Standstills
	// Peers are the other replicas, when this one leads, sorted by ID.
	Peers []Peer
}

// NoContact is the SinceContact of a replica that has heard no leader yet. What it
// holds may be of any age.
const NoContact time.Duration = -1

// Peer is what a leader knows of another replica.
type Peer struct {
	ID, Match    uint64
	Learner      bool
	RecentActive bool
}

// Status of the replica now.
func (r *Replica) Status() Status {
	status := r.Brief()
	status.Voters, status.Learners = slices.Clone(r.conf.GetVoters()), slices.Clone(r.conf.GetLearners())
	status.Standstills = r.Standstills()
	if status.IsLeader {
		r.raw.WithProgress(func(id uint64, kind raft.ProgressType, progress tracker.Progress) {
			if id != status.ID {
				status.Peers = append(status.Peers, Peer{
					ID: id, Match: progress.Match, RecentActive: progress.RecentActive,
					Learner: kind == raft.ProgressTypeLearner,
				})
			}
		})
		slices.SortFunc(status.Peers, func(a, b Peer) int { return int(a.ID) - int(b.ID) })
	}
	return status
}

// Brief is Status without Voters, Learners and Peers: it costs next to nothing.
func (r *Replica) Brief() Status {
	basic := r.raw.BasicStatus()
	leads := basic.RaftState == raft.StateLeader
	if !leads && r.unheard > longestElectionTicks {
		basic.Lead = raft.None
	}
	return Status{
		ID:        basic.ID,
		Term:      basic.HardState.GetTerm(),
		Leader:    basic.Lead,
		IsLeader:  leads,
		Serving:   r.serving(),
		HasQuorum: basic.Lead != 0,
		Applied:   r.applied,
		Commit:    basic.HardState.GetCommit(),
		Joint:     r.isJoint(),
	}
}

func (r *Replica) serving() bool {
	basic := r.raw.BasicStatus()
	return basic.RaftState == raft.StateLeader && r.servingTerm == basic.HardState.GetTerm() && basic.LeadTransferee == 0
}

func isLearner(change *sitev1.VoterChange) bool {
	return change.GetRole() == skerryv1.VoterRole_VOTER_ROLE_LEARNER
}
