// Package retiring keeps apart what a node takes from CAs and what it says of
// them.
package retiring

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"sync"

	"skerry.dev/shared/problem"
)

// Gate is passed by every SVID that this node takes. The site retires a CA when
// every node has said that it takes nothing more from it, and that nothing hangs
// on it (SAFETY, rule 13). So neither is said while one is being stored.
type Gate struct {
	// Orders gives the SHA-256 of the certificates of the CAs that issue no more,
	// by the newest orders. It is set before anything is taken; nil means none.
	Orders func() [][]byte

	storing sync.RWMutex
}

// Take stores what ca issued, unless ca retires. A voter that was replaced may not
// know yet that it was.
func (g *Gate) Take(ca *x509.Certificate, store func() error) error {
	g.storing.RLock()
	defer g.storing.RUnlock()
	if Has(g.orders(), ca) {
		return problem.New(problem.Conflict, "identity", "it was issued by %s, a CA that retires; another voter is asked", ca.Subject.CommonName)
	}
	return store()
}

// Refused runs look, which finds out what hangs on which CA, and returns the CAs
// from which nothing has been taken since; nil while something is being stored.
func (g *Gate) Refused(look func()) [][]byte {
	if !g.storing.TryLock() {
		look()
		return nil
	}
	defer g.storing.Unlock()
	refused := g.orders()
	look()
	return refused
}

// Has tells whether a CA is among those that issue no more, given by the SHA-256 of
// their certificates.
func Has(issueNoMore [][]byte, ca *x509.Certificate) bool {
	sum := sha256.Sum256(ca.Raw)
	return slices.ContainsFunc(issueNoMore, func(other []byte) bool { return bytes.Equal(other, sum[:]) })
}

func (g *Gate) orders() [][]byte {
	if g.Orders == nil {
		return nil
	}
	return g.Orders()
}
