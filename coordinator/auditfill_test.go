package coordinator

import (
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"skerry.dev/coordinator/audit"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// What a voter keeps in place of archived leaves proves all that come after: a
// wrong one could never be mended.
func TestArchivedLeavesGoOnlyWhenWhatStaysIsRight(t *testing.T) {
	for name, damaged := range map[string]bool{"whole": false, "with a wrong hash": true} {
		v := openVoter(t, nil)
		t.Cleanup(func() { _ = v.log.Close() })
		v.store.OnLeaf(func(leaf audit.Leaf) {
			if err := v.leaves.Append([]audit.Leaf{leaf}); err != nil {
				t.Fatal(err)
			}
		})
		index := uint64(1)
		apply := func(entry *sitev1.Entry) {
			index++
			v.store.Apply(index, entry)
		}
		for range 11 {
			apply(&sitev1.Entry{Change: &sitev1.Entry_RecordRefusals{RecordRefusals: &sitev1.RecordRefusals{Principal: "p"}}})
		}
		if damaged {
			leaf, err := v.leaves.Leaf(7)
			if err != nil {
				t.Fatal(err)
			}
			leaf.Hashes[len(leaf.Hashes)-1] = tlog.RecordHash([]byte("another"))
			if err := v.leaves.Append([]audit.Leaf{leaf}); err != nil {
				t.Fatal(err)
			}
		}
		v.store.OnLeaf(nil)
		if err := v.deleteUpTo(8, v.store.Frontier()); (err != nil) != damaged {
			t.Errorf("%s: %v", name, err)
		}
		if first, _ := v.leaves.Range(); (first == 0) != damaged {
			t.Errorf("%s: the leaves begin at %d", name, first)
		}
		if kind, _ := v.AuditTrouble(); (kind == auditDamaged) != damaged || v.refetch != damaged {
			t.Errorf("%s: the condition is %q", name, kind)
		}
	}
}
