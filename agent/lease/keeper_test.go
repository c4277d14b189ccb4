package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"skerry.dev/agent/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// clock counts the time of a bubble.
type clock struct {
	env.Clock
	start time.Time
}

func (c clock) Elapsed() time.Duration { return time.Minute + time.Since(c.start) }

// rig is a keeper, its orders, a guard that is guard.Core, and a coordinator that
// grants everything while it is in reach.
type rig struct {
	*Keeper
	clock clock

	mu      sync.Mutex
	orders  *sitev1.Assignments
	core    guard.Core
	changed chan struct{}
	up, cut bool
	// starts of a guard, rounds in which it was looked at.
	starts, rounds int
	// refuse arms one instance not.
	refuse string
	// noting is how long the disk takes to note what began.
	noting time.Duration
}

func newRig(t *testing.T, names ...string) *rig {
	t.Helper()
	system := env.NewSystem()
	r := &rig{clock: clock{system.Clock, time.Now()}, changed: make(chan struct{}), up: true}
	r.order(names...)
	system.Clock = r.clock
	r.Keeper = New(Config{
		Ledger: r, Guard: r, StartGuard: r.start, Target: func(id string, _ bool) string { return "cgroup:/" + id },
		Coordinator: r.grant, Env: system, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	return r
}

func (r *rig) order(names ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.orders = &sitev1.Assignments{}
	for _, name := range names {
		r.orders.Placements = append(r.orders.Placements, &skerryv1.Placement{Project: "default", Name: name, Spec: &skerryv1.Workload{
			StopGrace: "1s", Partition: &skerryv1.Partition{Mode: manifest.Exclusive, Lease: "5s"},
		}})
	}
	close(r.changed)
	r.changed = make(chan struct{})
}

func (r *rig) Current() *sitev1.Assignments {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.orders
}

// Changed implements Ledger; that of the keeper is another one.
func (r *rig) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.changed
}
func (r *rig) Begun() []string { return nil }

func (r *rig) KeepBegun([]string) error {
	time.Sleep(r.noting)
	return nil
}

func (r *rig) grant(_ context.Context, asks []*sitev1.LeaseAsk) (*sitev1.RenewLeasesResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut {
		return nil, errors.New("no coordinator is in reach")
	}
	return &sitev1.RenewLeasesResponse{Answers: granted(len(asks))}, nil
}

func (r *rig) start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.starts++; !r.up {
		time.AfterFunc(2500*time.Millisecond, func() { r.mu.Lock(); r.up = true; r.mu.Unlock() })
	}
	return nil
}

// ask the guard, which ends what is due before it answers.
func (r *rig) ask(do func(now time.Duration) error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.up {
		return problem.New(problem.Unavailable, "guard", "no guard answers on this machine")
	}
	now := r.clock.Elapsed()
	kill, _, _ := r.core.Step(now)
	for _, id := range kill {
		r.core.Killed(id, false, true, now)
	}
	return do(now)
}

func (r *rig) Check(context.Context) (bool, error) {
	return false, r.ask(func(time.Duration) error { r.rounds++; return nil })
}

func (r *rig) Arm(_ context.Context, id, target string, until, lease time.Duration) (kill time.Duration, err error) {
	return kill, r.ask(func(now time.Duration) (err error) {
		if id == r.refuse {
			return problem.New(problem.Conflict, "", "the guard refuses: it is full")
		}
		kill, err = r.core.Arm(id, target, until, lease, now)
		return err
	})
}

func (r *rig) Anew(ctx context.Context, id, target string, until, lease time.Duration) (kill time.Duration, err error) {
	_ = r.Thaw(ctx, id)
	return kill, r.ask(func(now time.Duration) (err error) {
		kill, err = r.core.Anew(id, target, until, lease, now)
		return err
	})
}

func (r *rig) Drop(_ context.Context, id string) error {
	return r.ask(func(time.Duration) error { r.core.Drop(id); return nil })
}

func (r *rig) Thaw(_ context.Context, id string) error {
	return r.ask(func(time.Duration) error { r.core.Thaw(id); return nil })
}

