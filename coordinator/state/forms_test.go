package state

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

func eachNode(w *skerryv1.Workload) {
	w.Replicas, w.PerNode, w.Partition = nil, true, nil
	manifest.Default(w)
}

func completes(w *skerryv1.Workload) {
	w.Replicas, w.RunToCompletion = nil, &skerryv1.RunToCompletion{}
	manifest.Default(w)
}

func daily(w *skerryv1.Workload) {
	completes(w)
	w.Schedule = &skerryv1.Schedule{Cron: "@daily"}
	manifest.Default(w)
}

func waitsFor(names ...string) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) { w.After = names }
}

// TestFormsThatTheStateRefuses: whoever is at the other end of the log.
func TestFormsThatTheStateRefuses(t *testing.T) {
	for _, test := range []struct {
		name, want string
		change     func(*skerryv1.Workload)
	}{
		{"replicas on each node", "do not go together", func(w *skerryv1.Workload) { eachNode(w); w.Replicas = proto.Uint32(1) }},
		{"replicas of a job", "do not go together", func(w *skerryv1.Workload) { completes(w); w.Replicas = proto.Uint32(1) }},
		{"a job on each node", "does not go together", func(w *skerryv1.Workload) { eachNode(w); completes(w) }},
		{"one on each node that may move", "stays there", func(w *skerryv1.Workload) { eachNode(w); w.Partition.Mode = manifest.Replicate }},
		{"a schedule of what never ends", "runs to completion", func(w *skerryv1.Workload) { w.Schedule = &skerryv1.Schedule{Cron: "@daily"} }},
		{"completions without end", "must be 1 to", func(w *skerryv1.Workload) { completes(w); w.RunToCompletion.Completions = 4e9 }},
		{"parallelism without end", "must be 1 to", func(w *skerryv1.Workload) { completes(w); w.RunToCompletion.Parallelism = 4e9 }},
		{"a deadline in the past", "not a length of time", func(w *skerryv1.Workload) { completes(w); w.RunToCompletion.Deadline = "-1s" }},
		{"a ttl that is none", "not a length of time", func(w *skerryv1.Workload) { completes(w); w.RunToCompletion.Ttl = "soon" }},
		{"a day that never comes", "never due", func(w *skerryv1.Workload) { daily(w); w.Schedule.Cron = "0 0 30 2 *" }},
		{"too much to wait for", "at most 16", waitsFor(strings.Split(strings.Repeat("x,", 17), ",")...)},
		{"what there is not", "has no such workload", waitsFor("db")},
		{"100,000 labels", "100000 labels, at most", func(w *skerryv1.Workload) {
			w.Labels = map[string]string{}
			for i := range 100_000 {
				w.Labels[fmt.Sprintf("label%d", i)] = "x"
			}
		}},
		{"itself", "circle: web after web", waitsFor("web")},
	} {
		s := newSite(t, 1)
		outcome := s.apply(applyEntry(testWorkload("web", 1, test.change)))
		if !strings.Contains(outcome.GetError(), test.want) {
			t.Errorf("%s: %q, want %q", test.name, outcome.GetError(), test.want)
		}
	}
}

func TestWhatWaitsForEachOther(t *testing.T) {
	s := newSite(t, 1)
	// In any order, when they come together.
	s.ok(applyEntry(testWorkload("web", 1, waitsFor("app")), testWorkload("app", 1, waitsFor("db")), testWorkload("db", 1)))
	outcome := s.apply(applyEntry(testWorkload("db", 1, waitsFor("web"))))
	if want := "workloads wait for each other in a circle: db after web after app after db"; outcome.GetError() != want {
		t.Errorf("%q, want %q", outcome.GetError(), want)
	}
	s.ok(deleteEntry("Workload", "db"))
	events := s.store.View().Events(s.index-1, 0)
	if got := fmt.Sprint(events); !strings.Contains(got, "DependencyDeleted") {
		t.Errorf("nobody is told: %s", got)
	}
}

func TestALongChainIsNoCircle(t *testing.T) {
	s := newSite(t, 1)
	for i := range 300 {
		w := testWorkload(fmt.Sprintf("w%d", i), 0)
		for back := 1; back <= min(i, maxAfter); back++ {
			w.After = append(w.After, fmt.Sprintf("w%d", i-back))
		}
		s.ok(applyEntry(w))
	}
	order := StartOrder(s.store.View().Workloads())
	if len(order) != 300 || order[0][0].GetName() != "w0" || order[299][0].GetName() != "w299" {
		t.Errorf("%d groups", len(order))
	}
}

func TestAFormIsForLife(t *testing.T) {
	s := newSite(t, 1)
	s.ok(applyEntry(testWorkload("web", 1)))
	for _, form := range []func(*skerryv1.Workload){eachNode, completes, daily} {
		outcome := s.apply(applyEntry(testWorkload("web", 1, form)))
		if !strings.Contains(outcome.GetError(), "of another form: replicas, not") {
			t.Errorf("%q", outcome.GetError())
		}
	}
}

// TestWhatTheSiteKnowsIsNotTakenFromPeople: an answer that is applied again
// changes nothing.
func TestWhatTheSiteKnowsIsNotTakenFromPeople(t *testing.T) {
	s := newSite(t, 2)
	s.ok(applyEntry(testWorkload("load", 1, completes)))
	before := s.store.View().Workload("default", "load")
	again := proto.CloneOf(before)
	again.Status = &skerryv1.WorkloadStatus{Nodes: 7, LastRun: 9}
	if outcome := s.apply(applyEntry(again)); outcome.GetApplied()[0].GetOutcome() != outcomeUnchanged {
		t.Errorf("%v", outcome)
	}
	again.Priority = 1
	s.ok(applyEntry(again))
	after := s.store.View().Workload("default", "load")
	if !proto.Equal(before.GetStatus(), after.GetStatus()) {
		t.Errorf("%v, and was %v", after.GetStatus(), before.GetStatus())
	}
	s.want(0, creates(&sitev1.NewPlacement{Project: "default", Workload: "load", Generation: after.GetGeneration(), Run: 1}))
	if got := s.store.View().Placement("default", "load-1").GetSpec().GetStatus(); got != nil {
		t.Errorf("the placement carries %v", got)
	}
}

func TestAMomentIsDecidedOnOnce(t *testing.T) {
	s := newSite(t, 1)
	s.ok(applyEntry(testWorkload("load", 1, daily)))
	now := s.store.View().Time()
	due := func(seconds int64, missed string) *sitev1.Plan {
		return &sitev1.Plan{BaseIndex: s.index, Due: []*sitev1.RunDue{{
			Project: "default", Workload: "load", Generation: 1, Missed: missed,
			Due: &timestamppb.Timestamp{Seconds: now.GetSeconds() + seconds},
		}}}
	}
	for _, test := range []struct {
		name     string
		plan     *sitev1.Plan
		rejected uint32
		runs     int
	}{
		{"not in the future", due(1e6, ""), 1, 0},
		{"not what was before", due(0, ""), 1, 0},
		{"once", due(1, ""), 0, 1},
		{"not twice", due(1, ""), 1, 1},
		{"not twice, missed or not", due(1, "late"), 1, 1},
	} {
		outcome := s.ok(&sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: test.plan}})
		if runs := len(s.store.View().Workload("default", "load").GetStatus().GetRuns()); outcome.GetRejected() != test.rejected || runs != test.runs {
			t.Errorf("%s: %d rejected, %d runs", test.name, outcome.GetRejected(), runs)
		}
	}
}
