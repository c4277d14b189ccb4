package lease

import (
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
				for _, arm := range h.Untold() {
					if kill, err := core.Arm(arm.ID, "cgroup:/a/b", arm.Until, arm.Lease, now); err == nil {
						h.Told(arm.ID, arm.Until, kill)
					}
				}
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
				core.Killed(id, true, now)
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

// The guard takes nothing back: what it has ended is over, also when it never began.
func TestWhatTheGuardHasEndedIsOver(t *testing.T) {
	core := &guard.Core{}
	first := NewHolder(nil)
	first.Want([]*skerryv1.Placement{placement()})
	first.Decide(nil)
	asks, _ := first.Ask(time.Minute)
	first.Answered(time.Minute, asks, granted(1))
	for _, arm := range first.Untold() {
		kill, err := core.Arm(arm.ID, "target", arm.Until, arm.Lease, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		first.Told(arm.ID, arm.Until, kill)
	}
	now := time.Minute + 2*term // it is fetched meanwhile, and nobody answers
	core.Step(now)
	next := NewHolder(nil) // of the next agent
	next.Want([]*skerryv1.Placement{placement()})
	next.Decide(core.Entries())
	if !first.Knows(core.Entries()) || first.Knows(core.Entries()) {
		t.Error("that it is over is not told once")
	}
	for who, h := range map[string]*Holder{"the same agent": first, "the next one": next} {
		if permits, _ := h.Permits(now); !permits[db].Over {
			t.Errorf("%s: it is %+v", who, permits[db])
		}
		if asks, _ := h.Ask(now); len(asks) != 0 {
			t.Errorf("%s: it asks for a lease that nobody can guard", who)
		}
	}
}
