package lifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func updates(u *skerryv1.Update) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) { w.Update = u }
}

// rolled is a site of three nodes on which web runs three good placements; what
// has the argument bad never becomes healthy.
func rolled(t testing.TB, u *skerryv1.Update) *site {
	s := newSite(t, 3)
	for _, node := range s.nodes {
		node.sickOf = "bad"
	}
	s.applyWorkload(testWorkload("web", 3, updates(u)))
	s.pass(5 * time.Second)
	s.wantHistory("1 good")
	return s
}

// long passes in great steps.
func (s *site) long(d time.Duration) {
	s.t.Helper()
	tick := s.tick
	s.tick = 500 * time.Millisecond
	s.pass(d)
	s.tick = tick
}

func (s *site) update(u *skerryv1.Update, arg string) {
	s.t.Helper()
	s.applyWorkload(testWorkload("web", 3, updates(u), args(arg)))
}

func (s *site) steer(action skerryv1.SteerAction) *sitev1.Outcome {
	return s.try(&sitev1.Entry{Change: &sitev1.Entry_SteerRollout{SteerRollout: &sitev1.SteerRollout{
		Project: "default", Workload: "web", Action: action,
	}}})
}

// history of web: generations and what became of them, oldest first.
func (s *site) history() string {
	var told []string
	for _, r := range s.view().Revisions("default", "web") {
		text := fmt.Sprintf("%d %s", r.GetGeneration(), strings.ToLower(strings.TrimPrefix(r.GetState().String(), "REVISION_STATE_")))
		if r.GetRollbackTo() != 0 {
			text += fmt.Sprintf(" like %d", r.GetRollbackTo())
		}
		told = append(told, text)
	}
	return strings.Join(told, ", ")
}

func (s *site) wantHistory(want string) {
	s.t.Helper()
	if got := s.history(); got != want {
		s.t.Fatalf("the history is %q, want %q:\n%s", got, want, s.describe())
	}
}

// serving lists the generations of what serves, and how many there are of each.
func (s *site) serving() string {
	count := map[uint64]int{}
	for _, p := range s.view().PlacementsOf("default", "web") {
		if s.view().Serves(p) {
			count[p.GetGeneration()]++
		}
	}
	return fmt.Sprint(count)
}

func TestABadUpdateIsRolledBackByItselfOnce(t *testing.T) {
	u := &skerryv1.Update{MinHealthy: "1s", Deadline: "10s", AutoRollback: true}
	s := rolled(t, u)
	s.update(u, "bad")
	s.pass(8 * time.Second)
	s.wantHistory("1 good, 2 rolling")
	s.want("web-2 on n2", "web-3 on n3", "web-4 on n1")
	s.pass(4 * time.Second)
	s.wantHistory("1 good, 2 failed, 3 rolling like 1")
	s.pass(5 * time.Second)
	s.wantHistory("1 good, 2 failed, 3 good like 1")
	// What was good all the time goes on.
	s.want("web-2 on n2", "web-3 on n3", "web-5 on n1")
	s.long(time.Hour)
	s.wantHistory("1 good, 2 failed, 3 good like 1")
}

func TestARollbackThatFailsTooStaysWhereItIs(t *testing.T) {
	u := &skerryv1.Update{Deadline: "10s", AutoRollback: true}
	s := rolled(t, u)
	s.update(u, "bad")
	s.pass(3 * time.Second)
	for _, node := range s.nodes {
		node.sick = true
	}
	s.long(5 * time.Minute)
	s.wantHistory("1 good, 2 failed, 3 failed like 1")
}

func TestTheFirstGenerationHasNothingToGoBackTo(t *testing.T) {
	s := newSite(t, 3)
	s.nodes["n2"].sick = true
	s.applyWorkload(testWorkload("web", 3, updates(&skerryv1.Update{Deadline: "5s", AutoRollback: true})))
	s.pass(20 * time.Second)
	s.wantHistory("1 failed")
	s.want("web-1 on n1", "web-2 on n2", "web-3 on n3")
	s.nodes["n2"].sick = false
	s.pass(5 * time.Second)
	s.wantHistory("1 good")
}

func TestANewCoordinatorCountsTheDeadlineAfresh(t *testing.T) {
	u := &skerryv1.Update{Deadline: "10s", AutoRollback: true}
	s := rolled(t, u)
	s.update(u, "bad")
	s.pass(8 * time.Second)
	s.newTerm()
	s.pass(8 * time.Second)
	s.wantHistory("1 good, 2 rolling")
	s.pass(8 * time.Second)
	s.wantHistory("1 good, 2 failed, 3 good like 1")
}

