package check

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

// scheduled runs every minute, two attempts in all, one at a time, one retry.
func scheduled(runs ...*skerryv1.Run) *skerryv1.Workload {
	return &skerryv1.Workload{
		Name: "tick", Status: &skerryv1.WorkloadStatus{Runs: runs},
		RunToCompletion: &skerryv1.RunToCompletion{Completions: 2, Parallelism: 1, Retries: proto.Uint32(1)},
		Schedule:        &skerryv1.Schedule{Cron: "* * * * *", TimeZone: "UTC", StartingDeadline: "20s", Concurrency: "forbid", Missed: "skip"},
	}
}

func run(number uint64, due time.Duration, change ...func(*skerryv1.Run)) *skerryv1.Run {
	r := &skerryv1.Run{
		Number: number, Due: timestamppb.New(noon.Add(due)), Started: timestamppb.New(noon.Add(due + time.Second)), State: skerryv1.RunState_RUN_STATE_ACTIVE,
	}
	for _, c := range change {
		c(r)
	}
	return r
}

func over(r *skerryv1.Run) { r.State = skerryv1.RunState_RUN_STATE_SUCCEEDED }

func counted(good, bad uint32) func(*skerryv1.Run) {
	return func(r *skerryv1.Run) { r.Succeeded, r.Failed = good, bad }
}

// ends are attempts of run 1, which have ended like this.
func ends(phases ...skerryv1.Phase) []*skerryv1.Placement {
	var all []*skerryv1.Placement
	for i, phase := range phases {
		p := &skerryv1.Placement{
			Name: "tick-" + string(rune('0'+i)), Workload: "tick", Run: 1, Node: "n1", Desired: skerryv1.DesiredState_DESIRED_STATE_RUN,
			Status: &skerryv1.PlacementStatus{Phase: phase},
		}
		if phase != skerryv1.Phase_PHASE_RUNNING {
			p.Ended = timestamppb.New(noon)
		}
		all = append(all, p)
	}
	return all
}

func TestRuns(t *testing.T) {
	const runs, done, failed = skerryv1.Phase_PHASE_RUNNING, skerryv1.Phase_PHASE_STOPPED, skerryv1.Phase_PHASE_FAILED
	late := func(r *skerryv1.Run) { r.Started = timestamppb.New(r.GetDue().AsTime().Add(time.Minute)) }
	for _, test := range []struct {
		name     string
		runs     []*skerryv1.Run
		attempts []*skerryv1.Placement
		exit     int32
		want     Rule
	}{
		{"one run after the other", []*skerryv1.Run{run(1, 0, over), run(2, time.Minute)}, nil, 0, ""},
		{"a moment has two runs", []*skerryv1.Run{run(1, 0, over), run(2, 0)}, nil, 0, Moments},
		{"a run is for no moment", []*skerryv1.Run{run(1, time.Second)}, nil, 0, Moments},
		{"a run is much too late", []*skerryv1.Run{run(1, 0, late)}, nil, 0, Moments},
		{"two runs at once", []*skerryv1.Run{run(1, 0), run(2, time.Minute)}, nil, 0, Moments},
		{"one attempt", []*skerryv1.Run{run(1, 0)}, ends(runs), 0, ""},
		{"two attempts at once", []*skerryv1.Run{run(1, 0)}, ends(runs, runs), 0, Attempts},
		{"one succeeded, another runs", []*skerryv1.Run{run(1, 0, counted(1, 0))}, ends(done, runs), 0, ""},
		{"an attempt of a run that is over", []*skerryv1.Run{run(1, 0, over)}, ends(runs), 0, Attempts},
		{"an attempt after too many have failed", []*skerryv1.Run{run(1, 0, counted(0, 2))}, ends(failed, failed, runs), 0, Attempts},
		{"an end that does not count", []*skerryv1.Run{run(1, 0)}, ends(done), 0, Ends},
		{"an end that counts twice", []*skerryv1.Run{run(1, 0, counted(2, 0))}, ends(done), 0, Ends},
		{"a bad end counts as a good one", []*skerryv1.Run{run(1, 0, counted(1, 0))}, ends(done), 1, Ends},
		{"a lost attempt has failed", []*skerryv1.Run{run(1, 0, counted(0, 1))}, nil, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := scheduled(test.runs...)
			got := first(NewRuns().Observe([]*skerryv1.Workload{w}, test.attempts, Asked{
				Workload: func(string) *skerryv1.Workload { return w },
				Exit:     func(*skerryv1.Placement) (int32, bool) { return test.exit, true },
			}))
			if got != test.want {
				t.Errorf("broke %q, want %q", got, test.want)
			}
		})
	}
}

func TestWhatAnAgentWasToldIsKnown(t *testing.T) {
	ended := ends(skerryv1.Phase_PHASE_STOPPED)[0]
	under := ends(skerryv1.Phase_PHASE_RUNNING)[0]
	if v := Told("n1", ended); v != nil {
		t.Error(v)
	}
	if got := first(Told("n1", under)); got != Ends {
		t.Errorf("broke %q, want %q", got, Ends)
	}
	if MadeOnce("tick-1", 1) != nil || MadeOnce("tick-1", 2) == nil {
		t.Error("an attempt is made once, not twice")
	}
}
