package hostile

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	// A refusal takes less than this long,
	maxRefusal = time.Second
	// and leaves less than this behind in memory, in bytes.
	maxGrowth = 64 << 20
	// patience with a machine that does much else, where the time is not judged.
	patience = time.Minute
)

// minCases of bad input are judged.
const minCases = 150

var judged atomic.Int64

func TestMain(m *testing.M) {
	code := m.Run()
	whole := flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.skip").Value.String() == "" && flag.Lookup("test.list").Value.String() == ""
	if cases := judged.Load(); code == 0 && whole && cases < minCases {
		fmt.Printf("%d cases of bad input were judged, there should be %d\n", cases, minCases)
		code = 1
	}
	os.Exit(code)
}

// judge runs one case and holds it to what every refusal must keep: it is fast,
// it costs little, and what people declared is as before.
func (s *site) judge(t *testing.T, attack func(t *testing.T)) {
	t.Helper()
	judged.Add(1)
	before, heap := s.declared(t), heapInUse()
	// On a machine that does much else a single one may be slow.
	fastest := time.Hour
	for try := 0; try < 3 && fastest > maxRefusal && !t.Failed(); try++ {
		began := time.Now()
		attack(t)
		fastest = min(fastest, time.Since(began))
	}
	// The race detector, under which the short tests run, makes all slow.
	if fastest > maxRefusal && !testing.Short() {
		t.Errorf("the refusal took %s, at most %s are fair", fastest, maxRefusal)
	}
	if grown := int64(heapInUse()) - int64(heap); grown > maxGrowth {
		t.Errorf("the process grew by %d MiB", grown>>20)
	}
	if diff := cmp.Diff(before, s.declared(t)); diff != "" {
		t.Error("it changed what people declared:", diff)
	}
}

func heapInUse() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse
}

// named fails unless text says one of the given things; a refusal that does not
// say why is of no use.
func named(t *testing.T, text string, wants ...string) {
	t.Helper()
	if !anyOf(text, wants) {
		t.Errorf("nothing names the reason, one of %q; there was:\n%.2000s", wants, text)
	}
}

func anyOf(text string, wants []string) bool {
	return slices.ContainsFunc(wants, func(want string) bool { return strings.Contains(text, want) })
}

// logged is named for the agent's log since a mark: it may come a moment after
// the client was refused.
func (s *site) logged(t *testing.T, mark int, also string, wants ...string) {
	t.Helper()
	for range 6000 { // a minute
		if anyOf(also+s.log.since(mark), wants) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	named(t, also+s.log.since(mark), wants...)
}
