package sim

import (
	"fmt"
	"math/bits"
	"slices"
	"time"

	"skerry.dev/chaos/check"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// availableEvery is how often the site is looked at.
	availableEvery = 500 * time.Millisecond
	// availableAfter a majority of the voters is up and connected it has a
	// coordinator.
	availableAfter = 5 * time.Second
)

// availability watches that a majority which can talk finds a coordinator.
type availability struct {
	world *world
	// since when two hosts reach each other well, and hold the replicas that the
	// site knows; notGood while they do not. On the diagonal: one host.
	since [][]time.Duration
	// served is when somebody last coordinated.
	served time.Duration
}

const notGood = time.Duration(-1)

func newAvailability(w *world) *availability {
	a := &availability{world: w, served: w.kernel.now}
	for range w.hosts {
		row := make([]time.Duration, len(w.hosts))
		for i := range row {
			row[i] = notGood
		}
		a.since = append(a.since, row)
	}
	return a
}

func (a *availability) look() {
	w := a.world
	now := w.kernel.now
	if w.coordinatorHost() >= 0 || a.changing() {
		a.served = now
	}
	voters := w.voterHosts()
	for x := range w.hosts {
		for y := range w.hosts {
			switch good := a.good(x, y); {
			case !good:
				a.since[x][y] = notGood
			case a.since[x][y] == notGood:
				a.since[x][y] = now
			}
		}
	}
	if majority := a.majority(voters, now-availableAfter); now-a.served > availableAfter && majority != nil {
		w.violate(&check.Violation{Rule: check.Available, Message: fmt.Sprintf(
			"nobody coordinates for %v, though %s can", now-a.served, hostNames(majority))})
	}
	w.checkFollowing()
	w.revoked.look()
	w.checkRoom()
	w.lookAtDrains()
	w.lookAtVolumes()
	w.kernel.after(availableEvery, a.look)
}

// voterHosts hold the replicas that vote. One that was evicted does not take part
// any more, though it counts until it is replaced.
func (w *world) voterHosts() []int {
	var voters []int
	for _, n := range w.newest.Nodes() {
		if n.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER {
			voters = append(voters, w.hostByName(n.GetName()))
		}
	}
	return voters
}

// changing: a change of the voters has begun somewhere and not ended. Then two
// majorities are needed, and a cut may leave one but not the other.
func (a *availability) changing() bool {
	return slices.ContainsFunc(a.world.hosts, func(h *host) bool {
		return h.process != nil && h.process.voter != nil && h.process.voter.replica.Brief().Joint
	})
}

// good: both hosts run the replica that the site knows, and nothing is wrong
// between them.
func (a *availability) good(x, y int) bool {
	w := a.world
	for _, h := range []*host{w.hosts[x], w.hosts[y]} {
		node := w.newest.Node(h.name)
		if h.process == nil || h.process.isPaused() || h.process.voter == nil || h.raft.id != node.GetRaftId() || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			return false
		}
	}
	return w.net.reachable(x, y) && w.net.quality(x, y) == healthy && w.net.quality(y, x) == healthy
}

// majority of the voters that are all good with each other since then; nil for
// none.
func (a *availability) majority(voters []int, since time.Duration) []int {
	for set := uint(1); set < 1<<len(voters); set++ {
		if bits.OnesCount(set) <= len(voters)/2 {
			continue
		}
		var members []int
		for i, v := range voters {
			if set&(1<<i) != 0 {
				members = append(members, v)
			}
		}
		if a.all(members, since) {
			return members
		}
	}
	return nil
}

func (a *availability) all(members []int, since time.Duration) bool {
	for _, x := range members {
		for _, y := range members {
			if a.since[x][y] == notGood || a.since[x][y] > since {
				return false
			}
		}
	}
	return true
}
