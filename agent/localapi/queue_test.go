package localapi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/deferred"
)

// queue in memory.
type queue struct{ all []*skerryv1.QueuedChange }

func (q *queue) Add(signed *skerryv1.SignedChange) error {
	change, _, err := deferred.Open(signed)
	q.all = append(q.all, deferred.Shown(change, "n3"))
	return err
}

func (q *queue) Waiting() []*skerryv1.QueuedChange { return q.all }

func (q *queue) Withdraw(string) error {
	q.all = nil
	return nil
}

func TestANodeAloneKeepsChangesForWhoSignedThem(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := deferred.Sign(key, rand.Reader, &skerryv1.DeferredChange{
		Principal: "spiffe://reef/operator/mia", RequestId: "0a", Queued: timestamppb.New(time.Unix(1, 0)), Expires: timestamppb.New(time.Unix(2, 0)),
		Change: &skerryv1.DeferredChange_Delete{Delete: &skerryv1.DeleteRequest{Kind: "Workload", Name: "web"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	fingerprint := sha256.Sum256(signed.GetPublicKey())
	text := base64.StdEncoding.EncodeToString
	body := fmt.Sprintf(`{"change":{"change":%q,"publicKey":%q,"signature":%q}}`, text(signed.GetChange()), text(signed.GetPublicKey()), text(signed.GetSignature()))
	with := func(name string, key []byte) *certs.Peer {
		p := peer(certs.RoleOperator, name)
		p.KeyFingerprint = key
		return p
	}
	for name, c := range map[string]struct {
		from *certs.Peer
		may  string
		code string
	}{
		"who signed it":                      {with("mia", fingerprint[:]), "operator", ""},
		"who signed it, and may not":         {with("mia", fingerprint[:]), "viewer", "permission_denied"},
		"somebody else":                      {with("kim", nil), "operator", "permission_denied"},
		"who has another key than signed it": {with("mia", []byte("another")), "operator", "permission_denied"},
		"a workload":                         {peer(certs.RoleWorkload, "shop/till"), "operator", "permission_denied"},
	} {
		t.Run(name, func(t *testing.T) {
			kept := &queue{}
			s := newServer(func(f *fake) {
				f.orders.Access = &sitev1.AccessRecords{Revision: 4, Operators: []*sitev1.OperatorRecord{
					{Name: c.from.Name, KeyFingerprint: c.from.KeyFingerprint, Grants: []*skerryv1.Grant{{Role: c.may}}},
				}}
			})
			s.Queue = kept
			s = New(s.Config)
			if got := call(t, s.Operators(), c.from, "v1.QueueService/Queue", body); got.code() != c.code || (len(kept.all) == 1) != (c.code == "") {
				t.Fatalf("it gave %d %s; %v wait", got.status, got.text, kept.all)
			}
			if c.code != "" {
				return
			}
			listed := call(t, s.Operators(), c.from, "v1.QueueService/ListQueued", `{}`)
			if changes, _ := listed.body["changes"].([]any); len(changes) != 1 || !listed.stale() || listed.body["siteTime"] == nil {
				t.Errorf("it lists %s", listed.text)
			}
			if got := call(t, s.Operators(), c.from, "v1.QueueService/Withdraw", `{"requestId":"0b"}`); got.code() != "not_found" {
				t.Errorf("withdrawing another gave %s", got.text)
			}
			if got := call(t, s.Operators(), c.from, "v1.QueueService/Withdraw", `{"requestId":"0a"}`); got.code() != "" || len(kept.all) != 0 {
				t.Errorf("withdrawing it gave %s", got.text)
			}
		})
	}
}