func (r *rig) List(context.Context) (entries []guard.Entry, err error) {
	return entries, r.ask(func(time.Duration) error { entries = append(entries, r.core.Entries()...); return nil })
}

func (r *rig) End(context.Context) error { return nil }

func (r *rig) runs() map[string]bool {
	permits, _ := r.Permits()
	runs := map[string]bool{}
	for id, p := range permits {
		runs[id] = p.Run
	}
	return runs
}

// in a bubble of time, with a keeper that runs.
func (r *rig) work(t *testing.T, f func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	f()
	cancel()
	<-ended
	time.Sleep(10 * time.Second) // what was started comes up
}

// TestWhatNeverBeganHoldsUpNoOther: after a while without a coordinator what never
// began may begin, and so may what comes after it in the order of names; nothing
// loops meanwhile.
func TestWhatNeverBeganHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "aa-1", "zz-1")
		r.work(t, func() {
			time.Sleep(time.Second)
			if _, err := r.Begin("default.zz-1"); err != nil {
				t.Fatal(err)
			}
			r.mu.Lock()
			r.cut = true
			r.mu.Unlock()
			time.Sleep(9 * time.Second)
			r.mu.Lock()
			r.cut, r.rounds = false, 0
			r.mu.Unlock()
			r.order("aa-1", "zz-2")
			time.Sleep(10 * time.Second)
			if runs := r.runs(); !runs["default.aa-1"] || !runs["default.zz-2"] {
				permits, _ := r.Permits()
				t.Errorf("they may run: %v: %v", runs, permits)
			}
			if r.rounds > 100 {
				t.Errorf("the guard was looked at %d times in 10 s", r.rounds)
			}
			if r.Trouble() != "" || r.Refused() != "" {
				t.Errorf("people read %q and %q", r.Trouble(), r.Refused())
			}
		})
	})
}

// TestLeasesAreRenewedWhileTheDiskHangs under what is being started.
func TestLeasesAreRenewedWhileTheDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "aa-1", "zz-1")
		r.work(t, func() {
			time.Sleep(time.Second)
			if _, err := r.Begin("default.aa-1"); err != nil {
				t.Fatal(err)
			}
			r.noting = 20 * time.Second
			begun := make(chan error, 1)
			go func() { _, err := r.Begin("default.zz-1"); begun <- err }()
			time.Sleep(15 * time.Second)
			if permits, _ := r.Permits(); !permits["default.aa-1"].Run || !permits["default.zz-1"].Run {
				t.Errorf("they may run: %v", permits)
			}
			if err := <-begun; err != nil {
				t.Error(err)
			}
		})
	})
}

// TestTellingGoesOnAfterARefusal, ends when nobody answers, and begins the next time
// with what was not refused.
func TestTellingGoesOnAfterARefusal(t *testing.T) {
	r := &rig{changed: make(chan struct{})}
	r.order("aa-1", "bb-1", "cc-1")
	h := NewHolder(nil)
	h.Want(r.orders.GetPlacements())
	h.Decide(nil)
	now := time.Minute
	asks, _ := h.Ask(now)
	h.Answered(now, asks, granted(len(asks)))
	round := func(now time.Duration, kind problem.Kind) (told []string) {
		Tell(h.Untold(now), func(arm Arm) (time.Duration, error) {
			told = append(told, arm.ID)
			if arm.ID == "default.aa-1" {
				return 0, problem.New(kind, "", "no")
			}
			return arm.Until - time.Second, nil
		}, func(arm Arm, kill time.Duration, err error) { h.Took(arm, kill, err, now) })
		return told
	}
	if told := round(now, problem.Unavailable); !slices.Equal(told, []string{"default.aa-1"}) {
		t.Errorf("a guard that does not answer is told of %v", told)
	}
	if told := round(now+tellAgain, problem.Conflict); !slices.Equal(told, []string{"default.bb-1", "default.cc-1", "default.aa-1"}) {
		t.Errorf("then of %v", told)
	}
	if told := round(now+tellAgain+1, problem.Conflict); told != nil {
		t.Errorf("a moment later of %v", told)
	}
	h.Want(nil)
	h.Want(r.orders.GetPlacements())
	asks, _ = h.Ask(now)
	h.Answered(now, asks, granted(len(asks)))
	if told := round(now, problem.Conflict); len(told) != 3 {
		t.Errorf("though the first one is refused, of %v", told)
	}
}