func TestANewPlacementCountsWhenItWasHealthyForLongEnough(t *testing.T) {
	u := &skerryv1.Update{MinHealthy: "4s"}
	s := rolled(t, u)
	s.update(u, "new")
	s.pass(3 * time.Second)
	s.want("web-2 on n2", "web-3 on n3", "web-4 on n1")
	s.pass(2 * time.Second)
	s.want("web-3 on n3", "web-4 on n1", "web-5 on n2")
	s.pass(20 * time.Second)
	s.wantHistory("1 good, 2 good")
}

func TestASurgeComesBeforeAnythingEnds(t *testing.T) {
	u := &skerryv1.Update{MaxSurge: 1}
	s := rolled(t, u)
	s.update(u, "new")
	fewest, most := 3, 3
	s.check = func() {
		fewest, most = min(fewest, s.healthy("web")), max(most, countAll(s.view(), s.view().Workload("default", "web")))
	}
	s.pass(10 * time.Second)
	s.check = func() {}
	s.wantHistory("1 good, 2 good")
	if fewest != 3 || most != 4 {
		t.Errorf("between %d healthy and %d placements, want 3 and 4", fewest, most)
	}
}

func TestACanaryWaitsUntilItIsPromoted(t *testing.T) {
	u := &skerryv1.Update{Strategy: "canary", Canary: 1}
	s := rolled(t, u)
	s.update(u, "new")
	s.long(30 * time.Minute)
	s.want("web-1 on n1", "web-2 on n2", "web-3 on n3", "web-4 on n1")
	s.wantHistory("1 good, 2 rolling")
	// What ends meanwhile is replaced by its like.
	s.delete("Placement", "web-2")
	s.delete("Placement", "web-4")
	s.pass(3 * time.Second)
	if got := s.serving(); got != "map[1:3 2:1]" {
		t.Errorf("by generation %s serve, want three old ones and one new one:\n%s", got, s.describe())
	}
	if outcome := s.steer(skerryv1.SteerAction_STEER_ACTION_PROMOTE); outcome.GetErrorKind() != "" {
		t.Fatalf("it is not promoted: %v", outcome)
	}
	s.pass(10 * time.Second)
	s.wantHistory("1 good, 2 good")
	if got := s.serving(); got != "map[2:3]" {
		t.Errorf("by generation %s serve", got)
	}
}

func TestACanaryIsPromotedAfterAWhile(t *testing.T) {
	u := &skerryv1.Update{Strategy: "canary", Canary: 2, PromoteAfter: "1m"}
	s := rolled(t, u)
	s.update(u, "new")
	s.pass(55 * time.Second)
	if got := s.serving(); got != "map[1:3 2:2]" {
		t.Fatalf("by generation %s serve", got)
	}
	s.pass(20 * time.Second)
	s.wantHistory("1 good, 2 good")
}

// withNode are the placements of the newest template of web that count and have
// a node.
func (s *site) withNode() int {
	count, w := 0, s.view().Workload("default", "web")
	for _, p := range s.view().PlacementsOf("default", "web") {
		if state.Counts(p) && p.GetNode() != "" && p.GetGeneration() == w.GetGeneration() {
			count++
		}
	}
	return count
}

// TestACanaryKeepsToItsShareWhenANodeComesBack, before what was to replace its
// placements has a node.
func TestACanaryKeepsToItsShareWhenANodeComesBack(t *testing.T) {
	u := &skerryv1.Update{Strategy: "canary", Canary: 2}
	s := rolled(t, u)
	s.update(u, "new")
	s.pass(5 * time.Second)
	s.check = func() {
		if got := s.withNode(); got > 2 {
			t.Errorf("%d have a node, and the share is 2:\n%s", got, s.describe())
		}
	}
	s.duty("n1", cordoned)
	s.duty("n3", cordoned)
	s.nodes["n2"].cut = true
	s.pass(5 * time.Second)
	s.nodes["n2"].cut = false
	s.pass(time.Second)
	s.duty("n1", inService)
	s.duty("n3", inService)
	s.pass(10 * time.Second)
	if got := s.serving(); got != "map[1:3 2:2]" {
		t.Errorf("by generation %s serve:\n%s", got, s.describe())
	}
	s.check = func() {}
	s.steer(skerryv1.SteerAction_STEER_ACTION_PROMOTE)
	s.pass(10 * time.Second)
	s.wantHistory("1 good, 2 good")
}

