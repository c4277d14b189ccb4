package lifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"skerry.dev/coordinator/scheduler"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// drifted is what a rebalance would move.
func (s *site) drifted() []*skerryv1.RebalanceMove {
	v := s.view()
	moves, _ := scheduler.Drift(scheduler.Input{
		Policy: v.Policy(), Workloads: v.Workloads(), Nodes: v.Nodes(), Placements: v.Placements(), Images: v.Images(),
	}, func(p *skerryv1.Placement) string {
		return state.WhyNotMoved(v.Workload(p.GetProject(), p.GetWorkload()), p, v.Rollout(p.GetProject(), p.GetWorkload()), v.Node(p.GetNode()))
	})
	var asked []*skerryv1.RebalanceMove
	for _, m := range moves {
		asked = append(asked, &skerryv1.RebalanceMove{
			Project: m.Placement.GetProject(), Placement: m.Placement.GetName(), To: m.To, Why: m.Why,
		})
	}
	return asked
}

// rebalance as an operator asks for it; false when there is nothing to move.
func (s *site) rebalance(deadline time.Duration) bool {
	s.t.Helper()
	moves := s.drifted()
	if len(moves) == 0 {
		return false
	}
	outcome := s.try(&sitev1.Entry{Change: &sitev1.Entry_StartRebalance{
		StartRebalance: &sitev1.StartRebalance{Moves: moves, Deadline: timestamppb.New(s.wall().Add(deadline))},
	}})
	return outcome.GetErrorKind() == ""
}

// crowded is a site of which a node came back when all ran on the others.
func crowded(t testingT, change ...func(*skerryv1.Workload)) *site {
	s := newSite(t, 3)
	s.duty("n3", cordoned)
	s.applyWorkload(testWorkload("web", 6, change...))
	s.pass(3 * time.Second)
	s.duty("n3", inService)
	s.pass(3 * time.Second)
	return s
}

func (s *site) on(node string) int {
	count := 0
	for _, p := range s.view().PlacementsOn(node) {
		if p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN {
			count++
		}
	}
	return count
}

func TestNothingMovesUntilSomebodyAsks(t *testing.T) {
	s := crowded(t)
	s.pass(time.Minute)
	if s.on("n3") != 0 {
		t.Fatalf("it moved by itself:\n%s", s.describe())
	}
	s.rebalance(time.Minute)
	s.pass(10 * time.Second)
	if s.on("n1") != 2 || s.on("n2") != 2 || s.on("n3") != 2 {
		t.Errorf("after the rebalance:\n%s", s.describe())
	}
	r := s.view().Rebalance()
	if r.GetEnded() == nil || r.GetResult() != "2 moved" {
		t.Errorf("the rebalance is %v", r)
	}
	if s.rebalance(time.Minute) {
		t.Errorf("a second one moves %v", s.drifted())
	}
	for _, p := range s.view().PlacementsOn("n3") {
		if why := p.GetDecision().GetSummary(); !strings.HasPrefix(why, "a rebalance moves web-") || !strings.Contains(why, "spread over zone") {
			t.Errorf("%s is there because %q", p.GetName(), why)
		}
	}
}

func TestARebalanceLeavesWhatAWorkloadWasPromised(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*skerryv1.Workload)
		// least that are healthy at any time.
		least int
	}{
		{"the next one comes first", func(*skerryv1.Workload) {}, 6},
		{"all must be healthy", minAvailable("100%"), 6},
		{"two must not run at once", recreates, 5},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := crowded(t, test.change)
			s.check = func() {
				healthy := 0
				for _, p := range s.view().PlacementsOf("default", "web") {
					if state.IsHealthy(p) {
						healthy++
					}
				}
				if healthy < test.least {
					t.Fatalf("%d are healthy:\n%s", healthy, s.describe())
				}
			}
			s.rebalance(time.Minute)
			s.pass(10 * time.Second)
			if s.on("n3") != 2 {
				t.Errorf("after the rebalance:\n%s\n%v", s.describe(), s.view().Rebalance())
			}
		})
	}
}

// Where one is too many and another is to move, both would be missing at once.
func TestARebalanceBeginsWhenWhatIsTooMuchHasEnded(t *testing.T) {
	s := crowded(t, recreates)
	before := 6
	s.check = func() {
		healthy := 0
		for _, p := range s.view().PlacementsOf("default", "web") {
			if state.IsHealthy(p) {
				healthy++
			}
		}
		if healthy < before-1 {
			t.Errorf("%d of %d end at once:\n%s", before-healthy, before, s.describe())
		}
		before = healthy
	}
	moves := s.drifted()
	s.try(&sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: testWorkload("web", 5, recreates)}}},
	}}})
	s.try(&sitev1.Entry{Change: &sitev1.Entry_StartRebalance{
		StartRebalance: &sitev1.StartRebalance{Moves: moves, Deadline: timestamppb.New(s.wall().Add(time.Minute))},
	}})
	s.pass(10 * time.Second)
	if s.on("n1")+s.on("n2")+s.on("n3") != 5 || s.on("n3") == 0 {
		t.Errorf("after the rebalance:\n%s\n%v", s.describe(), s.view().Rebalance())
	}
}

func TestARebalanceGoesOnUnderAnotherCoordinator(t *testing.T) {
	s := crowded(t)
	s.rebalance(time.Minute)
	s.step()
	s.newTerm()
	s.pass(10 * time.Second)
	if s.on("n3") != 2 || s.view().Rebalance().GetEnded() == nil {
		t.Errorf("after the change:\n%s\n%v", s.describe(), s.view().Rebalance())
	}
}

