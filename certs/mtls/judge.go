package mtls

import (
	"crypto/x509"
	"time"

	"skerry.dev/certs"
)

// judge finds out who shows a chain, by what is believed now.
type judge func(Source, []*x509.Certificate) (certs.Peer, error)

// judgeOf is how the other end of a protocol is judged.
//
// Voters among themselves look at no dates: each checks the key against its
// records, and a site whose certificates have all expired must still be able to
// agree on new ones. Who renews is known by its key alone; who is asked to renew
// has to be a node of the site, whatever the dates say.
func judgeOf(protocol string, server bool) judge {
	switch {
	case protocol == Renew && server:
		return func(source Source, chain []*x509.Certificate) (certs.Peer, error) {
			return certs.Claim(chain, source.Bundle())
		}
	case protocol == Renew, protocol == Raft:
		return func(source Source, chain []*x509.Certificate) (certs.Peer, error) {
			return identify(source, chain, time.Time{})
		}
	default:
		return func(source Source, chain []*x509.Certificate) (certs.Peer, error) {
			return identify(source, chain, source.Now())
		}
	}
}
