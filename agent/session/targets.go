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
	// hops after which a redirect is not followed at once any more.
	maxHops = 3
)

// Targets chooses whom to try next. It is pure.
type Targets struct {
	// pointed is where the last voter said the coordinator is.
	pointed string
	last    string
	failed  int
	hops    int
}

// Next returns an address: where a voter pointed to, else the next voter after
// the last one, else the next node.
func (t *Targets) Next(peers []*sitev1.Peer, self string) string {
	t.failed++
	if t.pointed != "" {
		t.last, t.pointed = t.pointed, ""
		return t.last
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
	t.last = addresses[(slices.Index(addresses, t.last)+1)%len(addresses)]
	return t.last
}

// Redirected tells where a voter says that the coordinator is; empty when it does
// not know.
func (t *Targets) Redirected(address string) {
	t.hops++
	if address != t.last {
		t.pointed = address
	}
}

// Worked tells that the coordinator answers at an address.
func (t *Targets) Worked(address string) {
	t.last, t.failed, t.hops, t.pointed = address, 0, 0, address
}

// Pause before the next attempt, with jitter from a random number, after one that
// took some time. A fresh redirect is followed at once. What an attempt has waited in
// vain counts as a pause: after a power cut most voters do not answer, and the one
// that coordinates may be the last to be tried.
func (t *Targets) Pause(random uint64, took time.Duration) time.Duration {
	if t.pointed != "" && t.hops > 0 && t.hops <= maxHops {
		return 0
	}
	base := min(lastPause, firstPause<<min(t.failed, 8))
	pause := base/2 + time.Duration(random%uint64(base))
	if t.failed == 0 {
		return pause // it worked until now, for whatever time
	}
	return max(0, pause-took)
}
