package lifecycle

import (
	"slices"
	"strings"
	"testing"
	"time"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestALostNodeIsReplacedAndTheLongestRunningOneIsKeptWhenItReturns(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("web", 2))
	s.pass(3 * time.Second)
	s.want("web-1 on n1", "web-2 on n2")
	s.nodes["n2"].cut = true
	s.pass(700 * time.Millisecond)
	s.want("web-1 on n1", "web-2 on n2")
	s.pass(time.Second)
	s.want("web-1 on n1", "web-2 on n2, lost, replaced by web-3", "web-3 on n3")
	s.nodes["n2"].cut = false
	s.pass(time.Second)
	s.want("web-1 on n1", "web-2 on n2", "web-3 on n3") // it waits for the truth
	s.pass(2 * time.Second)
	s.want("web-1 on n1", "web-2 on n2")
}

func TestAnUnhealthyOneThatReturnsIsSurplus(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("web", 2))
	s.pass(3 * time.Second)
	s.nodes["n2"].off = true
	s.pass(3 * time.Second)
	s.nodes["n2"].off, s.nodes["n2"].sick = false, true
	s.pass(4 * time.Second)
	s.want("web-1 on n1", "web-3 on n3")
}

func TestNothingIsReplacedBeforeReplaceAfter(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("web", 2, replaceAfter("10s")))
	s.pass(3 * time.Second)
	s.nodes["n2"].cut = true
	s.pass(10 * time.Second)
	s.want("web-1 on n1", "web-2 on n2, lost")
	s.pass(2 * time.Second)
	s.want("web-1 on n1", "web-2 on n2, lost, replaced by web-3", "web-3 on n3")
}

func TestANewCoordinatorRemembersSinceWhenANodeIsLost(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("web", 2, replaceAfter("10s")))
	s.pass(3 * time.Second)
	s.nodes["n2"].cut = true
	s.pass(8 * time.Second)
	s.newTerm()
	s.pass(2 * time.Second)
	s.want("web-1 on n1", "web-2 on n2, lost")
	s.pass(2 * time.Second)
	s.want("web-1 on n1", "web-2 on n2, lost, replaced by web-3", "web-3 on n3")
}

func TestWhatStaysIsNeverReplaced(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("db", 2, stays))
	s.pass(3 * time.Second)
	s.nodes["n2"].off = true
	s.pass(5 * time.Minute)
	s.want("db-1 on n1", "db-2 on n2, lost")
	s.nodes["n2"].off = false
	s.pass(3 * time.Second)
	s.want("db-1 on n1", "db-2 on n2")
}

func TestScalingDownEndsWhatIsNotHealthyFirst(t *testing.T) {
	s := newSite(t, 3)
	s.nodes["n1"].sick = true
	s.applyWorkload(testWorkload("web", 3))
	s.pass(3 * time.Second)
	s.applyWorkload(testWorkload("web", 1))
	s.pass(time.Second)
	s.want("web-2 on n2")
	s.applyWorkload(testWorkload("web", 0))
	s.pass(time.Second)
	s.want()
}

func TestARollingUpdateGoesOneByOneAndWaitsUntilItIsHealthy(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("web", 3))
	s.pass(3 * time.Second)
	s.applyWorkload(testWorkload("web", 3, args("new")))
	fewest := 3
	s.check = func() { fewest = min(fewest, s.healthy("web")) }
	for range 20 {
		s.pass(s.tick)
	}
	s.check = func() {}
	if fewest != 2 {
		t.Errorf("down to %d were healthy, want 2", fewest)
	}
	s.want("web-4 on n1", "web-5 on n2", "web-6 on n3")
}

func TestScalingDownDuringAnUpdateEndsTheOldOnesFirst(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("web", 3))
	s.pass(3 * time.Second)
	for _, node := range s.nodes {
		node.sickOf = "new"
	}
	s.applyWorkload(testWorkload("web", 3, args("new")))
	s.pass(time.Second)
	s.want("web-2 on n2", "web-3 on n3", "web-4 on n1")
	s.applyWorkload(testWorkload("web", 1, args("new")))
	s.pass(time.Second)
	s.want("web-4 on n1")
}

func TestAnUpdateThatIsNotHealthyStops(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("web", 3))
	s.pass(3 * time.Second)
	for _, node := range s.nodes {
		node.sickOf = "broken"
	}
	s.applyWorkload(testWorkload("web", 3, args("broken")))
	s.pass(5 * time.Second)
	s.want("web-2 on n2", "web-3 on n3", "web-4 on n1")
	// The next one mends it.
	s.applyWorkload(testWorkload("web", 3, args("mended")))
	s.pass(5 * time.Second)
	if s.healthy("web") != 3 {
		t.Errorf("it was not mended:\n%s", s.describe())
	}
}

