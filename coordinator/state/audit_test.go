package state

import (
	"strings"
	"testing"

	"skerry.dev/coordinator/audit"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// leaves are those that the audit log gets from now on.
func (s *site) leaves() *[]*skerryv1.AuditEntry {
	var leaves []*skerryv1.AuditEntry
	s.store.OnLeaf(func(leaf audit.Leaf) {
		entry, err := audit.Decode(leaf.Number, leaf.Data)
		if err != nil {
			s.t.Fatal(err)
		}
		leaves = append(leaves, entry)
	})
	return &leaves
}

// last of some leaves, nil when there is none.
func last(leaves *[]*skerryv1.AuditEntry) *skerryv1.AuditEntry {
	if n := len(*leaves); n > 0 {
		return (*leaves)[n-1]
	}
	return nil
}

func TestEveryChangeAndRefusalIsALeafAndReportsAreNone(t *testing.T) {
	s := newSite(t, 1)
	added := s.leaves()
	entry := applyEntry(testWorkload("web", 1))
	entry.Principal, entry.From, entry.RequestId = "spiffe://reef/operator/mara", "10.0.0.7", "r-1"
	s.ok(entry)
	again := applyEntry(testWorkload("web", 1))
	again.Principal, again.RequestId = "spiffe://reef/operator/mara", "r-1"
	s.ok(again)
	s.refused("not_found", deleteEntry("Workload", "nothing"))
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{}}})
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: &sitev1.Plan{}}})
	s.index++
	s.store.ApplyVoterChange(s.index, &sitev1.VoterChange{AddNode: "n1", AddRaftId: 9, Role: skerryv1.VoterRole_VOTER_ROLE_LEARNER})
	leaves := *added
	if len(leaves) != 3 {
		t.Fatalf("%d leaves: %v", len(leaves), leaves)
	}
	first, second, third := leaves[0], leaves[1], leaves[2]
	if first.GetPrincipal() != "spiffe://reef/operator/mara" || first.GetFrom() != "10.0.0.7" || first.GetVerb() != "apply" ||
		first.GetResources()[0] != "Workload/default/web" || first.GetResult() != "ok" || len(first.GetDigest()) != 32 {
		t.Errorf("the change: %v", first)
	}
	if second.GetVerb() != "delete" || second.GetResult() != "not_found" || second.GetMessage() == "" {
		t.Errorf("the refusal: %v", second)
	}
	if third.GetVerb() != "change-voters" || third.GetResources()[0] != "Node/n1" {
		t.Errorf("the change of the voters: %v", third)
	}
}

func TestWhatAnEntryAskedForStaysInItsLeafUnlessItWasRefused(t *testing.T) {
	for name, test := range map[string]struct {
		entry *sitev1.Entry
		want  string
	}{
		"a reason that was given":         {stopEntry("shore power goes"), "shore power goes"},
		"no reason":                       {stopEntry(""), ""},
		"a word that a machine is off":    {evict("n2", true), "its machine is off for good"},
		"no such word":                    {evict("n2", false), ""},
		"labels":                          {relabelEntry("n1", "disk", "ssd"), "disk=ssd"},
		"labels of a node there is not":   {relabelEntry("n9", "disk", "ssd"), "there is no"},
		"what came of it, where it asked": {applyEntry(testWorkload("web", 1)), "created"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 2)
			s.lose("n2")
			leaves := s.leaves()
			s.apply(test.entry)
			if got := last(leaves).GetMessage(); !strings.Contains(got, test.want) || test.want == "" && got != "" {
				t.Errorf("the leaf says %q", got)
			}
		})
	}
}

func relabelEntry(node, label, value string) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_RelabelNode{RelabelNode: &sitev1.RelabelNode{Node: node, Set: map[string]string{label: value}}}}
}

func TestARestoredStateGoesOnWithTheSameTree(t *testing.T) {
	s := newSite(t, 1)
	s.ok(applyEntry(testWorkload("web", 1)))
	data, err := s.store.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	other := New()
	if err := other.Restore(data); err != nil {
		t.Fatal(err)
	}
	s.index++
	s.store.Apply(s.index, deleteEntry("Workload", "web"))
	other.Apply(s.index, deleteEntry("Workload", "web"))
	if s.store.Frontier() != other.Frontier() || s.store.Hash() != other.Hash() {
		t.Error("the trees differ")
	}
}

func TestAnArchiveNeverReachesBeyondTheLogNorBack(t *testing.T) {
	s := newSite(t, 1)
	s.ok(applyEntry(testWorkload("web", 1)))
	size := s.store.View().Audit().Size
	archive := func(size uint64) *sitev1.Entry {
		return &sitev1.Entry{Change: &sitev1.Entry_ArchiveAudit{ArchiveAudit: &sitev1.ArchiveAudit{Size: size, Root: make([]byte, 32)}}}
	}
	s.refused("invalid", archive(size+10))
	s.ok(archive(size))
	s.refused("conflict", archive(size))
	s.refused("conflict", archive(size-1))
	if got := s.store.View().Audit().First; got != size {
		t.Errorf("archived up to %d", got)
	}
}