// TestWhatTheGuardRefusesHoldsUpNoOther, and people read of it for itself.
func TestWhatTheGuardRefusesHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "aa-1", "zz-1")
		r.refuse = "default.aa-1"
		r.work(t, func() {
			time.Sleep(time.Second)
			if r.Refused() != "" {
				t.Errorf("after a second people read %q", r.Refused())
			}
			time.Sleep(9 * time.Second)
			permits, _ := r.Permits()
			if permits["default.aa-1"].Run || !permits["default.zz-1"].Run {
				t.Errorf("they are %v", permits)
			}
			if why := permits["default.aa-1"].Why; why != "the guard refuses: it is full" {
				t.Errorf("it waits because %q", why)
			}
			if want := "default.aa-1: the guard refuses: it is full"; r.Trouble() != "" || r.Refused() != want {
				t.Errorf("people read %q and %q", r.Trouble(), r.Refused())
			}
			if r.rounds > 100 {
				t.Errorf("the guard was looked at %d times in 10 s", r.rounds)
			}
		})
	})
}

// TestAGuardThatIsBeingStartedIsNoTrouble; one that does not come is.
func TestAGuardThatIsBeingStartedIsNoTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.up = false
		r.work(t, func() {
			time.Sleep(5 * time.Second)
			r.order("zz-1")
			for range 80 {
				if r.runs(); r.Trouble() != "" {
					t.Fatalf("people read %q", r.Trouble())
				}
				time.Sleep(50 * time.Millisecond)
			}
			if runs := r.runs(); r.starts == 0 || !runs["default.zz-1"] {
				t.Errorf("%d starts of a guard, they may run: %v", r.starts, runs)
			}
		})
	})
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "zz-1")
		r.up, r.StartGuard = false, func() error { return errors.New("no memory") }
		r.work(t, func() {
			time.Sleep(10 * time.Second)
			if want := "guard: it cannot be started: no memory"; r.Trouble() != want {
				t.Errorf("people read %q", r.Trouble())
			}
		})
	})
}

// TestMoreThanTheGuardHolds: the rest waits and is named, and has its turn when there is
// room.
func TestMoreThanTheGuardHolds(t *testing.T) {
	const room = 256
	var names []string
	for i := range room + 1 {
		names = append(names, fmt.Sprintf("web-%03d", i))
	}
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, names...)
		r.work(t, func() {
			time.Sleep(10 * time.Second)
			var waits []string
			for id, may := range r.runs() {
				if !may {
					waits = append(waits, id)
				}
			}
			if len(waits) != 1 {
				t.Fatalf("%q wait", waits)
			}
			if want := waits[0] + ": the guard holds 256 placements, which is all it can"; r.Refused() != want {
				t.Errorf("people read %q", r.Refused())
			}
			r.order(slices.DeleteFunc(slices.Clone(names), func(name string) bool { return "default."+name != waits[0] && name > "web-200" })...)
			r.Present(nil) // the runtime has none of them
			time.Sleep(10 * time.Second)
			if runs := r.runs(); !runs[waits[0]] || r.Refused() != "" {
				t.Errorf("it runs: %t; people read %q", runs[waits[0]], r.Refused())
			}
		})
	})
}

// TestAWatchdogThatIsTooSlowIsNamed for the first placements, with the number of the rest.
func TestAWatchdogThatIsTooSlowIsNamed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, "aa-1", "bb-1", "cc-1", "dd-1")
		r.core.Watchdog = 4 * time.Second
		r.work(t, func() {
			time.Sleep(10 * time.Second)
			for id, may := range r.runs() {
				if may {
					t.Errorf("%s may run", id)
				}
			}
			const reason = ": the machine's watchdog takes 4s, which is too long for a lease of 5s"
			want := "default.aa-1" + reason + "; default.bb-1" + reason + "; default.cc-1" + reason + "; and 1 more"
			if got := r.Refused(); got != want {
				t.Errorf("people read %q", got)
			}
		})
	})
}
