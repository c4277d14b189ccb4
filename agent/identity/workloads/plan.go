package workloads

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"time"

	"skerry.dev/agent/identity/retiring"
	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// maxAsked in one call; a voter takes no more.
	maxAsked = 64
	// Pauses after asking for a placement: they double while it gives nothing
	// that lasts.
	firstPause = time.Second
	lastPause  = 5 * time.Minute
	// longestWait is how often the plan is made when nothing changes.
	longestWait = time.Minute
)

// attempt is what is remembered of asking for one placement.
type attempt struct {
	next  time.Duration // on elapsed time: not before
	pause time.Duration
}

// failed puts off the next attempt, up to twice the pause so that the nodes of a
// site do not ask all at once.
func (a attempt) failed(now time.Duration, random uint64) attempt {
	a.pause = min(max(firstPause, 2*a.pause), lastPause)
	a.next = now + a.pause + time.Duration(random%uint64(a.pause))
	return a
}

// view is what a plan is made from.
type view struct {
	orders   *sitev1.Assignments
	held     map[string]*SVID
	attempts map[string]attempt
	bundle   *certs.Bundle
	now      time.Time
	known    bool // whether now is
	elapsed  time.Duration
}

// plan is what to do now, and when to make the next one.
type plan struct {
	drop []string
	ask  []*skerryv1.Placement
	wait time.Duration
}

// decide drops what belongs to placements that the orders do not name any more,
// and asks for what is missing, due, or of a CA that does not count any more or
// issues no more.
// Without orders nothing is touched.
func decide(v view) plan {
	p := plan{wait: longestWait}
	if v.orders.GetOrder() == nil {
		return p
	}
	wanted := map[string]bool{}
	for _, placement := range v.orders.GetPlacements() {
		if !placement.GetSpec().GetIdentity() {
			continue
		}
		k := keyOf(placement)
		wanted[k] = true
		if placement.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
			continue // what it has lasts until it is gone
		}
		due := v.due(placement, v.held[k])
		if due > 0 {
			p.wait = min(p.wait, due)
			continue
		}
		if left := v.attempts[k].next - v.elapsed; left > 0 {
			p.wait = min(p.wait, left)
		} else if len(p.ask) < maxAsked {
			p.ask = append(p.ask, placement)
		} else {
			p.wait = 0
		}
	}
	for k := range v.held {
		if !wanted[k] {
			p.drop = append(p.drop, k)
		}
	}
	slices.Sort(p.drop)
	return p
}

// due is how long what is held of a placement will do; 0 or less when it is to
// be asked for.
func (v view) due(p *skerryv1.Placement, s *SVID) time.Duration {
	if s == nil || s.ID != IDOf(v.bundle.Site(), p) {
		return 0
	}
	ca := issuer(s, v.bundle)
	if ca == nil || retiring.Has(v.orders.GetRetiring(), ca) { // it waits for what hangs on it
		return 0
	}
	if v.known && certs.Early(s.Leaf, ca, v.now) {
		return 0
	}
	return certs.RenewAt(s.Leaf).Sub(v.now)
}

// issuer is the CA that counts and has issued an SVID; nil when none has. What
// is held was verified when it came, so that the name of the key is enough.
func issuer(s *SVID, bundle *certs.Bundle) *x509.Certificate {
	for _, ca := range bundle.Authorities() {
		if len(ca.SubjectKeyId) > 0 && bytes.Equal(ca.SubjectKeyId, s.Leaf.AuthorityKeyId) {
			return ca
		}
	}
	return nil
}

func fingerprint(ca *x509.Certificate) []byte {
	sum := sha256.Sum256(ca.Raw)
	return sum[:]
}
