package certs

import (
	"bytes"
	"crypto/x509"
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

func recovered(t *testing.T, last *sitev1.TrustVersion, signer *Authority, epoch uint64, id byte) *sitev1.TrustVersion {
	t.Helper()
	next, err := ExtendTrust(last, signer, TrustChange{Recover: &sitev1.RecoverRecord{SiteEpoch: epoch, Id: bytes.Repeat([]byte{id}, recoverIDSize)}})
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func TestARecoveryIsFollowedByThoseWhoKnowMore(t *testing.T) {
	a, b, c := newAuthority(t, "harbour"), newAuthority(t, "harbour"), newAuthority(t, "harbour")
	known := chainOf(t, a, b, c)
	evicting, err := ExtendTrust(known[2], a, TrustChange{Drop: []*x509.Certificate{b.Certificate()}})
	if err != nil {
		t.Fatal(err)
	}
	withoutB := append(known[:3:3], evicting)
	first := recovered(t, known[1], a, 2, 1)
	second := recovered(t, known[1], a, 2, 2)
	further := append(known[:2:2], first, extend(t, first, a, c.Certificate()))
	for _, test := range []struct {
		name         string
		known, other []*sitev1.TrustVersion
		want         []*sitev1.TrustVersion
		forked, ok   bool
	}{
		{"what is known already", known, known[:2], known, false, true},
		{"one version more", known[:2], known, known, false, true},
		{"a recovery on top", known[:2], append(known[:2:2], first), append(known[:2:2], first), false, true},
		{"a recovery from before", known, further, further, false, true},
		{"what a recovery left behind", further, known, further, false, true},
		{"another recovery with the same parent", further, append(known[:2:2], second), nil, true, false},
		{"one by somebody who was evicted meanwhile", withoutB, append(known[:2:2], recovered(t, known[1], b, 2, 3)), nil, false, false},
		{"another way on, without a recovery", known, append(known[:2:2], extend(t, known[1], a)), nil, false, false},
		{"a recovery after another way on", known, append(known[:2:2], extend(t, known[1], a), recovered(t, extend(t, known[1], a), a, 2, 4)), nil, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			bundle, err := VerifyTrust(SiteID(known[0]), test.known)
			if err != nil {
				t.Fatal(err)
			}
			got, next, err := bundle.Continue(test.known, test.other)
			if (err == nil) != test.ok || errors.Is(err, ErrForked) != test.forked {
				t.Fatalf("it gave %v", err)
			}
			if !test.ok {
				return
			}
			if len(got) != len(test.want) || !proto.Equal(got[len(got)-1], test.want[len(got)-1]) || next.Version() != uint64(len(got)) {
				t.Errorf("%d versions, want %d", len(got), len(test.want))
			}
		})
	}
}

func TestASiteEpochFollowsTheOneBefore(t *testing.T) {
	a := newAuthority(t, "harbour")
	first, err := FirstTrust("harbour", a)
	if err != nil {
		t.Fatal(err)
	}
	good := []*sitev1.TrustVersion{first, recovered(t, first, a, 2, 1)}
	bundle, err := VerifyTrust(SiteID(first), good)
	if err != nil || bundle.SiteEpoch() != 2 {
		t.Fatalf("%v", err)
	}
	for name, record := range map[string]*sitev1.RecoverRecord{
		"the same once more": {SiteEpoch: 2, Id: make([]byte, recoverIDSize)},
		"one left out":       {SiteEpoch: 4, Id: make([]byte, recoverIDSize)},
		"without an ID":      {SiteEpoch: 3},
	} {
		next, err := ExtendTrust(good[1], a, TrustChange{Recover: record})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bundle.Extend([]*sitev1.TrustVersion{next}); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
