package lifecycle

import (
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	inService   = skerryv1.Duty_DUTY_UNSPECIFIED
	cordoned    = skerryv1.Duty_DUTY_CORDONED
	drained     = skerryv1.Duty_DUTY_DRAINED
	maintenance = skerryv1.Duty_DUTY_MAINTENANCE
)

func (s *site) duty(node string, duty skerryv1.Duty, deadline ...time.Duration) *sitev1.Outcome {
	change := &sitev1.ChangeDuty{Node: node, Duty: duty}
	for _, d := range deadline {
		change.Deadline = timestamppb.New(s.wall().Add(d))
	}
	return s.try(&sitev1.Entry{Change: &sitev1.Entry_ChangeDuty{ChangeDuty: change}})
}

// wantDuty of a node, and how its drain ended.
func (s *site) wantDuty(node string, duty skerryv1.Duty, result string) {
	s.t.Helper()
	got := s.view().Node(node).GetDuty()
	if got.GetDuty() != duty || got.GetDrain().GetResult() != result {
		s.t.Errorf("%s is %s, %q; want %s, %q", node, got.GetDuty(), got.GetDrain().GetResult(), duty, result)
	}
}

func (s *site) fewest(workload string) *int {
	fewest := s.healthy(workload)
	s.check = func() { fewest = min(fewest, s.healthy(workload)) }
	return &fewest
}

func minAvailable(text string) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) { w.MinAvailable = text }
}

func asksFor(cpu string) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) { w.Container.Resources.Cpu = cpu }
}

func TestADrainMovesAllAndNothingIsMissingMeanwhile(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("web", 3))
	s.applyWorkload(testWorkload("one", 1, minAvailable("100%")))
	s.pass(3 * time.Second)
	fewest := s.fewest("web")
	s.duty("n1", drained)
	s.step()
	s.want("one-1 on n1, replaced by one-2", "one-2 pending: ", "web-1 on n2", "web-2 on n3", "web-3 on n1, replaced by web-4", "web-4 pending: ")
	s.pass(time.Second)
	s.want("one-2 on n2", "web-1 on n2", "web-2 on n3", "web-4 on n3")
	s.wantDuty("n1", drained, "nothing runs on it any more")
	if *fewest != 3 {
		t.Errorf("down to %d of web were healthy", *fewest)
	}
	s.duty("n1", inService)
	s.pass(5 * time.Second)
	s.want("one-2 on n2", "web-1 on n2", "web-2 on n3", "web-4 on n3")
}

func TestWhatFindsNoRoomIsLeftUntilTheDeadline(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(testWorkload("web", 2, asksFor("900m")))
	s.pass(3 * time.Second)
	s.duty("n1", drained, 10*time.Second)
	s.pass(9 * time.Second)
	s.want("web-1 on n1, replaced by web-3", "web-2 on n2", "web-3 pending: no node fits: 1 node out of service, 1 node without 900m CPU free")
	s.pass(2 * time.Second)
	s.want("web-1 on n1", "web-2 on n2")
	s.wantDuty("n1", cordoned, "it took too long: web-1 is left, and the node gets nothing new")
}

func TestWhatFitsOnlyWhenItIsGoneGoesFirstIfItCanBeSpared(t *testing.T) {
	apart := func(w *skerryv1.Workload) {
		w.Place = &skerryv1.Place{Apart: []*skerryv1.Affinity{{Workload: "web", On: "zone"}}}
	}
	for _, test := range []struct {
		name, least string
		want        []string
	}{
		{"one may be missing", "", []string{"web-2 on n2", "web-3 on n3"}},
		{"none may be missing", "2", []string{"web-1 on n1, replaced by web-3", "web-2 on n2",
			"web-3 pending: no node fits: 1 node out of service, 2 nodes not apart from web"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, 3, "a", "b", "a")
			s.applyWorkload(testWorkload("web", 2, apart, minAvailable(test.least)))
			s.pass(3 * time.Second)
			s.duty("n1", drained)
			s.pass(3 * time.Second)
			s.want(test.want...)
		})
	}
}

// TestTheRoomOfWhatEndsFirstIsNotTakenMeanwhile by what moves the other way
// round, where there is room for one of both.
func TestTheRoomOfWhatEndsFirstIsNotTakenMeanwhile(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(testWorkload("one", 3, asksFor("300m")))
	s.applyWorkload(testWorkload("web", 2, asksFor("100m"), recreates))
	s.pass(3 * time.Second)
	s.duty("n2", drained)
	s.pass(20 * time.Second)
	view := s.view()
	for _, p := range view.PlacementsOf("default", "web") {
		if !state.IsHealthy(p) {
			t.Errorf("%s ended for room that another one has taken: %s", p.GetName(), p.GetDecision().GetSummary())
		}
	}
}