func TestRecreateStartsNothingBeforeAllOldOnesAreGone(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("web", 3, recreates))
	s.pass(3 * time.Second)
	s.nodes["n3"].deaf = true
	s.applyWorkload(testWorkload("web", 3, recreates, args("new")))
	s.pass(time.Second)
	const waits = " pending: all are replaced at once: it waits until the old ones are gone"
	s.want("web-3 on n3, stops", "web-4"+waits, "web-5"+waits, "web-6"+waits)
	s.nodes["n3"].deaf = false
	s.pass(time.Second)
	s.want("web-4 on n1", "web-5 on n2", "web-6 on n3")
}

// Of two old ones on lost nodes one is back while the update is paused: the other one
// gets no successor, which could not start beside it.
func TestAPausedRecreateStartsNothingForWhatIsLost(t *testing.T) {
	s := newSite(t, 4)
	s.applyWorkload(testWorkload("web", 3, recreates))
	s.pass(3 * time.Second)
	s.nodes["n2"].off, s.nodes["n3"].off = true, true
	s.pass(8 * time.Second)
	s.applyWorkload(testWorkload("web", 4, recreates, args("new")))
	s.pass(3 * time.Second)
	s.steer(skerryv1.SteerAction_STEER_ACTION_PAUSE)
	before := s.view().PlacementsOf("default", "web")
	s.nodes["n2"].off = false
	s.pass(2 * time.Minute)
	for _, p := range s.view().PlacementsOf("default", "web") {
		if !slices.ContainsFunc(before, func(old *skerryv1.Placement) bool { return old.GetName() == p.GetName() }) {
			t.Errorf("%s was made meanwhile:\n%s", p.GetName(), s.describe())
		}
	}
}

// TestAPausedRecreateThatGrowsGetsNothingNew, and all of it when it goes on.
func TestAPausedRecreateThatGrowsGetsNothingNew(t *testing.T) {
	s := newSite(t, 4)
	s.applyWorkload(testWorkload("web", 2, recreates))
	s.pass(3 * time.Second)
	s.applyWorkload(testWorkload("web", 3, recreates, args("new")))
	s.steer(skerryv1.SteerAction_STEER_ACTION_PAUSE)
	before := s.view().PlacementsOf("default", "web")
	s.applyWorkload(testWorkload("web", 4, recreates, args("new")))
	s.pass(time.Minute)
	newest := s.view().Workload("default", "web").GetGeneration()
	for _, p := range s.view().PlacementsOf("default", "web") {
		known := slices.ContainsFunc(before, func(old *skerryv1.Placement) bool { return old.GetName() == p.GetName() })
		if !known && p.GetGeneration() == newest {
			t.Errorf("%s was made while it was paused:\n%s", p.GetName(), s.describe())
		}
	}
	s.steer(skerryv1.SteerAction_STEER_ACTION_RESUME)
	s.pass(time.Minute)
	running := 0
	for _, p := range s.view().PlacementsOf("default", "web") {
		if p.GetGeneration() == newest && p.GetNode() != "" {
			running++
		}
	}
	if running != 4 {
		t.Errorf("%d of 4 run:\n%s", running, s.describe())
	}
}

// Made anew under its name, it counts its generations from the beginning.
func TestWhatIsRecreatedWaitsForWhatBoreItsNameBefore(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(testWorkload("web", 1, recreates))
	s.pass(3 * time.Second)
	s.nodes["n1"].deaf = true
	s.delete("Workload", "web")
	s.applyWorkload(testWorkload("web", 1, recreates, args("another")))
	s.pass(time.Second)
	s.want("web-1 on n1, stops", "web-2 pending: all are replaced at once: it waits until the old ones are gone")
	s.nodes["n1"].deaf = false
	s.pass(time.Second)
	s.want("web-2 on n1")
}

func TestWhatStaysIsUpdatedOnItsNode(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("db", 1, stays))
	s.pass(3 * time.Second)
	s.nodes["n1"].deaf = true
	s.applyWorkload(testWorkload("db", 1, stays, args("new")))
	s.pass(time.Second)
	s.want("db-1 on n1, stops, replaced by db-2",
		"db-2 pending: its predecessor may still run on its node: it waits until that is gone")
	s.nodes["n1"].deaf = false
	s.pass(time.Second)
	s.want("db-2 on n1")
}

