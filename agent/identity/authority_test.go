package identity

import (
	"bytes"
	"crypto/x509"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
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
	left, err := n.generations(authorityPrefix)
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

func TestAKeyForJwtsSignsWhenTheSiteHasKnownItForAWhile(t *testing.T) {
	n := begin(t, "reef")
	now := time.Now()
	if err := n.EnsureAuthority(0); err != nil {
		t.Fatal(err)
	}
	if n.JwtSigner(n.Bundle()) != nil {
		t.Fatal("it signs before it counts")
	}
	known := []*sitev1.JwtKey{}
	know := func(added time.Time) []byte {
		known = append(known, &sitev1.JwtKey{Node: "n1", Key: n.NewestJwtKey(), Added: timestamppb.New(added)})
		takeIn(t, n, certs.TrustChange{JwtKeys: known})
		return n.NewestJwtKey()
	}
	signs := func(what string, want []byte) {
		t.Helper()
		for _, node := range []*Node{n, again(t, n)} {
			node.KnowTime(sitetime.NewKeeper(env.NewSystem().Clock, sitetime.Stamp{Time: now}, time.Time{}))
			if got := node.JwtSigner(node.Bundle()); got == nil || !bytes.Equal(got.Public(), want) {
				t.Errorf("%s: it signs with %v", what, got)
			}
		}
	}
	first := know(now)
	signs("the first, at once", first)
	if err := n.RotateAuthority(1, 0); err != nil {
		t.Fatal(err)
	}
	signs("the next, before it counts", first)
	second := know(now)
	signs("the next, as soon as it counts", first)
	now = now.Add(jwtPublished + time.Second)
	signs("the next", second)
	for generation := uint64(2); generation < 6; generation++ {
		if err := n.RotateAuthority(generation, 0); err != nil {
			t.Fatal(err)
		}
	}
	if kept, err := n.generations(jwtPrefix); err != nil || len(kept) != keptAuthorities {
		t.Errorf("on the disk are %v, %v", kept, err)
	}
}

func TestAnSVIDOfACAThatRetiresIsNotTaken(t *testing.T) {
	n := begin(t, "reef")
	issued := n.Certificate().Certificate
	var retiring [][]byte
	n.Gate().Orders = func() [][]byte { return retiring }
	if err := n.Renewed(issued); err != nil {
		t.Fatalf("of a CA that issues: %v", err)
	}
	retiring = [][]byte{n.Issuer()}
	if err := n.Renewed(issued); problem.KindOf(err) != problem.Conflict {
		t.Errorf("of a CA that retires: %v", err)
	}
}