func TestABadCanaryIsNotPromotedAndGoesBack(t *testing.T) {
	u := &skerryv1.Update{Strategy: "canary", Canary: 1, AutoRollback: true, Deadline: "1m"}
	s := rolled(t, u)
	s.update(u, "bad")
	s.pass(30 * time.Second)
	if outcome := s.steer(skerryv1.SteerAction_STEER_ACTION_PROMOTE); outcome.GetErrorKind() != "conflict" {
		t.Errorf("a bad canary is promoted: %v", outcome)
	}
	s.pass(40 * time.Second)
	s.wantHistory("1 good, 2 failed, 3 good like 1")
	s.want("web-1 on n1", "web-2 on n2", "web-3 on n3")
}

func TestAnAbortedCanaryLeavesTheOldOnesAlone(t *testing.T) {
	u := &skerryv1.Update{Strategy: "canary", Canary: 1}
	s := rolled(t, u)
	s.update(u, "new")
	s.pass(5 * time.Second)
	s.steer(skerryv1.SteerAction_STEER_ACTION_ABORT)
	s.pass(5 * time.Second)
	s.wantHistory("1 good, 2 aborted, 3 good like 1")
	s.want("web-1 on n1", "web-2 on n2", "web-3 on n3")
}

func TestOfBlueAndGreenOnlyOneServes(t *testing.T) {
	u := &skerryv1.Update{Strategy: "blue-green", MinHealthy: "2s"}
	s := rolled(t, u)
	s.update(u, "new")
	seen := map[string]bool{}
	s.check = func() { seen[s.serving()] = true }
	s.pass(10 * time.Second)
	s.check = func() {}
	s.wantHistory("1 good, 2 good")
	for serving := range seen {
		if serving != "map[1:3]" && serving != "map[2:3]" {
			t.Errorf("by generation %s served", serving)
		}
	}
	// And back the same way.
	s.try(&sitev1.Entry{Change: &sitev1.Entry_SteerRollout{SteerRollout: &sitev1.SteerRollout{
		Project: "default", Workload: "web", Action: skerryv1.SteerAction_STEER_ACTION_ROLL_BACK,
	}}})
	s.pass(time.Second)
	if got := s.serving(); got != "map[2:3]" {
		t.Errorf("by generation %s serve", got)
	}
	s.pass(10 * time.Second)
	s.wantHistory("1 good, 2 good, 3 good like 1")
}

// wantOneColor is a check: at every moment all that serve have one generation, and
// as many as are asked for serve.
func (s *site) wantOneColor() {
	s.t.Helper()
	count := map[uint64]int{}
	for _, p := range s.view().PlacementsOf("default", "web") {
		if s.view().Serves(p) {
			count[p.GetGeneration()]++
		}
	}
	if len(count) != 1 {
		s.t.Fatalf("by generation %v serve:\n%s", count, s.describe())
	}
	for _, n := range count {
		if n < 3 {
			s.t.Fatalf("by generation %v serve:\n%s", count, s.describe())
		}
	}
}

func TestOneColorServesWhateverComesBetween(t *testing.T) {
	u := &skerryv1.Update{Strategy: "blue-green", PromoteAfter: "manual", MinHealthy: "1s"}
	promote := func(s *site) {
		s.update(u, "new")
		s.pass(3 * time.Second)
		s.steer(skerryv1.SteerAction_STEER_ACTION_PROMOTE)
	}
	for name, c := range map[string]struct {
		between func(s *site)
		want    string
	}{
		"another one is declared just after the first was promoted": {func(s *site) {
			promote(s)
			s.update(u, "newer")
		}, "1 good, 2 good, 3 good"},
		"it is ended just after it was promoted": {func(s *site) {
			promote(s)
			s.steer(skerryv1.SteerAction_STEER_ACTION_ABORT)
		}, "1 good, 2 aborted, 3 good like 1"},
		"another one is declared while one goes back": {func(s *site) {
			promote(s)
			s.steer(skerryv1.SteerAction_STEER_ACTION_ABORT)
			s.pass(time.Second)
			s.update(u, "newer")
		}, "1 good, 2 aborted, 3 replaced like 1, 4 good"},
		"another one is declared, and the old one again": {func(s *site) {
			s.update(u, "new")
			s.pass(time.Second)
			s.update(u, "")
			s.update(u, "newer")
		}, "1 good, 2 replaced, 3 replaced, 4 good"},
	} {
		t.Run(name, func(t *testing.T) {
			s := rolled(t, u)
			s.check = s.wantOneColor
			c.between(s)
			s.wantOneColor()
			s.pass(5 * time.Second)
			s.steer(skerryv1.SteerAction_STEER_ACTION_PROMOTE)
			s.pass(5 * time.Second)
			s.wantHistory(c.want)
		})
	}
}

