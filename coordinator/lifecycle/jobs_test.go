package lifecycle

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

const (
	succeeds = skerryv1.Phase_PHASE_STOPPED
	fails    = skerryv1.Phase_PHASE_FAILED
)

func job(completions, parallelism uint32, change ...func(*skerryv1.Workload)) *skerryv1.Workload {
	return testWorkload("load", 0, append([]func(*skerryv1.Workload){func(w *skerryv1.Workload) {
		w.Replicas = nil
		w.RunToCompletion = &skerryv1.RunToCompletion{Completions: completions, Parallelism: parallelism}
	}}, change...)...)
}

func retries(n uint32) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) { w.RunToCompletion.Retries = proto.Uint32(n) }
}

func deadline(text string) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) { w.RunToCompletion.Deadline = text }
}

// notOnFirst keeps a job from n1, which coordinates.
func notOnFirst(w *skerryv1.Workload) {
	w.Place = &skerryv1.Place{Require: []*skerryv1.Requirement{{Label: "name", NotIn: []string{"n1"}}}}
}

// attemptsEnd in this way from now on, on all nodes.
func (s *site) attemptsEnd(how skerryv1.Phase) {
	for _, node := range s.nodes {
		node.exit = how
	}
}

func (s *site) wantRun(want string) {
	s.t.Helper()
	if got := manifest.Progress(s.view().Workload("default", "load")); got != want {
		s.t.Errorf("%s, want %s:\n%s", got, want, s.describe())
	}
}

func TestAJobRunsUntilItsWorkIsDone(t *testing.T) {
	s := newSite(t, 2)
	s.applyWorkload(job(3, 2))
	s.pass(time.Second)
	s.want("load-1 on n1", "load-2 on n2")
	s.wantRun("run 1 is under way: succeeded 0/3")
	s.nodes["n2"].exit = succeeds
	s.pass(time.Second)
	s.want("load-1 on n1", "load-2 on n2, stopped", "load-3 on n2, stopped")
	s.wantRun("run 1 is under way: succeeded 2/3")
	s.attemptsEnd(succeeds)
	s.pass(time.Second)
	s.want("load-1 on n1, stopped", "load-2 on n2, stopped", "load-3 on n2, stopped")
	s.wantRun("run 1 has succeeded: succeeded 3/3")

	// Unchanged it does not run again; changed it does.
	s.applyWorkload(job(3, 2))
	s.pass(time.Second)
	s.wantRun("run 1 has succeeded: succeeded 3/3")
	s.applyWorkload(job(3, 2, args("again")))
	s.pass(time.Second)
	s.wantRun("run 2 has succeeded: succeeded 3/3")
	// More is asked for: the run goes on.
	s.applyWorkload(job(4, 2, args("again")))
	s.pass(time.Second)
	s.wantRun("run 2 has succeeded: succeeded 4/4")
	// What ended is forgotten after its time, and is stopped by its nodes.
	s.tick = time.Minute
	s.pass(25 * time.Hour)
	s.want()
}

func TestAJobThatFailsIsTriedAgainLessAndLess(t *testing.T) {
	s := newSite(t, 1)
	s.applyWorkload(job(1, 1, retries(2), func(w *skerryv1.Workload) { w.Restart = &skerryv1.Restart{Backoff: "10s"} }))
	s.attemptsEnd(fails)
	s.pass(5 * time.Second)
	s.wantRun("run 1 is under way: succeeded 0/1, failed 1")
	s.pass(10 * time.Second)
	s.wantRun("run 1 is under way: succeeded 0/1, failed 2")
	s.pass(10 * time.Second)
	s.wantRun("run 1 is under way: succeeded 0/1, failed 2")
	s.pass(15 * time.Second)
	s.wantRun("run 1 has failed: succeeded 0/1, failed 3: more attempts failed than it may retry")
	s.want("load-1 on n1, failed", "load-2 on n1, failed", "load-3 on n1, failed")
	s.pass(time.Minute)
	// More retries let it go on.
	s.attemptsEnd(succeeds)
	s.applyWorkload(job(1, 1, retries(5)))
	s.pass(time.Minute)
	s.wantRun("run 1 has succeeded: succeeded 1/1, failed 3")
}

func TestAJobThatTakesTooLongIsEnded(t *testing.T) {
	s := newSite(t, 1)
	s.applyWorkload(job(1, 1, deadline("30s")))
	s.pass(29 * time.Second)
	s.want("load-1 on n1")
	s.pass(2 * time.Second)
	s.want()
	s.wantRun("run 1 has failed: succeeded 0/1: it took longer than its deadline, 30s")
}

func TestALostNodesAttemptIsMadeElsewhere(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(job(1, 1, notOnFirst))
	s.pass(time.Second)
	s.want("load-1 on n2")
	s.nodes["n2"].off = true
	s.pass(10 * time.Second)
	s.want("load-1 on n2, stops, lost", "load-2 on n3")
	s.wantRun("run 1 is under way: succeeded 0/1, failed 1")
	s.attemptsEnd(succeeds)
	s.nodes["n2"].off = false
	s.pass(10 * time.Second)
	s.want("load-2 on n3, stopped")
	s.wantRun("run 1 has succeeded: succeeded 1/1, failed 1")
}

