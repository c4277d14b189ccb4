package deferred

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func workload(name string) *skerryv1.Resource {
	return &skerryv1.Resource{Kind: &skerryv1.Resource_Workload{Workload: &skerryv1.Workload{Kind: "Workload", Name: name}}}
}

func applying(resources ...*skerryv1.Resource) *skerryv1.DeferredChange {
	at := time.Unix(1_800_000_000, 0)
	return &skerryv1.DeferredChange{
		Principal: "spiffe://reef/operator/mia", RequestId: "0a1b", Queued: timestamppb.New(at), Expires: timestamppb.New(at.Add(Lifetime)),
		Change: &skerryv1.DeferredChange_Apply{Apply: &skerryv1.ApplyRequest{Resources: resources}},
	}
}

func TestASignedChangeOpensAsItWasSigned(t *testing.T) {
	key := newKey(t)
	signed, err := Sign(key, rand.Reader, applying(workload("web")))
	if err != nil {
		t.Fatal(err)
	}
	change, first, err := Open(signed)
	if err != nil || !proto.Equal(change, applying(workload("web"))) {
		t.Fatalf("it opened as %v, %v", change, err)
	}
	again, err := Sign(key, rand.Reader, change)
	if err != nil {
		t.Fatal(err)
	}
	if _, second, err := Open(again); err != nil || !bytes.Equal(first, second) {
		t.Errorf("the same key has the fingerprints %x and %x: %v", first, second, err)
	}
}

func TestWhatWasAlteredOnTheWayDoesNotOpen(t *testing.T) {
	key, other := newKey(t), newKey(t)
	good, err := Sign(key, rand.Reader, applying(workload("web")))
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := Sign(other, rand.Reader, applying(workload("web")))
	if err != nil {
		t.Fatal(err)
	}
	for name, alter := range map[string]func(*skerryv1.SignedChange){
		"another change":            func(s *skerryv1.SignedChange) { s.Change, _ = proto.Marshal(applying(workload("db"))) },
		"the key of somebody else":  func(s *skerryv1.SignedChange) { s.PublicKey = theirs.GetPublicKey() },
		"the proof of another":      func(s *skerryv1.SignedChange) { s.Signature = theirs.GetSignature() },
		"no signature":              func(s *skerryv1.SignedChange) { s.Signature = nil },
		"no key":                    func(s *skerryv1.SignedChange) { s.PublicKey = nil },
		"a key that is none":        func(s *skerryv1.SignedChange) { s.PublicKey = []byte("key") },
		"a signature without bound": func(s *skerryv1.SignedChange) { s.Signature = make([]byte, maxProof+1) },
		"a change without bound":    func(s *skerryv1.SignedChange) { s.Change = make([]byte, MaxChange+1) },
	} {
		t.Run(name, func(t *testing.T) {
			altered := proto.CloneOf(good)
			alter(altered)
			if _, _, err := Open(altered); err == nil {
				t.Error("it opened")
			}
		})
	}
}

func TestOnlyWhatMayWaitIsTaken(t *testing.T) {
	key := newKey(t)
	secret := &skerryv1.Resource{Kind: &skerryv1.Resource_Secret{Secret: &skerryv1.Secret{Kind: "Secret", Name: "s"}}}
	policy := &skerryv1.Resource{Kind: &skerryv1.Resource_AccessPolicy{AccessPolicy: &skerryv1.AccessPolicy{Kind: "AccessPolicy", Name: "p"}}}
	many := make([]*skerryv1.Resource, maxResources+1)
	for i := range many {
		many[i] = workload("web")
	}
	change := func(alter func(*skerryv1.DeferredChange)) *skerryv1.DeferredChange {
		c := applying(workload("web"))
		alter(c)
		return c
	}
	for name, c := range map[string]struct {
		change *skerryv1.DeferredChange
		says   string // empty: it is taken
	}{
		"a workload": {change: applying(workload("web"))},
		"the end of one": {change: change(func(c *skerryv1.DeferredChange) {
			c.Change = &skerryv1.DeferredChange_Delete{Delete: &skerryv1.DeleteRequest{Kind: "Workload", Name: "web"}}
		})},
		"a secret":             {change: applying(secret), says: "cannot be queued"},
		"who may do what":      {change: applying(workload("web"), policy), says: "cannot be queued"},
		"nothing":              {change: applying(), says: "1 to 64"},
		"too much":             {change: applying(many...), says: "1 to 64"},
		"an ID that is a path": {change: change(func(c *skerryv1.DeferredChange) { c.RequestId = "../a" }), says: "hexadecimal"},
		"no ID":                {change: change(func(c *skerryv1.DeferredChange) { c.RequestId = "" }), says: "hexadecimal"},
		"what waits for ever":  {change: change(func(c *skerryv1.DeferredChange) { c.Expires.Seconds += 2 }), says: "waits for longer"},
		"what was never meant": {change: change(func(c *skerryv1.DeferredChange) { c.GetApply().DryRun = true }), says: "1 to 64"},
		"the end of a whole node": {change: change(func(c *skerryv1.DeferredChange) {
			c.Change = &skerryv1.DeferredChange_Delete{Delete: &skerryv1.DeleteRequest{Kind: "Node", Name: "n1"}}
		}), says: "cannot be queued"},
	} {
		t.Run(name, func(t *testing.T) {
			signed, err := Sign(key, rand.Reader, c.change)
			if err != nil {
				t.Fatal(err)
			}
			_, _, err = Open(signed)
			if (c.says == "") != (err == nil) || (err != nil && (!strings.Contains(err.Error(), c.says) || problem.KindOf(err) != problem.Invalid)) {
				t.Errorf("it gave %v", err)
			}
		})
	}
}