func TestOfBlueAndGreenThatAreNotProvenOneServes(t *testing.T) {
	u := &skerryv1.Update{Strategy: "blue-green", MinHealthy: "5s", PromoteAfter: "1s"}
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("web", 3, updates(u)))
	s.pass(2 * time.Second)
	s.check = s.wantOneColor
	s.update(u, "new")
	s.pass(time.Minute)
	s.wantHistory("1 replaced, 2 good")
}

func TestWhatComesBackOfBlueServesNoMore(t *testing.T) {
	u := &skerryv1.Update{Strategy: "blue-green", MinHealthy: "1s"}
	s := rolled(t, u)
	s.nodes["n3"].cut = true
	s.pass(5 * time.Second)
	s.update(u, "new")
	s.pass(10 * time.Second)
	s.wantHistory("1 good, 2 good")
	s.check = s.wantOneColor
	s.nodes["n3"].cut = false
	s.pass(10 * time.Second)
}

func TestABadGreenNeverServes(t *testing.T) {
	u := &skerryv1.Update{Strategy: "blue-green", PromoteAfter: "manual", AutoRollback: true, Deadline: "20s"}
	s := rolled(t, u)
	s.nodes["n3"].sickOf = "worse"
	s.update(u, "bad") // one of three becomes healthy
	s.check = func() {
		if got := s.serving(); got != "map[1:3]" && got != "map[3:3]" {
			t.Errorf("by generation %s serve", got)
		}
	}
	s.pass(time.Minute)
	s.wantHistory("1 good, 2 failed, 3 good like 1")
}

func TestAPausedUpdateStaysWhereItIs(t *testing.T) {
	u := &skerryv1.Update{MinHealthy: "2s", Deadline: "10s"}
	s := rolled(t, u)
	s.update(u, "new")
	s.pass(time.Second)
	s.steer(skerryv1.SteerAction_STEER_ACTION_PAUSE)
	s.long(time.Hour)
	s.wantHistory("1 good, 2 rolling")
	s.want("web-2 on n2", "web-3 on n3", "web-4 on n1")
	s.delete("Placement", "web-4")
	s.pass(5 * time.Second)
	if got := s.serving(); got != "map[1:3]" {
		t.Errorf("by generation %s serve, want three old ones", got)
	}
	s.steer(skerryv1.SteerAction_STEER_ACTION_RESUME)
	s.pass(20 * time.Second)
	s.wantHistory("1 good, 2 good")
}

func TestWhatIsLostDuringABadUpdateGetsTheGoodTemplate(t *testing.T) {
	u := &skerryv1.Update{}
	s := rolled(t, u)
	s.update(u, "bad")
	s.pass(3 * time.Second)
	s.want("web-2 on n2", "web-3 on n3", "web-4 on n1")
	s.nodes["n3"].off = true
	s.pass(5 * time.Second)
	if got := s.serving(); got != "map[1:2]" {
		t.Errorf("by generation %s serve, want two old ones:\n%s", got, s.describe())
	}
}

func TestAnUpdateThatNothingCanBeSparedForSaysSo(t *testing.T) {
	u := &skerryv1.Update{Deadline: "5s"}
	s := rolled(t, u)
	s.applyWorkload(testWorkload("web", 3, updates(u), args("new"), func(w *skerryv1.Workload) { w.MinAvailable = "100%" }))
	s.pass(10 * time.Second)
	s.wantHistory("1 good, 2 failed")
	revisions := s.view().Revisions("default", "web")
	if got := revisions[len(revisions)-1].GetMessage(); !strings.Contains(got, "maxSurge makes room") {
		t.Errorf("it says %q", got)
	}
	s.applyWorkload(testWorkload("web", 3, updates(&skerryv1.Update{MaxSurge: 1}), args("new"), func(w *skerryv1.Workload) { w.MinAvailable = "100%" }))
	s.pass(10 * time.Second)
	s.wantHistory("1 good, 2 good")
}