// What is lost may be more than the run may retry: nothing is made for it any more.
func TestALostNodeMayEndARun(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(job(2, 2, retries(1), func(w *skerryv1.Workload) {
		w.Place = &skerryv1.Place{Require: []*skerryv1.Requirement{{Label: "name", In: []string{"n2"}}}}
	}))
	s.pass(time.Second)
	s.want("load-1 on n2", "load-2 on n2")
	s.nodes["n2"].off = true
	s.pass(10 * time.Second)
	s.want("load-1 on n2, stops, lost", "load-2 on n2, stops, lost")
	s.wantRun("run 1 has failed: succeeded 0/2, failed 2: more attempts failed than it may retry")
}

func TestAnAttemptThatStaysIsWaitedFor(t *testing.T) {
	s := newSite(t, 3)
	s.applyWorkload(job(1, 1, stays, notOnFirst))
	s.pass(time.Second)
	s.want("load-1 on n2")
	s.nodes["n2"].off = true
	s.pass(time.Minute)
	s.want("load-1 on n2, lost")
	s.wantRun("run 1 is under way: succeeded 0/1")
	s.attemptsEnd(succeeds)
	s.nodes["n2"].off = false
	s.pass(time.Minute)
	s.wantRun("run 1 has succeeded: succeeded 1/1")
}

func TestEndedAttemptsTakeNoRoom(t *testing.T) {
	s := newSite(t, 1)
	s.applyWorkload(job(30, 5, func(w *skerryv1.Workload) { w.Container.Resources.Cpu = "200m" }))
	s.attemptsEnd(succeeds)
	s.pass(20 * time.Second)
	s.wantRun("run 1 has succeeded: succeeded 30/30")
	if got := len(s.view().Placements()); got != maxEnded {
		t.Errorf("%d ended placements are kept:\n%s", got, s.describe())
	}
}

func TestAJobThatIsOverAsksForNoQuota(t *testing.T) {
	s := newSite(t, 1)
	used := func() uint32 { return s.view().Projects()[0].GetUsed().GetPlacements() }
	s.applyWorkload(job(4, 2))
	s.pass(time.Second)
	if used() != 2 {
		t.Errorf("%d placements are counted", used())
	}
	s.attemptsEnd(succeeds)
	s.pass(5 * time.Second)
	if used() != 0 {
		t.Errorf("afterwards %d placements are counted", used())
	}
}

// scheduled is a job that is due each ten minutes.
func scheduled(change ...func(*skerryv1.Workload)) *skerryv1.Workload {
	return job(1, 1, append([]func(*skerryv1.Workload){func(w *skerryv1.Workload) {
		w.Schedule = &skerryv1.Schedule{Cron: "*/10 * * * *"}
	}}, change...)...)
}

func missed(rule string) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) { w.Schedule.Missed = rule }
}

func concurrency(rule string) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) { w.Schedule.Concurrency = rule }
}

// runs in one line: number, minute that it was due after the epoch's ten minutes,
// what became of it.
func (s *site) runs() string {
	var all []string
	begin := epoch.Truncate(10 * time.Minute)
	for _, run := range s.view().Workload("default", "load").GetStatus().GetRuns() {
		all = append(all, fmt.Sprintf("%d at %.0f %s", run.GetNumber(), run.GetDue().AsTime().Sub(begin).Minutes(),
			strings.ToLower(strings.TrimPrefix(run.GetState().String(), "RUN_STATE_"))))
	}
	return strings.Join(all, ", ")
}

func (s *site) wantRuns(want string) {
	s.t.Helper()
	if got := s.runs(); got != want {
		s.t.Errorf("runs are %s, want %s", got, want)
	}
}

func newSlowSite(t *testing.T) *site {
	s := newSite(t, 1)
	s.tick = 10 * time.Second
	return s
}

func TestAScheduleStartsRuns(t *testing.T) {
	s := newSlowSite(t)
	s.attemptsEnd(succeeds)
	s.applyWorkload(scheduled())
	s.pass(31 * time.Minute)
	s.wantRuns("1 at 10 succeeded, 2 at 20 succeeded, 3 at 30 succeeded")
	s.newTerm() // knows what was followed, and starts nothing twice
	s.pass(10 * time.Minute)
	s.wantRuns("1 at 10 succeeded, 2 at 20 succeeded, 3 at 30 succeeded, 4 at 40 succeeded")
	s.pass(3 * time.Hour)
	if got := len(s.view().Workload("default", "load").GetStatus().GetRuns()); got != 10 {
		t.Errorf("%d runs are remembered: %s", got, s.runs())
	}
}

