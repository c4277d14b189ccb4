package guard

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestNothingOutlivesItsLease: whatever agents tell it, the guard asks for a kill
// before a lease ends, again and again until nothing is left, keeps looking, and
// never lets anything live again.
func TestNothingOutlivesItsLease(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		c := &Core{Watchdog: rapid.SampledFrom([]time.Duration{0, time.Second}).Draw(r, "watchdog")}
		const lease = 10 * time.Second
		now := time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(r, "now"))
		until := map[string]time.Duration{}
		ended, left, thawed := map[string]bool{}, map[string]bool{}, map[string]bool{}
		for range rapid.IntRange(1, 60).Draw(r, "events") {
			id := fmt.Sprintf("p.db-%d", rapid.IntRange(1, 3).Draw(r, "instance"))
			switch rapid.SampledFrom([]string{"arm", "arm", "anew", "thaw", "drop", "pass"}).Draw(r, "event") {
			case "arm":
				end := now + time.Duration(rapid.Int64Range(0, int64(lease)).Draw(r, "until"))
				kill, err := c.Arm(id, "cgroup:/a/b", end, lease, now)
				switch {
				case err == nil && ended[id]:
					r.Fatalf("%s lives again", id)
				case err == nil && kill > max(end, until[id])-Margin(lease)-c.Watchdog:
					r.Fatalf("%s is killed at %s, and its lease ends at %s", id, kill, end)
				case err == nil:
					until[id] = max(end, until[id])
				}
			case "anew":
				end := now + time.Duration(rapid.Int64Range(0, int64(lease)).Draw(r, "until"))
				kill, err := c.Anew(id, "cgroup:/a/b", end, lease, now)
				switch {
				case err != nil:
					continue
				case ended[id] && (left[id] || !thawed[id]):
					r.Fatalf("%s is guarded anew, left %v, thawed %v", id, left[id], thawed[id])
				case ended[id] && end <= until[id]:
					r.Fatalf("%s is guarded anew under a lease that ended before", id)
				case kill > max(end, until[id])-Margin(lease)-c.Watchdog:
					r.Fatalf("%s is killed at %s, and its lease ends at %s", id, kill, end)
				}
				until[id] = max(end, until[id])
				delete(ended, id)
				delete(thawed, id)
			case "thaw":
				c.Thaw(id)
				thawed[id] = ended[id]
			case "drop":
				c.Drop(id)
				delete(until, id)
				delete(ended, id)
				delete(thawed, id)
			case "pass":
				kill, _, wake := c.Step(now)
				for _, id := range kill {
					ended[id] = true
					left[id] = !rapid.Bool().Draw(r, "gone")
					c.Killed(id, left[id], !left[id], now)
				}
				if wake == 0 && len(until) > 0 {
					r.Fatalf("it sleeps for ever with %v", until)
				}
				now += max(1, min(wake, time.Second))
			}
			kill, _, _ := c.Step(now)
			for _, id := range kill {
				ended[id] = true
			}
			for id, end := range until {
				if now >= end-Margin(lease)-c.Watchdog && !ended[id] {
					r.Fatalf("%s lives at %s, and its lease ends at %s", id, now, end)
				}
			}
		}
	})
}

