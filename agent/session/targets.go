package session

import (
	"slices"
	"time"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// Pauses between attempts: short at first, because after an election the
	// new coordinator is there within a second, then up to a second.
	firstPause = 50 * time.Millisecond
	lastPause  = time.Second
	// hops after which a redirect is not followed at once any more, unless nobody has
	// pointed there yet; maxHints are remembered for that, more than there are voters.
	maxHops, maxHints = 3, 16
)

// Targets chooses whom to try next. It is pure.
type Targets struct {
	// pointed is where the last voter said the coordinator is.
	pointed string
	last    string
	// turn is who was asked last without being pointed to: who is pointed to, again and
	// again, keeps nobody from its turn.
	turn   string
	failed int
	hops   int
	// hints are where voters have pointed since it worked; fresh: pointed was none of them.
	hints []string
	fresh bool
	// left is where a stream ended that had worked; empty once that has been tried
	// again, or a voter has pointed there.
	left string
}

// Next returns an address: where a voter pointed to, else the next voter after
// the last one, else the next node.
func (t *Targets) Next(peers []*sitev1.Peer, self string) string {
	t.failed++
	t.last = t.next(peers, self)
	if t.last == t.left {
		t.left = ""
	}
	return t.last
}

func (t *Targets) next(peers []*sitev1.Peer, self string) string {
	if to := t.pointed; to != "" {
		t.pointed = ""
		return to
	}
	var addresses []string
	for _, voters := range []bool{true, false} {
		for _, peer := range peers {
			if (peer.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER) == voters && (voters || peer.GetName() != self) {
				addresses = append(addresses, peer.GetAddress())
			}
		}
		if len(addresses) > 0 {
			break
		}
	}
	if len(addresses) == 0 {
		return ""
	}
	t.turn = addresses[(slices.Index(addresses, t.turn)+1)%len(addresses)]
	return t.turn
}

// Others are the voters to ask who coordinates, when it is in doubt whether the one at
// an address still does: all but that one and this node.
func Others(peers []*sitev1.Peer, self, address string) []string {
	var others []string
	for _, peer := range peers {
		if peer.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER && peer.GetName() != self && peer.GetAddress() != address {
			others = append(others, peer.GetAddress())
		}
	}
	return others
}

// Redirected tells where a voter says that the coordinator is; empty when it does
// not know. The first one to point to where a stream has just ended may not have
// noticed yet what this node has: that is not followed.
func (t *Targets) Redirected(address string) {
	t.hops++
	if address != "" && address == t.left {
		t.left = ""
		return
	}
	if address == t.last {
		return
	}
	t.pointed, t.fresh = address, false
	if address != "" && !slices.Contains(t.hints, address) && len(t.hints) < maxHints {
		t.hints, t.fresh = append(t.hints, address), true
	}
}

// Told tells where another one coordinates, by somebody who knows more than a voter
// that is asked.
func (t *Targets) Told(address string) { t.pointed, t.fresh = address, false }

// Worked tells that the coordinator answers at an address. When that ends, the others
// are asked first: it may be lost, and find that out only after a while.
func (t *Targets) Worked(address string) {
	*t = Targets{last: address, turn: address, left: address}
}

// Pause before the next attempt, with jitter from a random number, after one that
// took some time. A fresh redirect is followed at once. What an attempt has waited in
// vain counts as a pause: after a power cut most voters do not answer, and the one
// that coordinates may be the last to be tried.
func (t *Targets) Pause(random uint64, took time.Duration) time.Duration {
	if t.pointed != "" && (t.fresh || t.hops > 0 && t.hops <= maxHops) {
		return 0
	}
	base := min(lastPause, firstPause<<min(t.failed, 8))
	pause := base/2 + time.Duration(random%uint64(base))
	if t.failed == 0 {
		return pause // it worked until now, for whatever time
	}
	return max(0, pause-took)
}