func TestNothingIsSurplusWhileANodeIsInDoubt(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("web", 3))
	s.pass(3 * time.Second)
	s.delete("Placement", "web-1") // the one on n1 is the youngest now
	s.pass(time.Second)
	s.nodes["n2"].off = true
	s.pass(850 * time.Millisecond)
	s.applyWorkload(testWorkload("web", 1))
	s.pass(3 * time.Second)
	s.want("web-2 on n2, stops, lost", "web-3 on n3")
}

func TestOneThatStartsIsKeptBeforeALostOne(t *testing.T) {
	s := newSite(t, 3)
	s.nodes["n3"].sick = true
	s.applyWorkload(testWorkload("web", 3, replaceAfter("1h")))
	s.pass(3 * time.Second)
	s.nodes["n2"].off = true
	s.pass(3 * time.Second)
	s.applyWorkload(testWorkload("web", 2, replaceAfter("1h")))
	s.pass(time.Second)
	s.want("web-1 on n1", "web-2 on n2, stops, lost", "web-3 on n3")
}

func TestWhatNeverWorkedIsUpdatedStepByStepToo(t *testing.T) {
	s := newSite(t, 3)
	for _, node := range s.nodes {
		node.sick = true
	}
	s.applyWorkload(testWorkload("web", 3))
	s.pass(3 * time.Second)
	s.applyWorkload(testWorkload("web", 3, args("new")))
	s.pass(3 * time.Second)
	s.want("web-2 on n2", "web-3 on n3", "web-4 on n1")
}

func TestAWorkloadThatIsMadeAnewIsNotBoundToTheOldNode(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(testWorkload("db", 1, stays))
	s.pass(3 * time.Second)
	s.nodes["n1"].deaf = true
	s.delete("Workload", "db")
	s.pass(time.Second)
	s.applyWorkload(testWorkload("db", 1, stays))
	s.pass(time.Second)
	s.want("db-1 on n1, stops") // it may still run
	s.nodes["n1"].deaf = false
	s.pass(time.Second)
	s.want("db-2 on n1")
}

func TestAFullSiteGetsNoMorePlacements(t *testing.T) {
	s := newSite(t, 1)
	s.applyWorkload(testWorkload("web", 3))
	p := &planner{step: &step{Core: s.core, view: s.view()}, plan: &sitev1.Plan{}, existing: maxPlacements - 2}
	p.planWorkload(s.view().Workload("default", "web"))
	if got := len(p.plan.GetCreate()); got != 2 {
		t.Errorf("%d placements are created, the site has room for 2", got)
	}
}

func TestADeletedPlacementGetsAnother(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(testWorkload("web", 2))
	s.pass(3 * time.Second)
	s.delete("Placement", "web-1")
	s.pass(time.Second)
	s.want("web-2 on n2", "web-3 on n1")
}

func TestADeletedWorkloadLeavesNothing(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(testWorkload("web", 2))
	s.pass(3 * time.Second)
	s.delete("Workload", "web")
	s.pass(time.Second)
	s.want()
}

func TestASuccessorOfANodeThatWasRemovedGoesElsewhere(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(testWorkload("db", 1, stays, func(w *skerryv1.Workload) {
		w.Place = &skerryv1.Place{Require: []*skerryv1.Requirement{{Label: "zone", In: []string{"z2"}}}}
	}))
	s.pass(3 * time.Second)
	s.want("db-1 on n2")
	s.nodes["n2"].deaf = true
	s.applyWorkload(testWorkload("db", 1, stays, args("new"), func(w *skerryv1.Workload) {
		w.Place = &skerryv1.Place{Require: []*skerryv1.Requirement{{Label: "zone", In: []string{"z2"}}}}
	}))
	s.pass(time.Second)
	s.nodes["n2"].off = true
	s.pass(3 * time.Second)
	s.applyWorkload(testWorkload("db", 1, stays, args("new")))
	if got := s.delete("Node", "n2"); got.GetErrorKind() != "" {
		t.Fatalf("n2 cannot be removed: %v", got)
	}
	s.pass(time.Second)
	s.want("db-3 on n1")
}

func TestASuccessorMayBeSentElsewhere(t *testing.T) {
	in := func(zone string) func(*skerryv1.Workload) {
		return func(w *skerryv1.Workload) {
			w.Place = &skerryv1.Place{Require: []*skerryv1.Requirement{{Label: "zone", In: []string{zone}}}}
		}
	}
	s := newSite(t, 2)
	s.applyWorkload(testWorkload("db", 1, stays, in("z2")))
	s.pass(3 * time.Second)
	s.nodes["n2"].deaf = true
	s.applyWorkload(testWorkload("db", 1, stays, in("z2"), args("new")))
	s.pass(time.Second)
	s.applyWorkload(testWorkload("db", 1, stays, in("z1"), args("new")))
	s.pass(time.Second)
	s.want("db-1 on n2, stops, replaced by db-2")
	s.nodes["n2"].deaf = false
	s.pass(time.Second)
	s.want("db-3 on n1")
}

