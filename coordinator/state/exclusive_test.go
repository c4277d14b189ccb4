package state

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

func exclusive(w *skerryv1.Workload) {
	w.Partition = &skerryv1.Partition{Mode: manifest.Exclusive, Lease: "5s"}
}

func lapses(placement string) *sitev1.Plan {
	return &sitev1.Plan{Lapse: []*sitev1.LeaseLapse{{Project: "default", Placement: placement}}}
}

// TestWhatIsExclusiveWaitsForItsLease: nothing takes the place of web-1 on n2
// before the log says that its lease has ended, or that nothing of it is left.
func TestWhatIsExclusiveWaitsForItsLease(t *testing.T) {
	other := func(w *skerryv1.Workload) { w.Container.Command = []string{"other"} }
	lost := func(s *site) { s.setState("n2", skerryv1.NodeState_NODE_STATE_LOST) }
	again := func(s *site, change ...func(*skerryv1.Workload)) {
		s.ok(deleteEntry("Workload", "web"))
		s.ok(applyEntry(testWorkload("web", 1, change...)))
	}
	for _, test := range []struct {
		name  string
		event func(*site)
	}{
		{"its node is lost", lost},
		{"its node is lost and comes back", func(s *site) { lost(s); s.setState("n2", skerryv1.NodeState_NODE_STATE_READY) }},
		{"its node is evicted", func(s *site) { lost(s); s.ok(evict("n2", false)) }},
		{"it is deleted", func(s *site) { s.ok(deleteEntry("Placement", "web-1")) }},
		{"it is deleted on a node that is lost", func(s *site) { lost(s); s.ok(deleteEntry("Placement", "web-1")) }},
		{"its workload is deleted and made again", func(s *site) { again(s, exclusive) }},
		{"its workload is made again while its node is lost", func(s *site) { lost(s); again(s, exclusive) }},
		{"its workload is made again as any other", func(s *site) { lost(s); again(s) }},
		{"it is updated", func(s *site) { s.ok(applyEntry(testWorkload("web", 1, exclusive, other))) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := withWork(t, exclusive)
			s.report("n2", "web-1", running, false)
			test.event(s)
			s.tryEverything()
			if held := s.bound("web"); len(held) != 1 || held[0] != "web-1 on n2" {
				t.Fatalf("it runs as %v", held)
			}
			s.want(0, lapses("web-1"))
			s.want(1, lapses("web-1"))
			s.tryEverything()
			running := 0
			for _, p := range s.store.View().PlacementsOf("default", "web") {
				if p.GetNode() != "" && p.GetLapsed() == nil {
					running++
				}
			}
			if running != 1 {
				t.Errorf("after its lease has ended %d run: %v", running, s.bound("web"))
			}
		})
	}
}

// TestWhatItsNodeLetGoIsReplaced: a node that stopped something because its lease
// had ended says so.
func TestWhatItsNodeLetGoIsReplaced(t *testing.T) {
	s := withWork(t, exclusive)
	s.report("n2", "web-1", running, false)
	batch := func(gone bool) *sitev1.Entry {
		return &sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{{
			Node: "n2", Placements: []*sitev1.PlacementReport{{Project: "default", Placement: "web-1", Lapsed: true, Gone: gone}},
		}}}}}
	}
	s.ok(batch(false))
	if p := s.store.View().Placement("default", "web-1"); p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_STOP || p.GetLapsed() != nil {
		t.Errorf("it is %v", p)
	}
	s.tryEverything()
	if held := s.bound("web"); len(held) != 1 {
		t.Fatalf("before it is gone it runs as %v", held)
	}
	s.ok(batch(true))
	s.tryEverything()
	if held := s.bound("web"); len(held) != 1 || held[0] == "web-1 on n2" {
		t.Errorf("after it is gone it runs as %v", held)
	}
	// What is not exclusive has no lease that could end.
	s = withWork(t)
	s.report("n2", "web-1", running, false)
	s.ok(batch(true))
	if s.store.View().Placement("default", "web-1").GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
		t.Error("a node ended what has no lease")
	}
}

// TestLeaseOfWhatRunsStays: both sides must mean the same by it.
func TestLeaseOfWhatRunsStays(t *testing.T) {
	longer := func(w *skerryv1.Workload) { exclusive(w); w.Partition.Lease = "10s" }
	for _, test := range []struct {
		name     string
		from, to func(*skerryv1.Workload)
	}{
		{"it becomes exclusive", func(*skerryv1.Workload) {}, exclusive},
		{"it is exclusive no more", exclusive, func(*skerryv1.Workload) {}},
		{"it gets another lease", exclusive, longer},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := withWork(t, test.from)
			s.report("n2", "web-1", running, false)
			s.refused("conflict", applyEntry(testWorkload("web", 1, test.to)))
			s.ok(applyEntry(testWorkload("web", 0, test.from)))
			s.ok(deleteEntry("Placement", "web-1"))
			s.refused("conflict", applyEntry(testWorkload("web", 1, test.to)))
			s.report("n2", "web-1", nil, true)
			s.ok(applyEntry(testWorkload("web", 1, test.to)))
		})
	}
	s := newSite(t, 1)
	for _, wrong := range []func(*skerryv1.Workload){
		func(w *skerryv1.Workload) { exclusive(w); w.Partition.Lease = "4s" },
		func(w *skerryv1.Workload) { exclusive(w); w.Partition.Lease = "soon" },
		func(w *skerryv1.Workload) { exclusive(w); w.Update = &skerryv1.Update{MaxSurge: 1} },
	} {
		s.refused("invalid", applyEntry(testWorkload("web", 1, wrong)))
	}
	s.refused("invalid", applyEntry(testWorkload("web", 2, exclusive)))
}
