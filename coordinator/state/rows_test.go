package state

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// TestForksOfRowsStayApart: whatever is put into tables and removed from them, each
// fork holds what its own history says, by key and by index.
func TestForksOfRowsStayApart(t *testing.T) {
	type branch struct {
		rows *rows
		want map[string]*skerryv1.Placement
	}
	rapid.Check(t, func(t *rapid.T) {
		branches := []branch{{newRows(), map[string]*skerryv1.Placement{}}}
		check := func(b branch) {
			var want []*skerryv1.Placement
			for _, k := range slices.Sorted(maps.Keys(b.want)) {
				want = append(want, b.want[k])
			}
			if diff := cmp.Diff(want, placements.list(b.rows), protocmp.Transform()); diff != "" {
				t.Fatalf("by key (-want +got):\n%s", diff)
			}
			for _, node := range []string{"a", "b", "c"} {
				on := slices.Clone(want)
				on = slices.DeleteFunc(on, func(p *skerryv1.Placement) bool { return p.GetNode() != node })
				if diff := cmp.Diff(on, placements.by(b.rows, byNode, node), protocmp.Transform()); diff != "" && len(on)+len(placements.by(b.rows, byNode, node)) > 0 {
					t.Fatalf("on %s (-want +got):\n%s", node, diff)
				}
				if got := placements.has(b.rows, byNode, node); got != (len(on) > 0) {
					t.Fatalf("has %s: %v, of %v", node, got, on)
				}
			}
		}
		for range rapid.IntRange(1, 6).Draw(t, "entries") {
			from := rapid.SampledFrom(branches).Draw(t, "from")
			next := branch{from.rows.fork(), maps.Clone(from.want)}
			x := &tx{rows: next.rows, hasher: &hasher{}, meta: meta{index: 1}, nodesTouched: map[string]bool{}}
			for range rapid.IntRange(1, 100).Draw(t, "changes") {
				p := &skerryv1.Placement{
					Project: "default", Name: fmt.Sprint("web-", rapid.IntRange(1, 200).Draw(t, "number")), Workload: "web",
					Node: rapid.SampledFrom([]string{"", "a", "b", "c"}).Draw(t, "node"),
				}
				if rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
					placements.remove(x, placements.key(p))
					delete(next.want, placements.key(p))
					continue
				}
				placements.put(x, p)
				next.want[placements.key(p)] = p
			}
			branches = append(branches, next)
		}
		for _, b := range branches {
			check(b)
		}
	})
}

// TestWhatIsTriedIsApart from what the log does at the same time; the race detector
// looks on.
func TestWhatIsTriedIsApart(t *testing.T) {
	s := New()
	x := s.begin(1, nil)
	for i := range 200 {
		placements.put(x, &skerryv1.Placement{Project: "default", Name: fmt.Sprint("web-", i), Node: "a"})
	}
	s.publish(x)
	view := s.View()
	var tries sync.WaitGroup
	for range 4 {
		tries.Go(func() {
			for i := range 50 {
				fork := s.Fork()
				x := fork.begin(fork.meta.index+1, nil)
				placements.put(x, &skerryv1.Placement{Project: "default", Name: fmt.Sprint("tried-", i), Node: "b"})
				fork.publish(x)
				if got := len(fork.View().PlacementsOn("b")); got != 1 {
					t.Errorf("%d placements were tried, not 1", got)
				}
				if got := len(view.PlacementsOn("a")); got != 200 {
					t.Errorf("the view has %d placements, not 200", got)
				}
			}
		})
	}
	for i := range 50 {
		x := s.begin(s.meta.index+1, nil)
		placements.remove(x, key("default", fmt.Sprint("web-", i)))
		s.publish(x)
	}
	tries.Wait()
	if got := len(s.View().PlacementsOn("a")); got != 150 {
		t.Errorf("%d placements are left, not 150", got)
	}
	if got := len(s.View().PlacementsOn("b")); got != 0 {
		t.Errorf("%d placements were only tried", got)
	}
}