func TestWhatStaysRunsOnUntilMaintenance(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(testWorkload("db", 2, stays))
	s.pass(3 * time.Second)
	s.duty("n2", drained)
	s.pass(time.Second)
	s.want("db-1 on n1", "db-2 on n2")
	s.wantDuty("n2", drained, "what may run elsewhere is gone; db-2 stays there (partition.mode: stay)")
	s.duty("n2", maintenance)
	s.pass(time.Second)
	s.want("db-1 on n1", "db-3 pending: no node fits: 1 node out of service, 1 node without the required labels")
	s.wantDuty("n2", maintenance, "nothing runs on it any more")
	s.nodes["n2"].off = true
	s.pass(5 * time.Second)
	s.nodes["n2"].off = false
	s.pass(5 * time.Second)
	s.want("db-1 on n1", "db-3 pending: no node fits: 1 node out of service, 1 node without the required labels")
	s.duty("n2", inService)
	s.pass(2 * time.Second)
	s.want("db-1 on n1", "db-3 on n2")
}

func TestWhatIsRecreatedEndsBeforeTheNextOneStarts(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(testWorkload("one", 1, recreates))
	s.pass(3 * time.Second)
	s.check = func() {
		if s.healthy("one") > 1 {
			t.Errorf("two of them run:\n%s", s.describe())
		}
	}
	s.duty("n1", drained)
	s.pass(2 * time.Second)
	s.want("one-2 on n2")
}

func TestADrainThatIsTakenBackLeavesWhatIsThere(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(testWorkload("web", 2, asksFor("900m")))
	s.pass(3 * time.Second)
	s.duty("n1", drained)
	s.pass(time.Second)
	s.duty("n1", inService)
	s.pass(time.Second)
	s.want("web-1 on n1", "web-2 on n2")
}

func TestADrainGoesOnUnderANewCoordinatorAndOverALoss(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("web", 3))
	s.pass(3 * time.Second)
	s.nodes["n3"].deaf = true
	s.duty("n3", drained)
	s.pass(time.Second)
	s.want("web-1 on n1", "web-2 on n2", "web-3 on n3, stops, replaced by web-4", "web-4 on n1")
	s.newTerm()
	s.nodes["n3"].off = true
	s.pass(5 * time.Second)
	s.nodes["n3"].off, s.nodes["n3"].deaf = false, false
	s.pass(5 * time.Second)
	s.want("web-1 on n1", "web-2 on n2", "web-4 on n1")
	s.wantDuty("n3", drained, "nothing runs on it any more")
}

func TestADrainedNodeThatReturnsKeepsNothing(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("web", 3))
	s.pass(3 * time.Second)
	s.nodes["n3"].cut = true
	s.pass(3 * time.Second)
	s.duty("n3", drained)
	s.nodes["n3"].cut = false
	s.pass(5 * time.Second)
	s.want("web-1 on n1", "web-2 on n2", "web-4 on n1")
}

func TestTheLastNodeInServiceIsNotDrained(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(testWorkload("web", 2))
	s.pass(3 * time.Second)
	s.duty("n1", drained)
	if got := s.duty("n2", drained); got.GetErrorKind() != "conflict" {
		t.Errorf("got %v", got)
	}
}

func TestADrainedCoordinatorHandsOver(t *testing.T) {
	s := newSite(t, 3)
	s.pass(10 * time.Second)
	if got := s.step().HandOver; len(got) > 0 {
		t.Fatalf("it hands over to %v", got)
	}
	s.duty("n1", drained)
	s.duty("n2", drained)
	s.pass(time.Second)
	if got, want := s.step().HandOver, s.view().Node("n3").GetRaftId(); len(got) != 1 || got[0] != want {
		t.Errorf("it hands over to %v, want %d", got, want)
	}
}

func TestTheLossOfANodeInMaintenanceIsNoFailure(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("web", 3))
	s.pass(3 * time.Second)
	s.duty("n3", maintenance)
	s.pass(2 * time.Second)
	s.nodes["n3"].off, s.nodes["n2"].off = true, true
	s.pass(4 * time.Second)
	if s.waiting != "" {
		t.Errorf("it waits: %s", s.waiting)
	}
	for _, e := range s.view().Events(0, 0) {
		if e.GetReason() == "NodeLost" && e.GetName() == "n3" {
			t.Errorf("an alarm: %s", e.GetMessage())
		}
	}
}

func TestAJobWithoutRoomForAllAttemptsLeavesANodeAllTheSame(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(job(6, 6, asksFor("500m")))
	s.pass(3 * time.Second)
	if got := s.healthy("load"); got != 4 {
		t.Fatalf("%d run:\n%s", got, s.describe())
	}
	s.duty("n2", drained, time.Hour)
	s.pass(10 * time.Second)
	s.wantDuty("n2", drained, "nothing runs on it any more")
	s.wantRun("run 1 is under way: succeeded 0/6")
}

func TestTheEndOfManyDrainsFitsIntoPlans(t *testing.T) {
	s := newSite(t, maxServed+2)
	for n := 2; n <= maxServed+2; n++ {
		s.duty(fmt.Sprintf("n%d", n), drained)
	}
	view := s.view()
	p := &planner{step: &step{Core: s.core, now: s.now, wall: s.wall(), view: view}, plan: &sitev1.Plan{}}
	p.endDrains()
	if got := len(p.plan.GetEndDrains()); got != maxServed {
		t.Errorf("one plan ends %d drains, want %d", got, maxServed)
	}
}
