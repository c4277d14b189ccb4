package dispatcher

import (
	"bytes"
	"crypto/sha256"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// recoverOn begins site epoch 2 on a node.
func (s *testSite) recoverOn(node string, id []byte) {
	s.t.Helper()
	before := s.store.View().Trust()[0]
	digest := sha256.Sum256(before.GetBody())
	body, err := proto.Marshal(&sitev1.TrustBody{
		Site: "harbour", Version: 2, Previous: digest[:], Recover: &sitev1.RecoverRecord{SiteEpoch: 2, Id: id},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.must(&sitev1.Entry{Change: &sitev1.Entry_RecoverSite{RecoverSite: &sitev1.RecoverSite{
		Version: &sitev1.TrustVersion{Body: body}, Node: &skerryv1.Node{Name: node, RaftId: s.store.View().RaftIDAfter()}, From: &skerryv1.Recovery{},
	}}})
}

// syncHolding is sync of a node that has learned of a recovery.
func (s *testSite) syncHolding(recovery []byte) client {
	s.t.Helper()
	opened := mtls.NewMessages(s.dial(), 64<<20, time.Minute)
	// When it fails, the first answer says why.
	_ = opened.Send(&sitev1.SyncRequest{ReportNumber: 1, Message: &sitev1.SyncRequest_Hello{Hello: &sitev1.SyncHello{
		Node: "n2", Report: &sitev1.NodeReport{}, Holdings: &sitev1.Holdings{SiteEpoch: 2, Recovery: recovery},
	}}})
	return client{t: s.t, Messages: opened}
}

// Both parts of a site that was recovered twice may be in site epoch 2.
func TestANodeOfAnotherRecoveryIsNotAdopted(t *testing.T) {
	own, others := bytes.Repeat([]byte{1}, 16), bytes.Repeat([]byte{2}, 16)
	for name, recovery := range map[string][]byte{"the same recovery": own, "an older version says none": nil} {
		s := newTestSite(t)
		s.recoverOn("n1", own)
		s.syncHolding(others).wantEnd(problem.Conflict)
		if view := s.store.View(); view.Adopted(view.Node("n2")) {
			t.Error("it was adopted")
		}
		s.syncHolding(recovery).wantReplica(0)
		if view := s.store.View(); !view.Adopted(view.Node("n2")) {
			t.Errorf("%s: it was not adopted", name)
		}
	}
}
