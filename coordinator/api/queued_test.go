package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/consensus"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/deferred"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// joined makes an operator with a key that signs.
func (s *apiSite) joined(name string, grants ...*skerryv1.Grant) *ecdsa.PrivateKey {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	encoded, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		s.t.Fatal(err)
	}
	sum := sha256.Sum256(encoded)
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_CreateLocalOperator{CreateLocalOperator: &sitev1.CreateLocalOperator{
		Name: name, KeyFingerprint: sum[:], Grants: grants, Node: "n1",
	}}})
	return key
}

// wanted is a change that an operator signed while the site was as it is now.
func (s *apiSite) wanted(key *ecdsa.PrivateKey, name, id string, change func(*skerryv1.DeferredChange)) *skerryv1.SignedChange {
	s.t.Helper()
	w := &skerryv1.Workload{Kind: "Workload", Name: "web", Replicas: proto.Uint32(2), Container: &skerryv1.Container{Image: "site.local/web:1"}}
	now := time.Now()
	view := s.store.View()
	c := &skerryv1.DeferredChange{
		Principal: "spiffe://reef/operator/" + name, RequestId: id, Queued: timestamppb.New(now), Expires: timestamppb.New(now.Add(time.Hour)),
		SiteEpoch: view.SiteEpoch(), Index: view.Index(),
		Change: &skerryv1.DeferredChange_Apply{Apply: &skerryv1.ApplyRequest{Resources: []*skerryv1.Resource{manifest.Wrap(w)}}},
	}
	if change != nil {
		change(c)
	}
	signed, err := deferred.Sign(key, rand.Reader, c)
	if err != nil {
		s.t.Fatal(err)
	}
	return signed
}

func TestAQueuedChangeIsMadeAsThatOfWhoSignedIt(t *testing.T) {
	remove := func(c *skerryv1.DeferredChange) {
		c.Change = &skerryv1.DeferredChange_Delete{Delete: &skerryv1.DeleteRequest{Kind: "Workload", Name: "web"}}
	}
	for name, c := range map[string]struct {
		role      string
		change    func(*skerryv1.DeferredChange)
		meanwhile func(*apiSite)
		kind      problem.Kind // nobody asked for it
		refused   string       // it was, and is told so; empty: it is made
	}{
		"as it was signed":             {role: "operator"},
		"by who may not":               {role: "viewer", refused: "may not"},
		"the end, by who may not":      {role: "viewer", change: remove, refused: "may not"},
		"the end of what there is not": {role: "operator", change: remove, refused: "no such"},
		"in the name of another":       {role: "operator", change: func(c *skerryv1.DeferredChange) { c.Principal = "spiffe://reef/operator/mia" }, kind: problem.Unauthenticated},
		"in the name of another site":  {role: "operator", change: func(c *skerryv1.DeferredChange) { c.Principal = "spiffe://bay/operator/kim" }, kind: problem.Unauthenticated},
		"after the operator was revoked": {role: "operator", meanwhile: func(s *apiSite) {
			s.commit(&sitev1.Entry{Change: &sitev1.Entry_RevokeOperator{RevokeOperator: &sitev1.RevokeOperator{Name: "kim"}}})
		}, refused: "was revoked since"},
		"in the name of another, by a key that was revoked": {role: "operator", meanwhile: func(s *apiSite) {
			s.commit(&sitev1.Entry{Change: &sitev1.Entry_RevokeOperator{RevokeOperator: &sitev1.RevokeOperator{Name: "kim"}}})
		}, change: func(c *skerryv1.DeferredChange) { c.Principal = "spiffe://reef/operator/mia" }, kind: problem.Unauthenticated},
		"what nobody could run": {role: "operator", change: func(c *skerryv1.DeferredChange) { c.GetApply().GetResources()[0].GetWorkload().Container.Image = "" }, refused: "image"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAPISite(t)
			signed := s.wanted(s.joined("kim", &skerryv1.Grant{Role: c.role}), "kim", "0a", c.change)
			if c.meanwhile != nil {
				c.meanwhile(s)
			}
			decided, err := s.server.Deferred(t.Context(), "n3", "10.0.0.3", signed)
			if c.kind != "" {
				if problem.KindOf(err) != c.kind || len(s.store.View().Queued()) != 0 {
					t.Errorf("it gave %v and %v", decided, err)
				}
				return
			}
			made := s.store.View().Workload("default", "web") != nil
			if err != nil || made != (c.refused == "") || !strings.Contains(decided.GetReason(), c.refused) || (decided.GetReason() == "") != (c.refused == "") {
				t.Fatalf("it gave %v, %v; made: %t", decided, err, made)
			}
			again, err := s.server.Deferred(t.Context(), "n4", "10.0.0.4", signed)
			if err != nil || !proto.Equal(again, decided) || len(s.store.View().Queued()) != 1 {
				t.Errorf("sent again it gave %v, %v", again, err)
			}
		})
	}
}

// One that coordinates no more may not know who came since: nothing is dropped on its word.
func TestOneThatWasReplacedDecidesNoQueuedChange(t *testing.T) {
	s := newAPISite(t)
	s.voter("n2")
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signed := s.wanted(key, "kim", "0a", nil)
	s.away.Store(&consensus.Status{ID: 1, Leader: 2, HasQuorum: true})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := s.server.Deferred(ctx, "n3", "10.0.0.3", signed); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it gave %v", err)
	}
	s.away.Store(nil)
	if _, err := s.server.Deferred(t.Context(), "n3", "10.0.0.3", signed); problem.KindOf(err) != problem.Unauthenticated {
		t.Errorf("the coordinator gave %v", err)
	}
}

func TestAQueuedChangeIsRefusedWhenItWasOvertaken(t *testing.T) {
	s := newAPISite(t)
	signed := s.wanted(s.joined("kim", &skerryv1.Grant{Role: "operator"}), "kim", "0a", nil)
	mia := operator("mia")
	if got := s.call(&mia, apply, resourcesOf(workload("web", ""))); got.code() != "" {
		t.Fatal(got.body)
	}
	decided, err := s.server.Deferred(t.Context(), "n3", "10.0.0.3", signed)
	if err != nil || decided.GetState() != skerryv1.QueuedState_QUEUED_STATE_REFUSED || !strings.Contains(decided.GetReason(), "changed since") {
		t.Errorf("it gave %v, %v", decided, err)
	}
	if got := s.store.View().Workload("default", "web").GetReplicas(); got != 1 {
		t.Errorf("it has %d replicas", got)
	}
}
