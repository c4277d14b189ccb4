package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

// leaderless is a log in which nobody waits for what others have.
type leaderless struct{ Log }

func (leaderless) Status() consensus.Status { return consensus.Status{} }

// A site was restored on n9, with the CA of a voter that is lost, and n1 was not heard
// since: what n9 shows when it calls must be of that CA.
func TestWhoTellsOfARecoveryKeepsWhatTheOthersKnowItBy(t *testing.T) {
	now := time.Now()
	for _, test := range []struct {
		name string
		// heard: n1 is part of the epoch.
		heard bool
		// due: n9 asks because its SVID has run for half of its life.
		due bool
		// expires is when it does.
		expires time.Time
		// dropped: the CA that issued it has left the chain since.
		dropped bool
		// survivor: n9 issues with a CA of before.
		survivor    bool
		issued, bad bool
	}{
		{name: "somebody refused it", expires: now.AddDate(1, 0, 0)},
		{name: "half of its life is over", due: true, expires: now.AddDate(1, 0, 0), bad: true},
		{name: "all its life is over", due: true, expires: now.AddDate(0, 0, -1), issued: true},
		{name: "the CA that issued it has left", expires: now.AddDate(1, 0, 0), dropped: true, issued: true},
		{name: "a survivor", due: true, expires: now.AddDate(1, 0, 0), survivor: true, issued: true},
		{name: "all were heard", heard: true, expires: now.AddDate(1, 0, 0), issued: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, fresh := newTestAuthority(t), newTestAuthority(t)
			first, err := certs.FirstTrust("reef", before)
			if err != nil {
				t.Fatal(err)
			}
			id := make([]byte, 16)
			change := certs.TrustChange{Add: []*x509.Certificate{fresh.Certificate()}, Recover: &sitev1.RecoverRecord{SiteEpoch: 2, Id: id}}
			if test.dropped {
				change.Drop = []*x509.Certificate{before.Certificate()}
			}
			second, err := certs.ExtendTrust(first, before, change)
			if err != nil {
				t.Fatal(err)
			}
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			svid, err := before.IssueNode(certs.NodeRequest{Name: "n9", PublicKey: key.Public()}, now)
			if err != nil {
				t.Fatal(err)
			}
			issuer := sha256.Sum256(before.Certificate().Raw)
			authority := fresh
			if test.survivor {
				authority = before
			}
			n1 := &skerryv1.Node{Name: "n1", SiteEpoch: 1, KeyFingerprint: make([]byte, sha256.Size)}
			if test.heard {
				n1.SiteEpoch = 2
			}
			snapshot, err := proto.Marshal(&sitev1.Snapshot{
				Index: 100, SiteEpoch: 2, Site: "reef", SiteId: certs.SiteID(first), Trust: []*sitev1.TrustVersion{first, second}, Audit: &sitev1.AuditState{},
				Recovery: &skerryv1.Recovery{SiteEpoch: 2, Id: hex.EncodeToString(id), Node: "n9"},
				Nodes: []*skerryv1.Node{n1, {
					Name: "n9", SiteEpoch: 2, KeyFingerprint: certs.Fingerprint(key.Public()), Authority: fresh.Certificate().Raw, SvidIssuer: issuer[:],
					SvidExpires: timestamppb.New(test.expires), Voter: skerryv1.VoterRole_VOTER_ROLE_VOTER, RaftId: 1000, State: skerryv1.NodeState_NODE_STATE_READY,
				}},
			})
			if err != nil {
				t.Fatal(err)
			}
			store := state.New()
			if err := store.RestoreOlder(snapshot); err != nil {
				t.Fatal(err)
			}
			csr, err := certs.NewJoinRequest(rand.Reader, key)
			if err != nil {
				t.Fatal(err)
			}
			request := &sitev1.RenewRequest{Csr: csr, Present: svid, After: 2}
			if test.due {
				request.Present = nil
			}
			renew := Renew{Log: leaderless{}, Store: store, Authority: func() *certs.Authority { return authority }, SiteTime: &clocks{stamp: sitetime.Stamp{Time: now, Reference: now}}}
			caller := peer(certs.RoleNode, "n9")
			caller.KeyFingerprint = certs.Fingerprint(key.Public())
			answer, err := renew.Renew(mtls.WithPeer(t.Context(), caller), connect.NewRequest(request))
			if test.bad != (problem.KindOf(problem.FromConnect(err)) == problem.Unavailable) || !test.bad && err != nil {
				t.Fatalf("it gave %v", err)
			}
			if issued := err == nil && len(answer.Msg.GetSvid()) > 0; issued != test.issued {
				t.Errorf("an SVID was issued: %t", issued)
			}
		})
	}
}

func newTestAuthority(t *testing.T) *certs.Authority {
	t.Helper()
	authority, err := certs.NewAuthority(rand.Reader, "reef", "n1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return authority
}
