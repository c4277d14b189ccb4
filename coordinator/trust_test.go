package coordinator

import (
	"bytes"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/coordinator/authorities"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

// A node that says something untrue of its own CA must not keep revoked keys out
// of the chain of trust, nor take the CA of another with it when it is evicted.
func TestWhatANodeSaysOfItsCAHoldsNothingUp(t *testing.T) {
	authority, err := certs.NewAuthority(env.NewSystem().Rand, "harbour", "n1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	trust, err := certs.FirstTrust("harbour", authority)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := certs.VerifyTrust(certs.SiteID(trust), []*sitev1.TrustVersion{trust})
	if err != nil {
		t.Fatal(err)
	}
	fingerprint := func(b byte) []byte { return bytes.Repeat([]byte{b}, 32) }
	for name, said := range map[string][]byte{
		"nothing": nil, "no certificate": {1}, "the CA of a voter": authority.Certificate().Raw,
	} {
		store := state.New()
		for i, entry := range []*sitev1.Entry{
			{Change: &sitev1.Entry_InitSite{InitSite: &sitev1.InitSite{
				Name: "harbour", SiteId: certs.SiteID(trust), Trust: trust, GossipKey: fingerprint(0),
				Operator: &sitev1.OperatorRecord{Name: "admin", KeyFingerprint: fingerprint(1)},
				Node:     &skerryv1.Node{Name: "n1", KeyFingerprint: fingerprint(2), Authority: authority.Certificate().Raw},
			}}},
			{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
				Token:      &skerryv1.Token{Id: "t-1", Role: "node", Name: "n2", Expires: timestamppb.New(time.Unix(5000, 0))},
				SecretHash: fingerprint(3),
			}}},
			{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{SecretHash: fingerprint(3), KeyFingerprint: fingerprint(4), Node: &skerryv1.Node{}}}},
			{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{
				{Node: "n2", Facts: &sitev1.NodeFacts{Address: "n2:7600", Authority: said}},
			}}}},
			{Change: &sitev1.Entry_EvictNode{EvictNode: &sitev1.EvictNode{Node: "n2"}}},
		} {
			if outcome := store.Apply(uint64(i)+2, entry); outcome.GetErrorKind() != "" {
				t.Fatal(outcome)
			}
		}
		due := authorities.Next(store.View(), bundle)
		if len(due.Change.Revoke) != 1 || len(due.Change.Drop) != 0 || len(due.Change.Add) != 0 || len(due.Signers) != 1 {
			t.Errorf("the evicted node said %s: the next version would be %+v, signers %v", name, due.Change, due.Signers)
		}
	}
}
