package state

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestResourcesAreAppliedAllOrNone(t *testing.T) {
	bad := testWorkload("bad", 1, func(w *skerryv1.Workload) { w.Container.Image = "" })
	stale := testWorkload("web", 5)
	stale.ResourceVersion = 1
	for _, test := range []struct {
		name, kind string
		entry      *sitev1.Entry
	}{
		{"the last one is wrong", "invalid", applyEntry(testWorkload("a", 1), testWorkload("web", 3), bad)},
		{"the last one is of an older version", "conflict", applyEntry(testWorkload("a", 1), stale)},
		{"the last one is none", "invalid", &sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{
			Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: testWorkload("a", 1)}}, {}},
		}}}},
		{"there are too many", "invalid", func() *sitev1.Entry {
			var all []*skerryv1.Workload
			for n := range maxResources + 1 {
				all = append(all, testWorkload(fmt.Sprintf("w-%d", n), 1))
			}
			return applyEntry(all...)
		}()},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, 1)
			s.ok(applyEntry(testWorkload("web", 2)))
			s.refused(test.kind, test.entry)
		})
	}
}

func TestResourceVersions(t *testing.T) {
	s := newSite(t, 1)
	created := s.ok(applyEntry(testWorkload("web", 1))).GetApplied()[0]
	version := created.GetResource().GetWorkload().GetResourceVersion()
	if created.GetOutcome() != outcomeCreated || version != s.index {
		t.Errorf("it was %s at version %d, want created at %d", created.GetOutcome(), version, s.index)
	}
	with := func(replicas uint32, version uint64) *sitev1.Entry {
		w := testWorkload("web", replicas)
		w.ResourceVersion = version
		return applyEntry(w)
	}
	changed := s.ok(with(2, version)).GetApplied()[0]
	if changed.GetOutcome() != outcomeConfigured || changed.GetResource().GetWorkload().GetGeneration() != 2 {
		t.Errorf("the change gave %v", changed)
	}
	s.refused("conflict", with(3, version))
	same := s.ok(with(2, 0)).GetApplied()[0]
	if got := same.GetResource().GetWorkload().GetResourceVersion(); same.GetOutcome() != outcomeUnchanged || got != changed.GetResource().GetWorkload().GetResourceVersion() {
		t.Errorf("applying the same again: %s, version %d", same.GetOutcome(), got)
	}
	for _, kind := range []string{"Workload", "Image", "Node"} {
		entry := deleteEntry(kind, map[string]string{"Workload": "web", "Image": "site.local/web:1", "Node": "n1"}[kind])
		entry.GetDeleteResource().ResourceVersion = 1
		s.refused("conflict", entry)
	}
	s.ok(deleteEntry("Workload", "web"))
	s.refused("conflict", with(3, version))
	s.refused("not_found", deleteEntry("Workload", "web"))
}

func TestRetriesHaveNoFurtherEffect(t *testing.T) {
	s := newSite(t, 1)
	named := func(id string, entry *sitev1.Entry) *sitev1.Entry {
		entry.RequestId = id
		return entry
	}
	first := s.ok(named("r-1", applyEntry(testWorkload("web", 1))))
	s.ok(named("r-2", deleteEntry("Workload", "web")))
	before := s.objects()
	again := s.apply(named("r-1", applyEntry(testWorkload("web", 1))))
	if again.GetIndex() != first.GetIndex() || again.GetApplied()[0].GetOutcome() != outcomeCreated {
		t.Errorf("the retry got %v, the first one %v", again, first)
	}
	s.ok(named("r-2", deleteEntry("Workload", "web")))
	if string(before) != string(s.objects()) {
		t.Error("a retry changed something")
	}
	// A refusal is remembered as well, even when it would be carried out now.
	s.refused("not_found", named("r-3", deleteEntry("Workload", "web")))
	s.ok(named("r-4", applyEntry(testWorkload("web", 1))))
	s.refused("not_found", named("r-3", deleteEntry("Workload", "web")))
	// So does the memory of it come back from a snapshot.
	s.restart()
	s.refused("not_found", named("r-3", deleteEntry("Workload", "web")))
	s.refused("invalid", named(strings.Repeat("r", maxRequestID+1), deleteEntry("Workload", "web")))
}

