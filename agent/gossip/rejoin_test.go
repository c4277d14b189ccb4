package gossip

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRejoinCallsAMissingPeerForEver(t *testing.T) {
	r := NewRejoin()
	calls := 0
	last := time.Duration(0)
	longest := time.Duration(0)
	for now := time.Duration(0); now < 10*24*time.Hour; now += time.Second {
		if got := r.Step(now, map[string]bool{"a": true}, []string{"a", "b"}, 7); len(got) > 0 {
			if diff := cmp.Diff([]string{"b"}, got); diff != "" {
				t.Fatal(diff)
			}
			calls++
			longest = max(longest, now-last)
			last = now
		}
	}
	if longest > time.Minute {
		t.Errorf("between two calls passed %s", longest)
	}
	if calls < 10000 {
		t.Errorf("only %d calls in ten days", calls)
	}
}

func TestRejoinStartsAfreshWhenAPeerWasBack(t *testing.T) {
	r := NewRejoin()
	book := []string{"b"}
	for now := time.Duration(0); now < time.Hour; now += time.Second {
		r.Step(now, nil, book, 0)
	}
	r.Step(time.Hour, map[string]bool{"b": true}, book, 0)
	if got := r.Step(time.Hour+time.Second, nil, book, 0); len(got) != 1 {
		t.Errorf("a peer that was just lost is not called at once: %v", got)
	}
}

func TestRejoinForgetsWhoLeftTheBook(t *testing.T) {
	r := NewRejoin()
	r.Step(0, nil, []string{"b"}, 0)
	if got := r.Step(time.Hour, nil, nil, 0); got != nil {
		t.Errorf("called %v", got)
	}
	if len(r.missing) != 0 {
		t.Error("it remembers a peer that is not in the book")
	}
}