func TestWhenARunIsDueWhileAnotherIsUnderWay(t *testing.T) {
	for rule, want := range map[string]string{
		manifest.Forbid:  "1 at 10 active",
		manifest.Replace: "1 at 10 replaced, 2 at 20 replaced, 3 at 30 active",
		manifest.Allow:   "1 at 10 active, 2 at 20 active, 3 at 30 active",
	} {
		s := newSlowSite(t)
		s.applyWorkload(scheduled(concurrency(rule)))
		s.pass(31 * time.Minute)
		s.wantRuns(want)
	}
}

func TestRunsThatWereMissed(t *testing.T) {
	for rule, want := range map[string]string{
		manifest.Skip:    "1 at 10 succeeded, 2 at 60 succeeded, 3 at 70 succeeded",
		manifest.RunOnce: "1 at 10 succeeded, 2 at 50 succeeded, 3 at 60 succeeded, 4 at 70 succeeded",
	} {
		s := newSlowSite(t)
		s.attemptsEnd(succeeds)
		s.applyWorkload(scheduled(missed(rule)))
		s.pass(10 * time.Minute)
		s.now += 40 * time.Minute // nobody is there
		s.pass(20 * time.Minute)
		s.wantRuns(want)
	}
}

func TestWhenTheTimeIsSetBackNothingRunsTwice(t *testing.T) {
	s := newSlowSite(t)
	s.attemptsEnd(succeeds)
	s.applyWorkload(scheduled())
	s.pass(21 * time.Minute)
	before := s.runs()
	s.now -= 20 * time.Minute
	s.newTerm()
	s.pass(19 * time.Minute)
	if got := s.runs(); got != before {
		t.Errorf("runs were %s, and are %s", before, got)
	}
	s.pass(15 * time.Minute)
	if got := s.runs(); !strings.HasPrefix(got, before+", 3 at 30") {
		t.Errorf("runs were %s, and are %s", before, got)
	}
}

func after(names ...string) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) { w.After = names }
}

func TestNewPlacementsWaitForOthers(t *testing.T) {
	s := newSite(t, 2)
	s.nodes["n1"].sick, s.nodes["n2"].sick = true, true
	s.applyWorkload(testWorkload("db", 1))
	s.applyWorkload(testWorkload("web", 1, after("db")))
	s.pass(time.Second)
	s.want("db-1 on n1", "web-1 pending: it waits for db: 0 of 1 placements are healthy")
	s.nodes["n1"].sick, s.nodes["n2"].sick = false, false
	s.pass(time.Second)
	s.want("db-1 on n1", "web-1 on n2")
	// What runs goes on when it becomes ill, and when it is deleted.
	s.nodes["n1"].sick = true
	s.pass(10 * time.Second)
	s.want("db-1 on n1", "web-1 on n2")
	s.delete("Workload", "db")
	s.delete("Placement", "web-1")
	s.pass(10 * time.Second)
	s.want("web-2 pending: it waits for db, which does not exist")
}

func TestNewPlacementsWaitForJobs(t *testing.T) {
	s := newSite(t, 1)
	s.applyWorkload(job(1, 1))
	s.applyWorkload(testWorkload("web", 1, after("load")))
	s.pass(time.Second)
	s.want("load-1 on n1", "web-1 pending: it waits for load: it has not completed yet")
	s.attemptsEnd(succeeds)
	s.pass(time.Second)
	s.want("load-1 on n1, stopped", "web-1 on n1")
}

func TestAStillCoreFollowsNoSchedule(t *testing.T) {
	s := newSlowSite(t)
	s.applyWorkload(scheduled())
	config := Defaults("n1")
	config.Still = true
	s.core = New(config, s.now)
	s.pass(time.Hour)
	if got := s.runs(); got != "" {
		t.Errorf("runs are %s", got)
	}
}

func TestARunThatHasDoneWhatIsAskedForNowEnds(t *testing.T) {
	s := newSlowSite(t)
	minutely := func(w *skerryv1.Workload) { w.Schedule = &skerryv1.Schedule{Cron: "* * * * *"} }
	s.applyWorkload(job(3, 1, minutely))
	s.attemptsEnd(succeeds)
	s.pass(time.Minute)
	s.attemptsEnd(fails) // the next attempt comes after a while
	s.pass(10 * time.Second)
	s.wantRuns("1 at 4 active")
	s.attemptsEnd(skerryv1.Phase_PHASE_UNSPECIFIED)
	s.applyWorkload(job(1, 1, minutely))
	s.pass(10 * time.Second)
	s.wantRuns("1 at 4 succeeded")
}

func TestTheEndOfARunIsToldOnce(t *testing.T) {
	s := newSite(t, 1)
	s.applyWorkload(job(1, 1))
	s.attemptsEnd(succeeds)
	s.pass(2 * time.Second)
	s.wantRun("run 1 has succeeded: succeeded 1/1")
	s.applyWorkload(job(1, 1, retries(7)))
	s.pass(2 * time.Second)
	told := 0
	for _, e := range s.view().Events(0, 0) {
		if e.GetReason() == "RunSucceeded" {
			told++
		}
	}
	if told != 1 {
		t.Errorf("it was told %d times", told)
	}
	// Of what has ended only the logs are there: the only node can be drained.
	s.duty("n1", drained)
}
