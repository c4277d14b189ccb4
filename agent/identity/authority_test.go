package identity

import (
	"crypto/x509"
	"testing"
	"time"

	"skerry.dev/certs"
	"skerry.dev/shared/env"
	"skerry.dev/shared/sitetime"
)

// again loads the node as after a restart.
func again(t *testing.T, n *Node) *Node {
	t.Helper()
	loaded, err := Load(env.NewSystem(), n.dir)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func takeIn(t *testing.T, n *Node, change certs.TrustChange) {
	t.Helper()
	chain := n.Trust()
	version, err := certs.ExtendTrust(chain[len(chain)-1], n.Authority(), change)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.UpdateTrust(append(chain[:len(chain):len(chain)], version)); err != nil {
		t.Fatal(err)
	}
}

func TestANewCASignsOnlyWhenItCounts(t *testing.T) {
	n := begin(t, "reef")
	before := n.Authority().Certificate()
	for generation := uint64(1); generation <= 4; generation++ {
		for range 2 { // the same orders come again and again
			if err := n.RotateAuthority(generation, 0); err != nil {
				t.Fatal(err)
			}
		}
		newest, made := n.NewestAuthority()
		if made != generation || newest.Certificate().Equal(before) {
			t.Fatalf("rotation %d made a CA for %d, or none", generation, made)
		}
		for _, node := range []*Node{n, again(t, n)} {
			if !node.Authority().Certificate().Equal(before) {
				t.Fatal("the new CA signs before it counts")
			}
		}
		takeIn(t, n, certs.TrustChange{Add: []*x509.Certificate{newest.Certificate()}})
		takeIn(t, n, certs.TrustChange{Drop: []*x509.Certificate{before}})
		for _, node := range []*Node{n, again(t, n)} {
			if !node.Authority().Certificate().Equal(newest.Certificate()) {
				t.Fatal("the new CA counts and does not sign")
			}
		}
		before = newest.Certificate()
	}
	left, err := n.generations()
	if err != nil || len(left) != keptAuthorities {
		t.Errorf("%v %v are left on the disk", left, err)
	}
	if n.Counts() || n.Issuer() != nil {
		t.Error("the SVID counts though its CA is gone")
	}
}

func TestANewCABeginsBySiteTimeThatWasSetBackOnceThatIsKnown(t *testing.T) {
	n := begin(t, "reef")
	begins := func(generation uint64) time.Time {
		t.Helper()
		if err := n.RotateAuthority(generation, 0); err != nil {
			t.Fatal(err)
		}
		authority, _ := n.NewestAuthority()
		return certs.Issued(authority.Certificate())
	}
	leaf := n.Certificate().Leaf
	if got := begins(1); got.Before(leaf.NotBefore) {
		t.Errorf("while no time is known it begins on %s", got)
	}
	back := leaf.NotBefore.AddDate(-2, 0, 0)
	n.SiteTime().Observe(sitetime.Stamp{Time: back, Reference: back, Era: 1})
	if got := begins(2); got.Sub(back).Abs() > time.Minute {
		t.Errorf("site time is %s, it begins on %s", back, got)
	}
	if n.Due() {
		t.Error("the SVID is due though its CA would issue it like that again")
	}
}
