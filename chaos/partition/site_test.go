package main

import (
	"slices"
	"strings"
	"testing"

	"skerry.dev/chaos/hosts"
)

func TestWhatNothingHappenedToIsLeftAlone(t *testing.T) {
	const cut, fine = "node-1", "node-2"
	for name, test := range map[string]struct {
		of, on, is string // nothing is left of it when is is empty
		leases     bool
		says       string
	}{
		"it goes on":                                             {of: "web-1", on: fine, is: "7@1"},
		"a copy on a fine node is ended":                         {of: "web-1", on: fine, says: "its node was fine"},
		"a copy on a cut node is replaced":                       {of: "web-1", on: cut},
		"a copy on a cut node is restarted":                      {of: "web-1", on: cut, is: "8@2", says: "restarted"},
		"a copy on a fine node is restarted":                     {of: "web-1", on: fine, is: "8@2", says: "restarted"},
		"what belongs to a cut node is ended":                    {of: "each-1", on: cut, says: "belongs there"},
		"what belongs to a fine node is ended":                   {of: "each-1", on: fine, says: "its node was fine"},
		"what is exclusive ends on a cut node":                   {of: "db-1", on: cut, leases: true},
		"what is exclusive ends without leases":                  {of: "db-1", on: fine},
		"what is exclusive ends on a fine node with its lease":   {of: "db-1", on: fine, leases: true, says: "its node was fine"},
		"what is exclusive is restarted though it had its lease": {of: "db-1", on: fine, is: "8@2", leases: true, says: "restarted"},
	} {
		t.Run(name, func(t *testing.T) {
			before := map[string]map[string]string{test.on: {test.of: "7@1"}}
			after := map[string]map[string]string{test.on: {}}
			if test.is != "" {
				after[test.on][test.of] = test.is
			}
			found := strings.Join(harmed(before, after, map[string]bool{cut: true}, test.leases), "\n")
			if test.says == "" && found != "" || !strings.Contains(found, test.says) {
				t.Errorf("it says %q", found)
			}
		})
	}
}

func TestOfACutTheSideWithFewerVotesIsTouched(t *testing.T) {
	of := func(names ...string) (some []*hosts.Host) {
		for _, name := range names {
			some = append(some, &hosts.Host{Name: name})
		}
		return some
	}
	few, rest := of("node-1", "node-2"), of("node-3", "node-4", "node-5")
	for voters, want := range map[string][]*hosts.Host{
		"node-1 node-2 node-3": rest,
		"node-2 node-3 node-5": few,
		"node-3 node-4 node-5": few,
	} {
		if got := fewerVotes(strings.Fields(voters), few, rest); !slices.Equal(got, want) {
			t.Errorf("of the voters %s: %s", voters, names(got))
		}
	}
}

func TestLeasesAreToBeHadWhereWritesGoOn(t *testing.T) {
	for name, test := range map[string]struct {
		serves, same bool
		stood        float64
		want         bool
	}{
		"a slow coordinator":      {serves: true, same: true, stood: 1.2, want: true},
		"a very slow one":         {serves: true, same: true, stood: 1.6},
		"another coordinator":     {serves: true, stood: 0.5},
		"without a majority left": {same: true, stood: 0.1},
	} {
		if got := leases(nemesis{serves: test.serves}, injection{Write: test.stood}, test.same); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
