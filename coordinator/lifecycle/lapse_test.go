package lifecycle

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"skerry.dev/coordinator/leases"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

func exclusive(lease string) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) {
		w.Partition = &skerryv1.Partition{Mode: manifest.Exclusive, Lease: lease}
	}
}

// withDB has db, exclusive, on n2 of three nodes; the coordinator grants leases.
func withDB(t *testing.T, change ...func(*skerryv1.Workload)) (*site, *leases.Table) {
	t.Helper()
	s := newSite(t, 3)
	table := leases.New(1, s.now)
	s.core.KnowLeases(table)
	s.duty("n1", skerryv1.Duty_DUTY_CORDONED)
	s.duty("n3", skerryv1.Duty_DUTY_CORDONED)
	s.applyWorkload(testWorkload("db", 1, append(change, exclusive("5s"))...))
	s.pass(time.Second)
	s.want("db-1 on n2")
	s.duty("n3", skerryv1.Duty_DUTY_UNSPECIFIED)
	s.pass(time.Minute)
	return s, table
}

// grant n2 its lease.
func (s *site) grant(table *leases.Table) {
	s.t.Helper()
	p := s.view().Placement("default", "db-1")
	answer := table.Answer(s.view(), "n2", []*sitev1.LeaseAsk{{Project: "default", Placement: p.GetName(), Lease: durationpb.New(5 * time.Second)}}, s.now, s.now).GetAnswers()[0]
	if !answer.GetGranted() {
		s.t.Fatalf("no lease is granted: %s", answer.GetRefused())
	}
}

func TestWhatIsExclusiveIsReplacedWhenItsLeaseHasEnded(t *testing.T) {
	s, table := withDB(t)
	s.grant(table)
	granted := s.now
	s.nodes["n2"].cut = true
	s.pass(4900 * time.Millisecond)
	s.want("db-1 on n2, lost")
	s.pass(granted + 5050*time.Millisecond - s.now) // with the bound for drift
	s.pass(200 * time.Millisecond)
	s.want("db-1 on n2, stops, lost", "db-2 on n3")
	if left, mine := table.Left("default", "db-2", 5*time.Second, s.now); left != 0 || mine {
		t.Errorf("db-2, which nobody asked for, has a lease of %s", left)
	}
	// The node comes back: its copy is long gone, and it says so.
	s.nodes["n2"].cut = false
	s.pass(10 * time.Second)
	s.want("db-2 on n3")
}

func TestLeaseThatGoesOnIsNotReplaced(t *testing.T) {
	s, table := withDB(t)
	s.nodes["n2"].cut = true // but for its requests
	for range 10 {
		s.grant(table)
		s.pass(2 * time.Second)
	}
	s.want("db-1 on n2, lost")
}

func TestNewCoordinatorWaitsForLeasesThatItDidNotGrant(t *testing.T) {
	s, table := withDB(t)
	s.grant(table)
	s.nodes["n2"].cut = true
	s.pass(2 * time.Second)
	s.newTerm()
	s.core.KnowLeases(leases.New(2, s.now))
	began := s.now
	s.pass(5 * time.Second)
	s.want("db-1 on n2, lost")
	s.pass(began + 5300*time.Millisecond - s.now)
	s.want("db-1 on n2, stops, lost", "db-2 on n3")
}

func TestReleaseAllowsAnotherAtOnce(t *testing.T) {
	s, table := withDB(t)
	s.grant(table)
	s.delete("Placement", "db-1")
	s.pass(500 * time.Millisecond)
	if p := s.view().Placement("default", "db-2"); p.GetNode() == "" {
		t.Errorf("after its release:\n%s", s.describe())
	}
}

func TestDrainStopsWhatIsExclusiveFirst(t *testing.T) {
	s, table := withDB(t)
	s.grant(table)
	s.nodes["n2"].deaf = true
	s.duty("n2", skerryv1.Duty_DUTY_DRAINED)
	s.pass(10 * time.Second)
	s.want("db-1 on n2, stops")
	s.nodes["n2"].deaf = false
	s.pass(time.Second)
	s.want("db-2 on n3")
}

func TestUpdateStopsWhatIsExclusiveFirst(t *testing.T) {
	s, table := withDB(t)
	s.grant(table)
	s.nodes["n2"].deaf = true
	s.applyWorkload(testWorkload("db", 1, exclusive("5s"), args("2")))
	s.pass(10 * time.Second)
	s.want("db-1 on n2, stops")
	s.nodes["n2"].deaf = false
	s.pass(time.Second)
	if all := s.view().PlacementsOf("default", "db"); len(all) != 1 || all[0].GetName() != "db-2" || all[0].GetNode() == "" {
		t.Errorf("after it was stopped:\n%s", s.describe())
	}
}

func TestWhatIsExclusiveOnAnEvictedNodeWaitsForItsLease(t *testing.T) {
	s, table := withDB(t)
	s.grant(table)
	s.nodes["n2"].off = true
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_EvictNode{EvictNode: &sitev1.EvictNode{Node: "n2"}}})
	s.pass(4 * time.Second)
	s.want("db-1 on n2, lost")
	s.pass(2 * time.Second)
	s.want("db-2 on n3")
}

// TestLapseIsToldAgain: the log did not take it, and meanwhile the node is back.
func TestLapseIsToldAgain(t *testing.T) {
	s, table := withDB(t)
	if wait := table.Lapse("default", "db-1", 5*time.Second, s.now); wait != 0 {
		t.Fatalf("nobody holds a lease, and yet it waits %s", wait)
	}
	s.pass(time.Second)
	if p := s.view().Placement("default", "db-2"); p.GetNode() == "" {
		t.Errorf("nothing takes its place:\n%s", s.describe())
	}
}
