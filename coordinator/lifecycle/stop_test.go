package lifecycle

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func (s *site) stopSite(deadline time.Duration) {
	s.t.Helper()
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_StopSite{StopSite: &sitev1.StopSite{
		Deadline: timestamppb.New(s.wall().Add(deadline)), Known: slices.Sorted(maps.Keys(s.nodes)),
	}}})
}

func (s *site) startSite() {
	s.t.Helper()
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_StartSite{StartSite: &sitev1.StartSite{}}})
}

// boot says of nodes that their machines were switched on, for which time.
func (s *site) boot(run string, nodes ...string) {
	s.t.Helper()
	batch := &sitev1.StatusBatch{}
	for _, name := range nodes {
		n := s.view().Node(name)
		batch.Reports = append(batch.Reports, &sitev1.NodeReport{Node: name, Facts: &sitev1.NodeFacts{
			Address: n.GetAddress(), Capacity: n.GetCapacity(), Run: name + run,
			Images: []string{testDigest("web1")},
		}})
	}
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: batch}})
}

func (s *site) wantStopped(want bool) {
	s.t.Helper()
	if got := s.view().Stop().GetStopped() != nil; got != want {
		s.t.Errorf("the site is stopped: %t, want %t:\n%s", got, want, s.describe())
	}
}

func TestASiteIsStoppedInOrderAndStartedInOrder(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("db", 1, stays))
	s.applyWorkload(testWorkload("app", 2, after("db")))
	s.applyWorkload(testWorkload("web", 2, after("app")))
	s.pass(3 * time.Second)
	where := s.view().Placement("default", "db-1").GetNode()
	s.check = func() {
		if s.view().Stop() != nil && (s.healthy("web") > 0 && s.healthy("app") < 2 || s.healthy("app") > 0 && s.healthy("db") < 1) {
			t.Errorf("out of order:\n%s", s.describe())
		}
	}
	s.stopSite(time.Minute)
	s.pass(2 * time.Second)
	s.wantStopped(true)
	s.want("db-2 pending: the site is stopped")
	s.pass(5 * time.Second)
	s.want("db-2 pending: the site is stopped")
	s.check = func() {
		if s.healthy("web") > 0 && s.healthy("app") < 2 || s.healthy("app") > 0 && s.healthy("db") < 1 {
			t.Errorf("out of order:\n%s", s.describe())
		}
	}
	s.startSite()
	s.pass(3 * time.Second)
	if s.healthy("db") != 1 || s.healthy("app") != 2 || s.healthy("web") != 2 {
		t.Errorf("not all is back:\n%s", s.describe())
	}
	if got := s.view().Placement("default", "db-2").GetNode(); got != where {
		t.Errorf("db is back on %s, not on %s where its data is", got, where)
	}
}

func TestNothingStartsWhileTheSiteIsStopped(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(testWorkload("web", 2))
	s.pass(3 * time.Second)
	s.stopSite(time.Minute)
	s.pass(time.Second)
	s.applyWorkload(testWorkload("web", 4))
	s.applyWorkload(testWorkload("new", 1))
	s.newTerm()
	s.pass(5 * time.Second)
	s.want("")
	s.startSite()
	s.pass(3 * time.Second)
	if s.healthy("web") != 4 || s.healthy("new") != 1 {
		t.Errorf("not all is there:\n%s", s.describe())
	}
}

func TestWhatDoesNotStopKeepsTheOrderUntilTheDeadline(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(testWorkload("db", 1))
	s.applyWorkload(testWorkload("web", 1, after("db")))
	s.pass(3 * time.Second)
	web := s.view().Placement("default", "web-1").GetNode()
	s.nodes[web].deaf = true
	s.stopSite(10 * time.Second)
	s.pass(9 * time.Second)
	s.want("db-1 on "+s.view().Placement("default", "db-1").GetNode(), "web-1 on "+web+", stops")
	s.pass(2 * time.Second)
	s.want("web-1 on " + web + ", stops")
	s.wantStopped(false)
	s.nodes[web].deaf = false
	s.pass(time.Second)
	s.wantStopped(true)
}

func TestWhatIsOnALostNodeDoesNotKeepTheSiteFromStopping(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(testWorkload("db", 3, stays))
	s.pass(3 * time.Second)
	s.nodes["n3"].cut = true
	s.pass(3 * time.Second)
	s.stopSite(time.Minute)
	s.pass(2 * time.Second)
	s.wantStopped(true)
	s.nodes["n3"].cut = false
	s.pass(5 * time.Second)
	for name, node := range s.nodes {
		if len(node.running) > 0 {
			t.Errorf("on %s there runs %v", name, node.running)
		}
	}
	s.startSite()
	s.pass(5 * time.Second)
	if s.healthy("db") != 3 {
		t.Errorf("not all is back:\n%s", s.describe())
	}
}