func TestWhatStaysGoesBackOnItsNode(t *testing.T) {
	u := &skerryv1.Update{Deadline: "10s", AutoRollback: true}
	s := newSite(t, 3)
	for _, node := range s.nodes {
		node.sickOf = "bad"
	}
	s.applyWorkload(testWorkload("web", 2, stays, updates(u)))
	s.pass(5 * time.Second)
	s.applyWorkload(testWorkload("web", 2, stays, updates(u), args("bad")))
	s.pass(30 * time.Second)
	s.wantHistory("1 good, 2 failed, 3 good like 1")
	s.want("web-2 on n2", "web-4 on n1")
}

func TestAnUpdateGoesOnWhenItRecovers(t *testing.T) {
	u := &skerryv1.Update{Deadline: "5s"}
	s := rolled(t, u)
	s.update(u, "bad")
	s.pass(time.Minute)
	s.wantHistory("1 good, 2 failed")
	for _, node := range s.nodes {
		node.sickOf = ""
	}
	s.pass(10 * time.Second)
	s.wantHistory("1 good, 2 good")
	if got := state.MayMiss(s.view().Workload("default", "web")); got != 1 {
		t.Errorf("it may miss %d", got)
	}
}

// TestWhateverIsRolledOutEndsWell rolls out good and bad templates in every way:
// never fewer are healthy and never more are there than was promised, and a bad
// one comes back to the good one.
func TestWhateverIsRolledOutEndsWell(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSite(t, 4)
		s.tick = 200 * time.Millisecond
		for _, node := range s.nodes {
			node.sickOf = "bad"
		}
		u := anyUpdate(t, true)
		u.AutoRollback, u.Deadline = true, "5s"
		replicas := rapid.IntRange(1, 6).Draw(t, "replicas")
		apply := func(arg string) {
			s.applyWorkload(testWorkload("web", uint32(replicas), updates(proto.CloneOf(u)), args(arg)))
		}
		apply("good")
		s.pass(10 * time.Second)
		s.check = func() {
			w := s.view().Workload("default", "web")
			if healthy := s.healthy("web"); u.GetStrategy() != "recreate" && healthy < replicas-state.MayMiss(w) {
				t.Fatalf("%d of %d are healthy, %d may be missing:\n%s", healthy, replicas, state.MayMiss(w), s.describe())
			}
			most := replicas + int(u.GetMaxSurge()+u.GetCanary())
			if u.GetStrategy() == "blue-green" {
				most = 2 * replicas
			}
			if has := countAll(s.view(), w); has > most {
				t.Fatalf("there are %d placements, %d at most were promised:\n%s", has, most, s.describe())
			}
		}
		for range rapid.IntRange(1, 3).Draw(t, "updates") {
			arg := rapid.SampledFrom([]string{"bad", "other", "good"}).Draw(t, "template")
			apply(arg)
			s.pass(time.Duration(rapid.IntRange(0, 20).Draw(t, "ticks")) * s.tick)
			if rapid.IntRange(0, 3).Draw(t, "new coordinator") == 0 {
				s.newTerm()
			}
		}
		s.pass(time.Minute)
		w := s.view().Workload("default", "web")
		if rollout := s.view().Rollout("default", "web"); !rollout.Done() || w.GetContainer().GetArgs()[0] == "bad" {
			t.Fatalf("it ends with %v: %s\n%s", w.GetContainer().GetArgs(), s.history(), s.describe())
		}
		if got := s.healthy("web"); got != replicas || countAll(s.view(), w) != replicas {
			t.Fatalf("%d of %d are healthy:\n%s", got, replicas, s.describe())
		}
	})
}

func TestAThirdColourLeavesTheSecondInTheDark(t *testing.T) {
	u := &skerryv1.Update{Strategy: "blue-green", PromoteAfter: "manual"}
	s := rolled(t, u)
	s.update(u, "second")
	s.pass(5 * time.Second)
	s.check = func() {
		if got := s.serving(); got != "map[1:3]" {
			t.Errorf("by generation %s serve", got)
		}
	}
	s.update(u, "third")
	s.check()
	s.pass(5 * time.Second)
	s.wantHistory("1 good, 2 replaced, 3 rolling")
}
