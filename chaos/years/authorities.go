package years

import (
	"skerry.dev/certs"
	"skerry.dev/coordinator/authorities"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/sitetime"
)

// tend does what the coordinator and the agents do about the CAs.
func (w *world) tend(lead *host, stamp sitetime.Stamp) {
	w.report(stamp)
	if w.bug != KeepAuthorities && authorities.RotationDue(w.store.View(), stamp.Time) {
		w.apply(stamped(stamp, &sitev1.Entry{Change: &sitev1.Entry_RotateAuthorities{RotateAuthorities: &sitev1.RotateAuthorities{}}}))
		w.rotations++
	}
	generation := w.store.View().AuthorityGeneration()
	for _, h := range w.hosts {
		if h.on && h.votes && generation > 0 {
			h.node.SiteTime().Observe(stamp) // it comes with the orders
			w.must(h.node.RotateAuthority(generation, 0))
		}
	}
	w.report(stamp)
	w.extend(stamp)
	for _, h := range w.hosts {
		if h.on && w.store.View().MustRenew(w.store.View().Node(h.name)) {
			w.must(h.node.UpdateTrust(w.store.View().Trust()))
			h.renew(true)
		}
	}
	w.report(stamp) // who has renewed
	w.report(stamp) // and takes nothing more of the CAs that retire
	w.extend(stamp)
}

// report what the nodes say of themselves with their next heartbeats.
func (w *world) report(stamp sitetime.Stamp) {
	batch := &sitev1.StatusBatch{}
	for _, h := range w.hosts {
		if !h.on {
			continue
		}
		facts := &sitev1.NodeFacts{Address: h.address()}
		facts.RefusedIssuers = h.node.Gate().Refused(func() { facts.SvidIssuer = h.node.Issuer() })
		if authority, generation := h.node.NewestAuthority(); authority != nil {
			facts.Authority, facts.AuthorityGeneration = authority.Certificate().Raw, generation
		}
		batch.Reports = append(batch.Reports, &sitev1.NodeReport{Node: h.name, Facts: facts})
	}
	w.apply(stamped(stamp, &sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: batch}}))
	for _, h := range w.hosts {
		if h.on {
			h.retiring = w.store.View().Retiring() // it comes with the orders
		}
	}
}

// extend the chain of trust if that is due, by a voter that may sign.
func (w *world) extend(stamp sitetime.Stamp) {
	view := w.store.View()
	chain := view.Trust()
	bundle, err := certs.VerifyTrust(view.SiteID(), chain)
	w.must(err)
	due := authorities.Next(view, bundle)
	if due.Empty() {
		return
	}
	for _, h := range w.hosts {
		if !h.on || !h.votes || !due.MaySign(bundle, h.node.Authority().Certificate()) {
			continue
		}
		next, err := certs.ExtendTrust(chain[len(chain)-1], h.node.Authority(), due.Change)
		w.must(err)
		w.apply(stamped(stamp, &sitev1.Entry{Change: &sitev1.Entry_ExtendTrust{ExtendTrust: &sitev1.ExtendTrust{Version: next}}}))
		for _, other := range w.hosts {
			if other.on {
				w.must(other.node.UpdateTrust(w.store.View().Trust()))
			}
		}
		return
	}
}