func TestASiteStartsByItselfWhenMostOfItsVotersWereSwitchedOnAgain(t *testing.T) {
	s := newSite(t, 3)
	s.pass(10 * time.Second) // all three vote
	s.applyWorkload(testWorkload("web", 2))
	s.boot(" first", "n1", "n2", "n3")
	s.pass(3 * time.Second)
	s.stopSite(time.Minute)
	s.pass(time.Second)
	s.boot(" second", "n2")
	s.pass(3 * time.Second)
	if s.view().Stop() == nil {
		t.Fatal("one machine that was switched on started the site")
	}
	s.boot(" second", "n3")
	s.pass(3 * time.Second)
	if s.view().Stop() != nil || s.healthy("web") != 2 {
		t.Errorf("not all is back, stop %v:\n%s", s.view().Stop(), s.describe())
	}
	// It can be stopped again.
	s.stopSite(time.Minute)
	s.pass(time.Second)
	s.wantStopped(true)
}

func TestAJobThatWasStoppedIsMadeAgainAndNoScheduleBeginsMeanwhile(t *testing.T) {
	s := newSlowSite(t)
	s.applyWorkload(scheduled())
	s.pass(11 * time.Minute)
	s.wantRuns("1 at 10 active")
	s.stopSite(time.Minute)
	s.pass(20 * time.Minute)
	s.wantStopped(true)
	s.wantRuns("1 at 10 active")
	s.want("")
	s.attemptsEnd(succeeds)
	s.startSite()
	s.pass(10 * time.Minute)
	if got := s.runs(); !strings.HasPrefix(got, "1 at 10 succeeded, ") || !strings.HasSuffix(got, " at 40 succeeded") {
		t.Errorf("runs are %s", got)
	}
}

// TestAStopAlwaysEnds of a site that is well, in the reverse of the order in
// which it starts, and a start brings everything back.
func TestAStopAlwaysEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		names := []string{"db", "one", "web"}
		for i, name := range names {
			var changes []func(*skerryv1.Workload)
			if i > 0 {
				changes = append(changes, after(rapid.SliceOfNDistinct(rapid.SampledFrom(names[:i]), 0, i, rapid.ID[string]).Draw(t, "after")...))
			}
			if name == "db" {
				changes = append(changes, stays)
				w.most[name] = 2
			}
			w.applyWorkload(testWorkload(name, uint32(rapid.IntRange(1, 2).Draw(t, "replicas")), changes...))
		}
		w.pass(10 * time.Second)
		deaf := rapid.SampledFrom(w.names()).Draw(t, "deaf")
		w.nodes[deaf].deaf = rapid.Bool().Draw(t, "is deaf")
		w.stopSite(20 * time.Second)
		asked := w.view().Index()
		inOrder := func() {
			for _, name := range names {
				for _, before := range w.view().Workload("default", name).GetAfter() {
					left := func(p *skerryv1.Placement) bool { return p.GetNode() != "" }
					stops := func(p *skerryv1.Placement) bool {
						return p.GetNode() != "" && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP
					}
					if slices.ContainsFunc(w.view().PlacementsOf("default", name), left) && slices.ContainsFunc(w.view().PlacementsOf("default", before), stops) {
						t.Fatalf("%s is stopped before %s is gone (asked at %d):\n%s", before, name, asked, w.describe())
					}
				}
			}
			w.checkState()
		}
		w.check, w.planned = inOrder, nil
		w.pass(10 * time.Second)
		if rapid.Bool().Draw(t, "new term") {
			w.newTerm()
		}
		w.nodes[deaf].deaf = false
		w.pass(5 * time.Second)
		w.wantStopped(true)
		for name, node := range w.nodes {
			if len(node.running) > 0 {
				t.Fatalf("on %s there runs %v", name, node.running)
			}
		}
		w.check = w.checkState
		w.startSite()
		w.pass(15 * time.Second)
		for _, name := range names {
			if got, want := w.healthy(name), int(w.view().Workload("default", name).GetReplicas()); got != want {
				t.Fatalf("%d of %s are back, want %d:\n%s", got, name, want, w.describe())
			}
		}
	})
}
