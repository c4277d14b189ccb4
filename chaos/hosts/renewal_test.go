//go:build integration

package hosts

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"skerry.dev/agent/identity"
	"skerry.dev/certs"
	"skerry.dev/shared/env"
)

// TestANodeWhoseSVIDExpiredComesBackByItself: it does not even know that it is
// late, as after a year without power.
func TestANodeWhoseSVIDExpiredComesBackByItself(t *testing.T) {
	r := newSite(t, 3, 3)
	leader, late, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	before := allPIDs(t, r)
	if err := late.StopAgent(); err != nil {
		t.Fatal(err)
	}
	expired := expire(t, leader, late)
	if err := os.Remove(filepath.Join(late.StateDir(), "ledger", "time.pb")); err != nil {
		t.Fatal(err)
	}
	if err := late.StartAgent(); err != nil {
		t.Fatal(err)
	}
	err = r.Until(t.Context(), "the SVID of "+late.Name+" is renewed", patience, func(context.Context) error {
		if leaf := svidOf(t, late); !leaf.NotAfter.After(time.Now()) || leaf.Equal(expired) {
			return errors.New("it is still the old one")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	if after := allPIDs(t, r); !slices.Equal(before, after) {
		t.Errorf("what ran was touched: %v, then %v", before, after)
	}
	told, err := r.Skerry(t.Context(), nil, "site", "time")
	if err != nil || !strings.Contains(told, "All clocks agree") {
		t.Errorf("site time: %v\n%s", err, told)
	}
}

// expire gives a host an SVID for its own key whose time is over.
func expire(t *testing.T, by, of *Host) *x509.Certificate {
	t.Helper()
	issuer, err := identity.Load(env.NewSystem(), identity.Dir(by.StateDir()))
	if err != nil {
		t.Fatal(err)
	}
	node, err := identity.Load(env.NewSystem(), identity.Dir(of.StateDir()))
	if err != nil {
		t.Fatal(err)
	}
	der, err := issuer.Authority().IssueNode(certs.NodeRequest{
		Name: of.Name, PublicKey: node.Certificate().Leaf.PublicKey, Addresses: []string{of.API()}, Lifetime: time.Millisecond,
	}, issuer.Authority().Certificate().NotBefore)
	if err != nil {
		t.Fatal(err)
	}
	encoded := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(filepath.Join(identity.Dir(of.StateDir()), "svid.pem"), encoded, 0o600); err != nil {
		t.Fatal(err)
	}
	return svidOf(t, of)
}

func svidOf(t *testing.T, h *Host) *x509.Certificate {
	t.Helper()
	node, err := identity.Load(env.NewSystem(), identity.Dir(h.StateDir()))
	if err != nil {
		t.Fatal(err)
	}
	return node.Certificate().Leaf
}
