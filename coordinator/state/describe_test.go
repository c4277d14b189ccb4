package state

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// TestEveryKindOfChangeIsDescribed: none is called by its name in the log, and
// each names what it is done to.
func TestEveryKindOfChangeIsDescribed(t *testing.T) {
	aboutNothing := map[protoreflect.Name]bool{"apply_resources": true, "rewrap_secrets": true, "record_refusals": true, "record_reads": true, "refuse_queued": true}
	for i := range changes.Fields().Len() {
		field := changes.Fields().Get(i)
		entry := &sitev1.Entry{}
		m := entry.ProtoReflect()
		m.Set(field, m.NewField(field))
		if !audited(entry) {
			continue
		}
		leaf := &skerryv1.AuditEntry{}
		describe(leaf, entry)
		if leaf.GetVerb() == "" || len(leaf.GetResources()) == 0 && !aboutNothing[field.Name()] {
			t.Errorf("%s is %q of %v", field.Name(), leaf.GetVerb(), leaf.GetResources())
		}
	}
	for want, entry := range map[string]*sitev1.Entry{
		"exec Placement/default/web-1": {Change: &sitev1.Entry_RecordExec{RecordExec: &sitev1.RecordExec{Project: "default", Placement: "web-1"}}},
		"logs Placement/default/web-1": {Change: &sitev1.Entry_RecordReads{RecordReads: &sitev1.RecordReads{
			Reads: []*skerryv1.AuditRead{{Resource: "Placement/default/web-1"}},
		}}},
		"rotate Authority":    {Change: &sitev1.Entry_RotateAuthorities{RotateAuthorities: &sitev1.RotateAuthorities{}}},
		"rotate GossipKey":    {Change: &sitev1.Entry_RotateGossip{RotateGossip: &sitev1.RotateGossip{Key: []byte("k")}}},
		"advance GossipKey/7": {Change: &sitev1.Entry_AdvanceGossip{AdvanceGossip: &sitev1.AdvanceGossip{Version: 7}}},
		"join Node":           {Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{}}},
		"reveal Secret/shop/db key password": {Change: &sitev1.Entry_RevealSecret{RevealSecret: &sitev1.RevealSecret{
			Project: "shop", Name: "db", Key: "password",
		}}},
		"evict Node/n2 its machine is off for good": evict("n2", true),
		"revoke Operator/mara":                      revokeOperator("mara"),
		"rotate SecretKey/3":                        {Change: &sitev1.Entry_AddSecretKey{AddSecretKey: &sitev1.AddSecretKey{Key: &sitev1.SecretKey{Version: 3}}}},
		"wrap SecretKey/3 Node/a RecoveryKey/b no more: c": {Change: &sitev1.Entry_WrapSecretKey{WrapSecretKey: &sitev1.WrapSecretKey{
			Version: 3, Add: []*sitev1.KeyWrap{{Node: "a"}, {Recovery: "b"}}, Drop: []string{"c"},
		}}},
	} {
		leaf := &skerryv1.AuditEntry{}
		describe(leaf, entry)
		if got := strings.TrimSpace(leaf.GetVerb() + " " + strings.Join(leaf.GetResources(), " ") + " " + leaf.GetMessage()); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
