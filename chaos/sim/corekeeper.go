package sim

import (
	"slices"
	"time"

	"skerry.dev/coordinator/consensus"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// keepVoters is how often the voters are looked after, moveEvery the mean time
	// after which a voter is moved to the spare host.
	keepVoters, moveEvery = time.Second, 10 * time.Minute
	// slackEntries a learner may be behind when it becomes a voter.
	slackEntries = 20
)

// coreKeeper changes the voters: as many as wanted, none whose log is lost, and
// now and then another one for no reason.
type coreKeeper struct {
	core *core
	// move is when the next voter is moved.
	move time.Duration
}

func (k *coreKeeper) look() {
	c := k.core
	c.kernel.after(keepVoters, k.look)
	if leader := c.leader(); leader != nil {
		k.change(leader)
	}
	k.clean()
}

// isLost: the replica never comes back.
func (c *core) isLost(id uint64) bool {
	h := c.hostOf(id)
	return h == nil || h.disk.refused
}

// change does the one next thing that is due.
func (k *coreKeeper) change(leader *coreHost) {
	c, status := k.core, leader.replica.Status()
	if status.Joint {
		return
	}
	lost := slices.DeleteFunc(slices.Clone(status.Voters), func(id uint64) bool { return !c.isLost(id) })
	if len(status.Learners) > 0 {
		k.promote(leader, status, lost)
		return
	}
	moving := c.kernel.now > openTime && c.kernel.now >= k.move && !c.quiet
	if len(status.Voters) < c.options.Voters || len(lost) > 0 || moving {
		k.addLearner(leader, status)
	}
}

// promote the learner, in the place of a voter when there are enough.
func (k *coreKeeper) promote(leader *coreHost, status consensus.Status, lost []uint64) {
	c, learner := k.core, status.Learners[0]
	if c.isLost(learner) {
		k.ask(leader, &sitev1.VoterChange{RemoveRaftId: learner})
		return
	}
	ready := slices.ContainsFunc(status.Peers, func(p consensus.Peer) bool {
		return p.ID == learner && p.RecentActive && p.Match+slackEntries >= status.Commit
	})
	if !ready {
		return
	}
	change := &sitev1.VoterChange{AddRaftId: learner, Role: skerryv1.VoterRole_VOTER_ROLE_VOTER}
	if len(status.Voters) >= c.options.Voters {
		change.RemoveRaftId = status.Voters[c.hostRng.IntN(len(status.Voters))]
		if len(lost) > 0 {
			change.RemoveRaftId = lost[0]
		}
	}
	if k.ask(leader, change) {
		k.move = c.kernel.now + moveEvery/2 + time.Duration(c.hostRng.Int64N(int64(moveEvery)))
	}
}

// addLearner on a host that has no replica of the group.
func (k *coreKeeper) addLearner(leader *coreHost, status consensus.Status) {
	c := k.core
	for _, h := range c.hosts {
		if h.id != 0 || h.held > 0 {
			continue
		}
		c.lastID++
		h.id, h.disk = c.lastID, newCoreDisk(c)
		h.start()
		if !k.ask(leader, &sitev1.VoterChange{AddRaftId: h.id, Role: skerryv1.VoterRole_VOTER_ROLE_LEARNER}) {
			h.end()
		}
		return
	}
}

func (k *coreKeeper) ask(leader *coreHost, change *sitev1.VoterChange) bool {
	if err := leader.replica.ChangeVoters(change); err != nil {
		return false
	}
	k.core.trace.note(leader.name(), "changes voters: %s", describeChange(change))
	leader.cycle()
	return true
}

// clean ends replicas that are not of the group any more, or never came to be:
// what any replica has applied is committed.
func (k *coreKeeper) clean() {
	c := k.core
	if c.conf.Joint {
		return
	}
	for _, h := range c.hosts {
		if h.id == 0 || slices.Contains(c.conf.Voters, h.id) || slices.Contains(c.conf.Learners, h.id) {
			h.strange = 0
			continue
		}
		if h.strange++; h.strange > 20 { // its addition may be on its way
			h.end()
		}
	}
}

// end forgets the replica of a host.
func (h *coreHost) end() {
	h.core.trace.note(h.name(), "replica %d ends", h.id)
	h.kill()
	h.id, h.disk, h.strange = 0, nil, 0
}
