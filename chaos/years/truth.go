package years

import (
	"crypto/x509"
	"time"

	"skerry.dev/agent/identity"
	"skerry.dev/certs"
)

// valid looks at every certificate in use as a library does that knows nothing
// but the true time: go-spiffe in a workload, for one.
func (w *world) valid(hosts ...*host) {
	for _, h := range hosts {
		w.counts(h.name, h.node.Certificate().Leaf, h.node.Bundle())
		if !h.votes {
			continue
		}
		w.counts("the CA of "+h.name, h.node.Authority().Certificate(), h.node.Bundle())
		der, err := h.node.Authority().IssueWorkload("default", "web", nil, newKey(w, h.system().Rand).Public(), h.node.Now(), certs.WorkloadLifetime)
		w.must(err)
		leaf, err := x509.ParseCertificate(der)
		w.must(err)
		w.counts("a workload by the CA of "+h.name, leaf, h.node.Bundle())
	}
	machine := &host{world: w, name: "desk", disk: w.home, rate: 1, booted: w.now}
	operator, err := identity.LoadOperator(machine.system(), "/home", site)
	w.must(err)
	w.counts("the operator", operator.Certificate().Leaf, operator.Bundle())
}

// counts notes a certificate that is not valid by the true time, also for its CA.
func (w *world) counts(whose string, cert *x509.Certificate, bundle *certs.Bundle) {
	roots := x509.NewCertPool()
	for _, authority := range bundle.Authorities() {
		roots.AddCert(authority)
	}
	_, err := cert.Verify(x509.VerifyOptions{Roots: roots, CurrentTime: w.now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		w.invalid++
		w.notef("%s counts from %s to %s: %v", whose, cert.NotBefore.Format(time.DateOnly), cert.NotAfter.Format(time.DateOnly), err)
	}
}
