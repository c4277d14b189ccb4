package sim

import (
	"strings"
	"testing"
	"time"
)

func TestTheTraceHashDependsOnWhatHappenedAndWhen(t *testing.T) {
	history := func(at time.Duration, text string) uint64 {
		k := &kernel{now: at}
		tr := newTrace(k)
		tr.note("n1", "%s", text)
		tr.fold('d', 1, 2)
		return tr.hash
	}
	first := history(time.Second, "a")
	if history(time.Second, "a") != first {
		t.Error("the same history has two hashes")
	}
	if history(2*time.Second, "a") == first || history(time.Second, "b") == first {
		t.Error("another history has the same hash")
	}
}

func TestTheReadableTraceKeepsTheNewestLines(t *testing.T) {
	tr := newTrace(&kernel{now: 61*time.Second + 5*time.Millisecond})
	for range maxLines + 10 {
		tr.note("n1", "old")
	}
	tr.note("site", "new")
	var b strings.Builder
	if err := tr.write(&b); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(b.String(), "... 100000 lines before\n") || !strings.HasSuffix(b.String(), "1:01.005 site  new\n") {
		t.Errorf("begins %.40q, ends %q", b.String(), b.String()[b.Len()-40:])
	}
}