func TestARebalanceThatIsStoppedBeginsNothingMore(t *testing.T) {
	s := crowded(t)
	s.rebalance(time.Minute)
	s.step() // one of two is on its way
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_StopRebalance{StopRebalance: &sitev1.StopRebalance{}}})
	s.pass(10 * time.Second)
	if got := s.view().Rebalance().GetResult(); s.on("n3") != 1 || !strings.HasPrefix(got, "1 moved, 1 left where they are, such as web-") {
		t.Errorf("%q:\n%s", got, s.describe())
	}
}

func TestWhatDoesNotBecomeHealthyIsNotMoved(t *testing.T) {
	s := crowded(t)
	s.nodes["n3"].sick = true
	s.rebalance(20 * time.Second)
	s.pass(30 * time.Second)
	if r := s.view().Rebalance(); s.on("n3") != 0 || s.on("n1")+s.on("n2") != 6 || r.GetEnded() == nil {
		t.Errorf("%v:\n%s", r, s.describe())
	}
}

func TestARebalanceWaitsForNothingThatDoesNotCome(t *testing.T) {
	for _, test := range []struct {
		name string
		do   func(*site)
		want string
	}{
		{"a node that is lost before what has moved from it ended", func(s *site) {
			s.nodes["n2"].deaf = true
			s.pass(5 * time.Second)
			s.nodes["n2"].off = true
		}, "its node was lost meanwhile"},
		{"others that are not healthy any more", func(s *site) {
			s.step()
			s.nodes["n1"].sick = true
		}, "too few others of its workload were healthy before the deadline"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := crowded(t, minAvailable("100%"))
			s.rebalance(20 * time.Second)
			test.do(s)
			s.pass(40 * time.Second)
			r, told := s.view().Rebalance(), false
			for _, m := range r.GetMoves() {
				told = told || m.GetNote() == test.want
			}
			if r.GetEnded() == nil || !told {
				t.Errorf("it goes on, or nobody is told why it did not move: %v\n%s", r, s.describe())
			}
		})
	}
}

func TestWhatARebalanceDoesNotTouch(t *testing.T) {
	for _, test := range []struct {
		name string
		spec func(*skerryv1.Workload)
		do   func(*site)
		want string
	}{
		{"what stays", stays, func(*site) {}, ""},
		{"a node that goes out of service meanwhile", func(*skerryv1.Workload) {}, func(s *site) { s.duty("n3", cordoned) }, "0 moved, 2 left where they are, such as web-"},
		{"a workload that is deleted meanwhile", func(*skerryv1.Workload) {}, func(s *site) { s.delete("Workload", "web") }, "0 moved, 2 left where they are, such as web-"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := crowded(t, test.spec)
			s.rebalance(time.Minute)
			test.do(s)
			s.pass(10 * time.Second)
			if got := s.view().Rebalance().GetResult(); s.on("n3") != 0 || !strings.HasPrefix(got, test.want) {
				t.Errorf("%q:\n%s", got, s.describe())
			}
		})
	}
}

// TestARebalanceComesToItsEnd on any site: nothing that works is missing
// meanwhile, no node is overfull, and a second one moves nothing.
func TestARebalanceComesToItsEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zones := []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(t, "zones")]
		w := &world{site: newSite(t, rapid.IntRange(2, 6).Draw(t, "nodes"), zones...), most: map[string]int{}}
		w.tick = 200 * time.Millisecond
		for i := range rapid.IntRange(1, 4).Draw(t, "workloads") {
			out := rapid.SampledFrom(w.names()).Draw(t, "out")
			w.duty(out, cordoned)
			w.applyWorkload(testWorkload(fmt.Sprintf("w%d", i), uint32(rapid.IntRange(1, 6).Draw(t, "replicas")), func(x *skerryv1.Workload) {
				x.Container.Resources.Cpu = rapid.SampledFrom([]string{"50m", "200m", "400m"}).Draw(t, "cpu")
				x.MinAvailable = rapid.SampledFrom([]string{"", "100%", "50%"}).Draw(t, "min available")
				x.Update = &skerryv1.Update{Strategy: rapid.SampledFrom([]string{"rolling", "recreate"}).Draw(t, "strategy")}
			}))
			w.pass(3 * time.Second)
			w.duty(out, inService)
		}
		w.pass(3 * time.Second)
		w.check, w.planned = w.checkState, w.checkPlan
		// What waits takes the room that a move leaves, and changes what is best.
		waited := strings.Contains(w.describe(), "pending")
		if !w.rebalance(10 * time.Minute) {
			return
		}
		moves := w.view().Rebalance().GetMoves()
		for range 60 {
			if w.pass(2 * time.Second); w.view().Rebalance().GetEnded() != nil {
				break
			}
		}
		w.pass(3 * time.Second)
		if r := w.view().Rebalance(); r.GetEnded() == nil {
			t.Fatalf("it does not end: %v\n%s", r, w.describe())
		}
		if left := w.view().Rebalance().GetMoves(); strings.Contains(w.view().Rebalance().GetResult(), "left") {
			t.Skipf("not all could move: %v", left)
		}
		if again := w.drifted(); len(again) > 0 && !waited {
			t.Fatalf("after %v a second one would move %v\n%s", moves, again, w.describe())
		}
		for _, workload := range w.view().Workloads() {
			if n := countAll(w.view(), workload); n != manifest.Wanted(workload) && !strings.Contains(w.describe(), "pending") {
				t.Fatalf("%s has %d placements:\n%s", workload.GetName(), n, w.describe())
			}
		}
	})
}
