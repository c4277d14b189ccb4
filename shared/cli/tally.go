package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/manifest"
)

// maxTallies bounds the workloads in a status; those that work come last.
const maxTallies = 20

// tally counts the placements of one workload.
type tally struct {
	project, name   string
	wanted, working int
	// others counts those that do not work by their state.
	others map[string]int
	// job tells how far the last run of a job is.
	job string
}

// tally counts for each workload that the answering node knows of, and for each
// of which it only has placements; these it returns too.
func (o *statusOptions) tally(ctx context.Context, c *client.Client) ([]*tally, []*skerryv1.Placement, error) {
	workloads, err := call(ctx, o.app, c.Resources().List, &skerryv1.ListRequest{Kind: "Workload", Stale: o.stale})
	if err != nil {
		return nil, nil, err
	}
	placements, err := call(ctx, o.app, c.Resources().List, &skerryv1.ListRequest{Kind: "Placement", Stale: o.stale})
	if err != nil {
		return nil, nil, err
	}
	var all []*skerryv1.Placement
	tallies := map[string]*tally{}
	of := func(project, name string) *tally {
		t := tallies[project+"/"+name]
		if t == nil {
			t = &tally{project: project, name: name, wanted: -1, others: map[string]int{}}
			tallies[project+"/"+name] = t
		}
		return t
	}
	for _, resource := range workloads.GetResources() {
		w := resource.GetWorkload()
		t := of(w.GetProject(), w.GetName())
		t.wanted = manifest.Wanted(w)
		if manifest.IsJob(w) {
			t.job = manifest.Progress(w)
		}
	}
	for _, resource := range placements.GetResources() {
		p := resource.GetPlacement()
		all = append(all, p)
		t := of(p.GetProject(), p.GetWorkload())
		if works(p) {
			t.working++
		} else if p.GetEnded() == nil {
			t.others[placementState(p)]++
		}
	}
	return slices.SortedFunc(maps.Values(tallies), worstFirst), all, nil
}

// worstFirst sorts what does not wholly work before what does.
func worstFirst(a, b *tally) int {
	rank := func(t *tally) int {
		if t.working < t.wanted || len(t.others) > 0 {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.project, b.project), cmp.Compare(a.name, b.name))
}

func tallyTable(tallies []*tally) *table {
	t := newTable("NAME", "PROJECT", "HEALTHY", "OTHERS")
	for _, one := range tallies[:min(len(tallies), maxTallies)] {
		wanted := fmt.Sprint(one.wanted)
		if one.wanted < 0 {
			wanted = "?"
		}
		t.row(one.name, one.project, fmt.Sprintf("%d/%s", one.working, wanted), one.rest())
	}
	if more := len(tallies) - maxTallies; more > 0 {
		t.row(fmt.Sprintf("and %d more: skerry get workloads", more), " ", " ", " ")
	}
	return t
}

// rest is what the others do: 1 pending, 2 restarting.
func (t *tally) rest() string {
	var parts []string
	if t.job != "" {
		parts = append(parts, t.job)
	}
	for _, state := range slices.Sorted(maps.Keys(t.others)) {
		parts = append(parts, fmt.Sprintf("%d %s", t.others[state], state))
	}
	return strings.Join(parts, ", ")
}
