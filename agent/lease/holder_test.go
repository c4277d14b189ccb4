package lease

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"skerry.dev/agent/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

const (
	term = 10 * time.Second
	db   = "default.db-1"
)

func placement() *skerryv1.Placement {
	return &skerryv1.Placement{Project: "default", Name: "db-1", Spec: &skerryv1.Workload{
		StopGrace: "10s", Partition: &skerryv1.Partition{Mode: manifest.Exclusive, Lease: "10s"},
	}}
}

func granted(n int) []*sitev1.LeaseAnswer {
	var answers []*sitev1.LeaseAnswer
	for range n {
		answers = append(answers, &sitev1.LeaseAnswer{Granted: true})
	}
	return answers
}

// tellCore tells a guard what it does not know, as the keeper does.
func tellCore(h *Holder, core *guard.Core, now time.Duration) {
	Tell(h.Untold(now), func(arm Arm) (time.Duration, error) {
		if !arm.Anew {
			return core.Arm(arm.ID, "cgroup:/a/b", arm.Until, arm.Lease, now)
		}
		core.Thaw(arm.ID)
		kill, _, _ := core.Step(now)
		for _, id := range kill {
			core.Killed(id, false, true, now)
		}
		return core.Anew(arm.ID, "cgroup:/a/b", arm.Until, arm.Lease, now)
	}, func(arm Arm, kill time.Duration, err error) { h.Took(arm, kill, err, now) })
}

// TestNothingRunsBeyondItsLease: however requests, answers, guards and restarts
// follow each other, nothing may run that is not under a lease that was granted,
// counted from its request, and known to the guard; and what has ended stays so.
func TestNothingRunsBeyondItsLease(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		now := time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(r, "now"))
		core := &guard.Core{}
		var begun []string
		h := NewHolder(nil)
		h.Want([]*skerryv1.Placement{placement()})
		h.Decide(nil)
		type flight struct {
			sent time.Duration
			asks []*sitev1.LeaseAsk
		}
		var underWay []flight
		var held time.Duration // the end of the newest lease that was granted
		over := false
		for range rapid.IntRange(1, 80).Draw(r, "events") {
			switch rapid.SampledFrom([]string{"ask", "answer", "answer", "lose", "refuse", "guard", "guard", "start", "restart", "pass", "pass"}).Draw(r, "event") {
			case "ask":
				if asks, _ := h.Ask(now); len(asks) > 0 {
					underWay = append(underWay, flight{now, asks})
				}
			case "answer":
				if n := len(underWay); n > 0 {
					i := rapid.IntRange(0, n-1).Draw(r, "which")
					f := underWay[i]
					underWay = append(underWay[:i], underWay[i+1:]...)
					h.Answered(f.sent, f.asks, granted(len(f.asks)))
					held = max(held, f.sent+term)
				}
			case "lose":
				underWay = nil
			case "refuse":
				if len(underWay) > 0 {
					h.Answered(underWay[0].sent, underWay[0].asks, []*sitev1.LeaseAnswer{{Refused: "no"}})
				}
			case "guard":
				h.Knows(core.Entries())
				tellCore(h, core, now)
			case "start":
				if end, isNew, may := h.Begin(db, now); may {
					if over || end > held || now >= end {
						r.Fatalf("it is started at %s until %s under a lease until %s, over %v", now, end, held, over)
					}
					if isNew {
						begun = h.Begun()
					}
				}
			case "restart":
				underWay = nil
				h = NewHolder(begun)
				h.Want([]*skerryv1.Placement{placement()})
				h.Decide(core.Entries())
			case "pass":
				now += time.Duration(rapid.Int64Range(0, int64(3*time.Second)).Draw(r, "pause"))
			}
			kill, _, _ := core.Step(now)
			for _, id := range kill {
				core.Killed(id, slices.Contains(begun, id), true, now)
			}
			permits, wake := h.Permits(now)
			p := permits[db]
			if wake < 0 {
				r.Fatalf("it wakes after %s", wake)
			}
			if p.Run && (now >= held-guard.Margin(term) || over) {
				r.Fatalf("it may run at %s under a lease until %s, over %v", now, held, over)
			}
			if over && !p.Over {
				r.Fatalf("it was over, and is %+v", p)
			}
			over = over || p.Over
		}
	})
}

