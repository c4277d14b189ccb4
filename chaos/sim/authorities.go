package sim

import (
	"time"

	"skerry.dev/certs"
	"skerry.dev/coordinator/authorities"
	"skerry.dev/coordinator/lifecycle"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/ticket"
)

const (
	// trustEvery and gossipEvery are how often a coordinator looks after the chain
	// of trust and the gossip keys.
	trustEvery, gossipEvery = 500 * time.Millisecond, 250 * time.Millisecond
	gossipKeyBytes          = 32
	// lookAtTrust is how often it is looked at while nothing happens, rather than each
	// time: only rotations come with time alone, after months.
	lookAtTrust = 5 * time.Second
)

// bundle of the newest version that the state has.
func (v *voter) bundle(view *state.View) (*certs.Bundle, error) {
	chain := view.Trust()
	var err error
	switch {
	case v.trusted == nil:
		v.trusted, err = certs.VerifyTrust(view.SiteID(), chain)
	case v.trusted.Version() < uint64(len(chain)):
		v.trusted, err = v.trusted.Extend(chain[v.trusted.Version():])
	}
	return v.trusted, err
}

// keepTrust is coordinator/trust.go.
func (c *coordinator) keepTrust() {
	if c.over() {
		return
	}
	again := func() { c.process.later(trustEvery, c.keepTrust) }
	view, now := c.store.View(), c.world.kernel.now
	if view.Index() == c.settledTrust.index && now < c.settledTrust.until {
		again()
		return
	}
	entry, settled := c.nextTrust(view)
	if settled {
		c.settledTrust.index, c.settledTrust.until = view.Index(), now+lookAtTrust
	}
	if entry != nil {
		entry.RequestId, entry.Principal = c.newID(), "coordinator"
		c.commit(entry, func(*sitev1.Outcome, bool) { again() })
		return
	}
	again()
}

// nextTrust is what is due; settled when nothing is, before something happens or
// time goes by.
func (c *coordinator) nextTrust(view *state.View) (entry *sitev1.Entry, settled bool) {
	if view.SiteID() == "" {
		return nil, false
	}
	bundle, err := c.bundle(view)
	if err != nil {
		panic("the state has a chain of trust that does not verify: " + err.Error())
	}
	due := authorities.Next(view, bundle)
	if c.world.has(KeepAuthorities) {
		due.Change.Drop = nil
	}
	if due.Empty() {
		entry = c.rotation(view)
		return entry, entry == nil
	}
	signer := c.process.self.Authority()
	if signer == nil || !due.MaySign(bundle, signer.Certificate()) {
		signers := due.Signers
		if len(signers) == 0 {
			signers = due.Leaving
		}
		if len(signers) > 0 {
			c.replica.TransferLeadership(signers...)
			c.wake()
		}
		return nil, false
	}
	chain := view.Trust()
	next, err := certs.ExtendTrust(chain[len(chain)-1], signer, due.Change)
	if err != nil {
		c.world.trace.note(c.host.name, "the chain of trust could not be extended: %v", err)
		return nil, false
	}
	return &sitev1.Entry{Change: &sitev1.Entry_ExtendTrust{ExtendTrust: &sitev1.ExtendTrust{Version: next}}}, false
}

// rotation of the CAs, before they expire.
func (c *coordinator) rotation(view *state.View) *sitev1.Entry {
	if now := c.stamp(); !now.Known() || !authorities.RotationDue(view, now.Time) {
		return nil
	}
	return &sitev1.Entry{Change: &sitev1.Entry_RotateAuthorities{RotateAuthorities: &sitev1.RotateAuthorities{}}}
}

// keepGossip is coordinator/gossip.go.
func (c *coordinator) keepGossip() {
	if c.over() {
		return
	}
	again := func() { c.process.later(gossipEvery, c.keepGossip) }
	view := c.store.View()
	var entry *sitev1.Entry
	switch {
	case view.GossipDue():
		entry = c.world.rotateGossip()
	case view.GossipNext() && view.GossipSettled():
		entry = &sitev1.Entry{Change: &sitev1.Entry_AdvanceGossip{
			AdvanceGossip: &sitev1.AdvanceGossip{Version: view.Gossip().GetRing().GetVersion()},
		}}
	case view.SiteID() != "" && view.ImageKeyDue():
		entry = c.world.rotateImageKey()
	}
	if entry == nil {
		again()
		return
	}
	entry.RequestId, entry.Principal = c.newID(), "coordinator"
	c.commit(entry, func(*sitev1.Outcome, bool) { again() })
}

func (w *world) rotateGossip() *sitev1.Entry {
	key := make([]byte, gossipKeyBytes)
	_, _ = chance{w.keyRng}.Read(key) // never fails
	return &sitev1.Entry{Change: &sitev1.Entry_RotateGossip{RotateGossip: &sitev1.RotateGossip{Key: key}}}
}

func (w *world) rotateImageKey() *sitev1.Entry {
	key := make([]byte, ticket.KeySize)
	_, _ = chance{w.keyRng}.Read(key) // never fails
	return &sitev1.Entry{Change: &sitev1.Entry_RotateImageKey{RotateImageKey: &sitev1.RotateImageKey{Key: key}}}
}

// handOver is coordinator.handOver: to those that could sign.
func (c *coordinator) handOver(replicas []uint64) {
	if sign := c.whoSign(replicas); len(sign) > 0 {
		c.replica.TransferLeadership(sign...)
		c.wake()
	}
}

// giveWay is coordinator/giveway.go.
func (c *coordinator) giveWay() {
	seen := c.replica.Standstills()
	to, tried := c.replica.GiveWay(c.whoSign(lifecycle.MayLead(c.store.View(), c.host.name)))
	if !tried {
		return
	}
	c.world.trace.note(c.host.name, "stood still %d times, for %s: gives way to %d", seen.Count, seen.Lost, to)
	if to != 0 {
		c.world.stats.WaysGiven++
	}
	c.wake()
}

// whoSign is coordinator.whoSign.
func (c *coordinator) whoSign(replicas []uint64) []uint64 {
	if len(replicas) == 0 {
		return nil
	}
	view := c.store.View()
	bundle, err := c.bundle(view)
	if err != nil {
		return nil
	}
	var sign []uint64
	for _, node := range view.Nodes() {
		for _, id := range replicas {
			authority, err := certs.ParseAuthority(node.GetAuthority(), siteName)
			if node.GetRaftId() == id && err == nil && bundle.Has(authority) {
				sign = append(sign, id)
			}
		}
	}
	return sign
}