func TestWhatCannotBeKilledResetsTheMachine(t *testing.T) {
	const lease = 10 * time.Second
	c := &Core{Watchdog: time.Second}
	kill, err := c.Arm("p.db-1", "cgroup:/a/b", lease, lease, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, reset, _ := c.Step(kill); reset {
		t.Error("it is reset before anything was tried")
	}
	c.Killed("p.db-1", true, false, kill)
	if _, reset, _ := c.Step(lease - time.Second); !reset {
		t.Error("it is not reset though something lives on")
	}
	c.Killed("p.db-1", true, true, lease-time.Second)
	if _, reset, _ := c.Step(lease); reset {
		t.Error("it is reset though nothing is left")
	}
	without := &Core{}
	if _, err := without.Arm("p.db-1", "cgroup:/a/b", lease, lease, 0); err != nil {
		t.Fatal(err)
	}
	if _, reset, _ := without.Step(2 * lease); reset {
		t.Error("a machine without a watchdog is reset")
	}
	slow := &Core{Watchdog: 60 * time.Second}
	if _, err := slow.Arm("p.db-1", "cgroup:/a/b", lease, lease, 0); err == nil {
		t.Error("a watchdog that takes a minute guards a lease of ten seconds")
	}
}

// TestWhatWasEndedIsGuardedAnewOnceNothingOfItIsThere, and never under a lease that
// is as old as the one that ended.
func TestWhatWasEndedIsGuardedAnewOnceNothingOfItIsThere(t *testing.T) {
	const lease = 10 * time.Second
	c := &Core{}
	kill, err := c.Arm("p.db-1", "cgroup:/a/b", lease, lease, 0)
	if err != nil {
		t.Fatal(err)
	}
	now := kill
	anew := func(until time.Duration) error {
		_, err := c.Anew("p.db-1", "cgroup:/a/b", until, lease, now)
		return err
	}
	look := func(gone bool) {
		t.Helper()
		ids, _, _ := c.Step(now)
		if len(ids) != 1 {
			t.Fatalf("it looks at %v", ids)
		}
		c.Killed("p.db-1", false, gone, now)
	}
	later := now + lease
	look(true)
	if anew(later) == nil {
		t.Error("it is guarded anew though it is still frozen")
	}
	c.Thaw("p.db-1")
	if anew(later) == nil {
		t.Error("it is guarded anew though nobody has looked since it was thawed")
	}
	look(false)
	if anew(later) == nil {
		t.Error("it is guarded anew though something of it is there")
	}
	now += time.Second
	look(true)
	if anew(lease) == nil {
		t.Error("it is guarded anew under the lease that ended")
	}
	if _, err := c.Arm("p.db-1", "cgroup:/a/b", later, lease, now); err == nil {
		t.Error("it lives again though nobody said that it never began")
	}
	if err := anew(later); err != nil {
		t.Errorf("it is not guarded anew: %v", err)
	}
	if e := c.Entries()[0]; e.Ended || e.Ran || e.Thawed || e.Until != later || e.Kill != later-Margin(lease) {
		t.Errorf("it is guarded as %+v", e)
	}
}

// TestAnEntryIsWrittenAsItIs, and a guard of before, to which ran is no word, ends
// it once more.
func TestAnEntryIsWrittenAsItIs(t *testing.T) {
	for _, e := range []Entry{{}, {Ended: true}, {Ended: true, Ran: true}} {
		e.ID, e.Target, e.Until, e.Kill = "p.db-1", "cgroup:/a/b", 2, 1
		if again, ok := parseEntry(e.text()); !ok || again != e {
			t.Errorf("%+v becomes %+v", e, again)
		}
	}
}

func TestGuardIsBounded(t *testing.T) {
	c := &Core{}
	for i := range maxGuarded {
		if _, err := c.Arm(fmt.Sprintf("p.db-%d", i), "cgroup:/a/b", time.Minute, time.Minute, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Arm("p.more-1", "cgroup:/a/b", time.Minute, time.Minute, 0); err == nil {
		t.Error("it takes more than it can hold")
	}
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	for _, request := range []string{
		"", " ", "what", "arm", "arm a b 1", "arm a b x 1", "arm a b -1 1", "arm a b 1 1 1", "anew a b 1", "anew a b 1 1", "drop", "drop a b", "thaw", "thaw a b", "list", "list x", "hello you", "end it",
	} {
		c := &Core{}
		if answer, end, changed := c.answer(request, "run", 0); answer[:2] != "no" || end || changed {
			t.Errorf("%q is answered %q", request, answer)
		}
	}
}

// TestWhatWasNotTriedYetComesFirst, and what was tried at different times is tried
// again in one step.
func TestWhatWasNotTriedYetComesFirst(t *testing.T) {
	const lease = 10 * time.Second
	c := &Core{}
	kills := map[string]time.Duration{}
	for i, id := range []string{"p.stuck-1", "p.stuck-2", "p.db-1"} {
		kill, err := c.Arm(id, "cgroup:/a/b", lease+time.Duration(i)*7*time.Millisecond, lease, 0)
		if err != nil {
			t.Fatal(err)
		}
		kills[id] = kill
	}
	for _, id := range []string{"p.stuck-1", "p.stuck-2"} {
		if ids, _, _ := c.Step(kills[id]); !slices.Equal(ids, []string{id}) {
			t.Fatalf("it kills %v for %s", ids, id)
		}
		c.Killed(id, true, false, kills[id])
	}
	now := kills["p.stuck-2"].Truncate(again) + again
	if ids, _, _ := c.Step(now - 1); !slices.Equal(ids, []string{"p.db-1"}) {
		t.Fatalf("it kills %v", ids)
	}
	c.Killed("p.db-1", true, false, now-1)
	if ids, _, _ := c.Step(now); !slices.Equal(ids, []string{"p.stuck-1", "p.stuck-2", "p.db-1"}) {
		t.Errorf("it tries again with %v", ids)
	}
	c.Drop("p.db-1")
	if _, err := c.Arm("p.db-2", "cgroup:/a/b", now+lease, lease, now); err != nil {
		t.Fatal(err)
	}
	if ids, _, _ := c.Step(now + lease); !slices.Equal(ids, []string{"p.db-2", "p.stuck-1", "p.stuck-2"}) {
		t.Errorf("it kills in the order %v", ids)
	}
}