func TestLeaseCountsFromTheRequest(t *testing.T) {
	h := NewHolder(nil)
	h.Want([]*skerryv1.Placement{placement()})
	h.Decide(nil)
	sent := time.Minute
	asks, _ := h.Ask(sent)
	h.Answered(sent, asks, granted(1))
	if left, _ := h.Lease(db, sent+4*time.Second); left != 6*time.Second {
		t.Errorf("after 4 s %s are left of 10", left)
	}
	// It is renewed at a third.
	if asks, wake := h.Ask(sent + time.Second); len(asks) != 0 || wake != term/3-time.Second {
		t.Errorf("a second later it asks for %v, and again in %s", asks, wake)
	}
	if asks, _ := h.Ask(sent + term/3); len(asks) != 1 {
		t.Error("it is not renewed")
	}
}

func TestWithoutAGuardNothingStarts(t *testing.T) {
	h := NewHolder(nil)
	h.Want([]*skerryv1.Placement{placement()})
	h.Decide(nil)
	h.Trouble("there is none")
	if asks, _ := h.Ask(time.Minute); len(asks) != 0 {
		t.Error("it asks for a lease")
	}
	if permits, _ := h.Permits(time.Minute); permits[db].Run || permits[db].Why != "there is none" {
		t.Errorf("it is %+v", permits[db])
	}
	h.Trouble("")
	asks, _ := h.Ask(time.Minute)
	h.Answered(time.Minute, asks, granted(1))
	if permits, _ := h.Permits(time.Minute); permits[db].Run {
		t.Error("it may run though the guard does not know")
	}
	if _, _, may := h.Begin(db, time.Minute); may {
		t.Error("it is started though the guard does not know")
	}
}

func TestWhatBegunBeforeAndNobodyGuardsIsOver(t *testing.T) {
	now := time.Minute
	for _, test := range []struct {
		name    string
		guarded []guard.Entry
		want    bool
	}{
		{"nobody knows of it", nil, false},
		{"the guard has ended it", []guard.Entry{{ID: db, Until: now + term, Kill: now + term - time.Second, Ended: true}}, false},
		{"the guard holds its lease", []guard.Entry{{ID: db, Until: now + term, Kill: now + term - time.Second}}, true},
		{"the lease that the guard holds is over", []guard.Entry{{ID: db, Until: now - term, Kill: now - term - time.Second}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := NewHolder([]string{db})
			h.Want([]*skerryv1.Placement{placement()})
			if permits, _ := h.Permits(now); !permits[db].Unknown || permits[db].Over {
				t.Errorf("before it is known it is %+v", permits[db])
			}
			h.Decide(test.guarded)
			if permits, _ := h.Permits(now); permits[db].Run != test.want || permits[db].Over == test.want {
				t.Errorf("it is %+v", permits[db])
			}
		})
	}
}

// TestWhatTheGuardHasEndedIsOver when it had begun, or when the guard found something
// that the next agent does not know of; else it asks again.
func TestWhatTheGuardHasEndedIsOver(t *testing.T) {
	for _, test := range []struct {
		name               string
		began, found, over bool
	}{
		{"it had begun", true, true, true},
		{"it had begun, and nothing was found", true, false, true},
		{"it never began", false, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			core, now := &guard.Core{}, time.Minute
			h := NewHolder(nil)
			h.Want([]*skerryv1.Placement{placement()})
			h.Decide(nil)
			asks, _ := h.Ask(now)
			h.Answered(now, asks, granted(1))
			tellCore(h, core, now)
			if test.began {
				h.Begin(db, now)
			}
			now += 2 * term
			core.Step(now)
			core.Killed(db, test.found, true, now)
			if told := h.Knows(core.Entries()); told != test.over || h.Knows(core.Entries()) {
				t.Errorf("that it is over is told: %v", told)
			}
			next := NewHolder(h.Begun())
			next.Want([]*skerryv1.Placement{placement()})
			next.Decide(core.Entries())
			forgetful := NewHolder(nil)
			forgetful.Want([]*skerryv1.Placement{placement()})
			forgetful.Decide(core.Entries())
			for who, is := range map[string]struct {
				*Holder
				over bool
			}{"the same agent": {h, test.over}, "the next one": {next, test.over}, "one whose disk has forgotten": {forgetful, test.found}} {
				if permits, _ := is.Permits(now); permits[db].Over != is.over {
					t.Errorf("%s: it is %+v", who, permits[db])
				}
				if asks, _ := is.Ask(now); (len(asks) == 0) != is.over {
					t.Errorf("%s: it asks for %v", who, asks)
				}
			}
		})
	}
}