func TestMemoryOfRequestsIsBounded(t *testing.T) {
	s := newSite(t, 1)
	for n := range maxRequests + 10 {
		entry := deleteEntry("Workload", "nothing")
		entry.RequestId = fmt.Sprint(n)
		s.apply(entry)
	}
	if got := len(s.store.requests.byID); got != maxRequests {
		t.Errorf("%d requests are remembered, want %d", got, maxRequests)
	}
	want := s.store.Hash()
	s.restart()
	if got := s.store.Hash(); got != want {
		t.Errorf("the hash after a restart is %x, want %x", got, want)
	}
	for id, kept := range map[string]bool{"9": false, "10": true} {
		if got := s.store.requests.byID[id] != nil; got != kept {
			t.Errorf("request %s is remembered: %t, want %t", id, got, kept)
		}
	}
}

// restart puts a store in place that was restored from a snapshot.
func (s *site) restart() {
	s.t.Helper()
	data, err := s.store.Marshal()
	if err != nil {
		s.t.Fatal(err)
	}
	restored := New()
	if err := restored.Restore(data); err != nil {
		s.t.Fatal(err)
	}
	s.store = restored
}

func TestUnknownEntryHaltsBeforeAnythingChanges(t *testing.T) {
	// Field 99, of a version to come.
	unknown := &sitev1.Entry{}
	if err := proto.Unmarshal([]byte{0x9a, 0x06, 0x00}, unknown); err != nil {
		t.Fatal(err)
	}
	for name, entry := range map[string]*sitev1.Entry{"a kind of a later version": unknown, "no kind at all": {}} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 1)
			before, hash := s.objects(), s.store.Hash()
			halted := func() (r any) {
				defer func() { r = recover() }()
				entry.RequestId = "r-1"
				s.store.Apply(s.index+1, entry)
				return nil
			}()
			if halted == nil {
				t.Fatal("the voter goes on")
			}
			if s.store.View().Index() != s.index || s.store.Hash() != hash || string(before) != string(s.objects()) {
				t.Errorf("the state advanced to index %d", s.store.View().Index())
			}
		})
	}
}

func TestEntriesMustComeInOrder(t *testing.T) {
	s := newSite(t, 1)
	defer func() {
		if recover() == nil {
			t.Error("an entry was applied twice")
		}
	}()
	s.store.Apply(s.index, deleteEntry("Workload", "web"))
}

func TestDamagedSnapshotIsRefused(t *testing.T) {
	s := newSite(t, 3)
	s.ok(applyEntry(testWorkload("web", 2)))
	data, err := s.store.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	change := func(c func(*sitev1.Snapshot)) []byte {
		snapshot := &sitev1.Snapshot{}
		if err := proto.Unmarshal(data, snapshot); err != nil {
			t.Fatal(err)
		}
		c(snapshot)
		changed, err := proto.Marshal(snapshot)
		if err != nil {
			t.Fatal(err)
		}
		return changed
	}
	for name, damaged := range map[string][]byte{
		"it is cut off":         data[:len(data)-3],
		"a node is missing":     change(func(s *sitev1.Snapshot) { s.Nodes = s.Nodes[1:] }),
		"a key is another one":  change(func(s *sitev1.Snapshot) { s.Nodes[0].KeyFingerprint[0] ^= 1 }),
		"a token is missing":    change(func(s *sitev1.Snapshot) { s.Tokens = nil }),
		"a trust version is":    change(func(s *sitev1.Snapshot) { s.Trust = nil }),
		"the index is another":  change(func(s *sitev1.Snapshot) { s.Index++ }),
		"the epoch is another":  change(func(s *sitev1.Snapshot) { s.SiteEpoch++ }),
		"the next ID is":        change(func(s *sitev1.Snapshot) { s.NextRaftId-- }),
		"an event is missing":   change(func(s *sitev1.Snapshot) { s.Events = s.Events[1:] }),
		"a workload is another": change(func(s *sitev1.Snapshot) { s.Workloads[0].NextNumber++ }),
		"the gossip key is":     change(func(s *sitev1.Snapshot) { s.GossipKey[3] ^= 1 }),
	} {
		t.Run(name, func(t *testing.T) {
			other := newSite(t, 1)
			before := other.objects()
			if err := other.store.Restore(damaged); err == nil {
				t.Error("it was restored")
			}
			if string(before) != string(other.objects()) {
				t.Error("the state before it is gone")
			}
		})
	}
}

func TestSiteIsMadeOnce(t *testing.T) {
	s := newSite(t, 1)
	again := &sitev1.InitSite{Name: "other", GossipKey: make([]byte, gossipKeyBytes)}
	s.refused("conflict", &sitev1.Entry{Change: &sitev1.Entry_InitSite{InitSite: again}})
	empty := &site{t: t, store: New()}
	empty.refused("conflict", applyEntry(testWorkload("web", 1)))
	empty.refused("invalid", &sitev1.Entry{Change: &sitev1.Entry_InitSite{InitSite: again}})
}