func TestNoReasonIsGivenWhileANodeIsInDoubt(t *testing.T) {
	s := newSite(t, 2)
	s.pass(3 * time.Second)
	s.nodes["n2"].cut = true
	s.pass(850 * time.Millisecond)
	s.applyWorkload(testWorkload("web", 1, func(w *skerryv1.Workload) {
		w.Place = &skerryv1.Place{Require: []*skerryv1.Requirement{{Label: "name", In: []string{"n2"}}}}
	}))
	s.pass(s.tick)
	s.want("web-1 pending: ")
	s.pass(time.Second)
	s.want("web-1 pending: no node fits: 1 node lost, 1 node without the required labels")
}

func TestNothingIsStartedOnANodeInDoubt(t *testing.T) {
	s := newSite(t, 2)
	s.pass(3 * time.Second)
	s.nodes["n2"].cut = true
	s.pass(850 * time.Millisecond)
	s.applyWorkload(testWorkload("web", 2))
	s.pass(s.tick)
	s.want("web-1 on n1", "web-2 on n1")
}

func TestAPendingPlacementSaysWhy(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(testWorkload("big", 1, func(w *skerryv1.Workload) {
		w.Container.Resources = &skerryv1.Resources{Cpu: "2", Memory: "64Mi"}
	}))
	s.pass(time.Second)
	s.want("big-1 pending: no node fits: 2 nodes without 2000m CPU free")
	before := s.index
	s.pass(5 * time.Second)
	if s.index != before {
		t.Errorf("%d entries while nothing happened", s.index-before)
	}
}

func (s *site) healthy(workload string) int {
	healthy := 0
	for _, p := range s.view().PlacementsOf("default", workload) {
		if p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && p.GetLostSince() == nil &&
			p.GetStatus().GetPhase() == skerryv1.Phase_PHASE_RUNNING {
			healthy++
		}
	}
	return healthy
}

func TestReasonsAreForPeople(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("web", 2))
	s.pass(3 * time.Second)
	s.nodes["n2"].cut = true
	s.pass(3 * time.Second)
	s.nodes["n2"].cut = false
	s.pass(3 * time.Second)
	var told []string
	for _, e := range s.view().Events(0, 0) {
		if e.GetReason() == "NodeLost" || e.GetReason() == "NodeReturned" || e.GetReason() == "PlacementRemoved" {
			told = append(told, e.GetName()+": "+e.GetMessage())
		}
	}
	got, want := strings.Join(told, "\n"), `n2: nothing was heard of it for 1.4s, and it did not answer 2 direct calls
n2: it is heard again, after 1.7s
web-3: there are 3 placements, and 2 are asked for`
	if got != want {
		t.Errorf("told\n%s\nwant\n%s", got, want)
	}
}

func TestANewWorkloadGetsItsNodesInOnePlan(t *testing.T) {
	for name, c := range map[string]struct {
		change []func(*skerryv1.Workload)
		plans  int
	}{
		"replicas":                             {nil, 1},
		"what stays gets them in the next one": {[]func(*skerryv1.Workload){stays}, 2},
		"so does what is replaced all at once": {[]func(*skerryv1.Workload){recreates}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, 3)
			s.settle()
			plans := 0
			s.planned = func(_ *state.View, plan *sitev1.Plan) {
				plans++
				for i, part := range plan.GetCreate() {
					if by := part.GetExplainedBy(); int(by) > i {
						t.Errorf("creation %d is explained by creation %d, which comes later", i+1, by)
					}
				}
			}
			s.applyWorkload(testWorkload("web", 5, c.change...))
			s.settle()
			if plans != c.plans {
				t.Errorf("%d plans, want %d", plans, c.plans)
			}
			for _, p := range s.view().PlacementsOf("default", "web") {
				if p.GetNode() == "" || strings.HasPrefix(p.GetDecision().GetExplainedBy(), "+") {
					t.Errorf("%s is on %q, explained by %q", p.GetName(), p.GetNode(), p.GetDecision().GetExplainedBy())
				}
			}
		})
	}
}

func TestTheSameWorkloadMadeAnewDoesNotWait(t *testing.T) {
	s := newSite(t, 1)
	for range 3 {
		s.applyWorkload(testWorkload("web", 1))
		s.step()
		if len(s.view().PlacementsOn("n1")) != 1 {
			t.Fatal("it got no node at once")
		}
		s.delete("Workload", "web")
		s.nodes["n1"].running = map[string]bool{}
		s.report()
		s.settle()
	}
}
