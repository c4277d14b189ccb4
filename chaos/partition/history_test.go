package main

import (
	"strings"
	"testing"
	"time"
)

func TestHistoriesAreJudged(t *testing.T) {
	write := func(value string, version uint64, call, end time.Duration, o outcome) operation {
		return operation{Key: "k", Kind: writes, Value: value, Version: version, Call: call, Return: end, Outcome: o}
	}
	read := func(value string, version uint64, call, end time.Duration) operation {
		return operation{Key: "k", Kind: reads, Value: value, Version: version, Index: version, Call: call, Return: end, Outcome: done}
	}
	swap := func(value string, expect, version uint64, call, end time.Duration, o outcome) operation {
		return operation{Key: "k", Kind: swaps, Value: value, Expect: expect, Version: version, Call: call, Return: end, Outcome: o}
	}
	for name, test := range map[string]struct {
		ops  []operation
		says string
	}{
		"one after the other":                  {ops: []operation{write("a", 1, 1, 2, done), read("a", 1, 3, 4), write("b", 2, 5, 6, done), read("b", 2, 7, 8)}},
		"a read of what is being written":      {ops: []operation{write("a", 1, 1, 2, done), write("b", 2, 3, 9, done), read("a", 1, 4, 5), read("b", 2, 6, 7)}},
		"an old value after a new one":         {ops: []operation{write("a", 1, 1, 2, done), write("b", 2, 3, 4, done), read("a", 1, 5, 6)}, says: "lost"},
		"new, then old":                        {ops: []operation{write("a", 1, 1, 2, done), write("b", 2, 3, 9, done), read("b", 2, 4, 5), read("a", 1, 6, 7)}, says: "linearizable"},
		"unknown and seen late":                {ops: []operation{write("a", 1, 1, 2, done), write("b", 0, 3, 4, unknown), read("a", 1, 5, 6), read("b", 7, 8, 9)}},
		"unknown and never seen":               {ops: []operation{write("a", 1, 1, 2, done), write("b", 0, 3, 4, unknown), read("a", 1, 5, 6)}},
		"unknown, seen, and then undone":       {ops: []operation{write("a", 1, 1, 2, done), write("b", 0, 3, 4, unknown), read("b", 2, 5, 6), read("a", 1, 7, 8)}, says: "linearizable"},
		"done twice":                           {ops: []operation{write("a", 1, 1, 2, done), write("b", 2, 3, 4, done), read("a", 3, 5, 6)}, says: "linearizable"},
		"two swaps of one version":             {ops: []operation{write("a", 1, 1, 2, done), swap("b", 1, 2, 3, 5, done), swap("c", 1, 3, 3, 5, done)}, says: "linearizable"},
		"a swap that lost":                     {ops: []operation{write("a", 1, 1, 2, done), swap("b", 1, 2, 3, 5, done), swap("c", 1, 0, 3, 5, refused), read("b", 2, 6, 7)}},
		"an unknown swap that cannot have won": {ops: []operation{write("a", 1, 1, 2, done), write("b", 2, 3, 4, done), swap("c", 1, 0, 5, 6, unknown), read("c", 3, 7, 8)}, says: "linearizable"},
		"a read from before what was told":     {ops: []operation{{Key: "k", Kind: reads, Index: 4, Before: 5, Call: 1, Return: 2, Outcome: done}}, says: "acknowledged before"},
	} {
		t.Run(name, func(t *testing.T) {
			found := strings.Join(judge(test.ops), "\n")
			if test.says == "" && found != "" || !strings.Contains(found, test.says) {
				t.Errorf("it says %q", found)
			}
		})
	}
}
