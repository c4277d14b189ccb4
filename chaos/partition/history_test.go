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

func TestAWriteIsWaitedForFromWhereItIsPromised(t *testing.T) {
	const begun, ended = 100 * time.Second, 160 * time.Second
	acknowledged := func(at ...time.Duration) *history {
		h := &history{}
		for _, end := range at {
			h.add(operation{Kind: writes, Outcome: done, Call: end - time.Second, Return: end})
		}
		// Neither a read nor a write that nobody heard of is one.
		h.add(operation{Kind: reads, Outcome: done, Return: 130 * time.Second})
		h.add(operation{Kind: writes, Outcome: unknown, Return: 131 * time.Second})
		return h
	}
	for name, test := range map[string]struct {
		at         []time.Duration
		from, want time.Duration
		late       bool
	}{
		"a minute in which nothing is written": {at: []time.Duration{99 * time.Second}, from: begun, want: 62 * time.Second, late: true},
		"the same, counted from its end":       {at: []time.Duration{99 * time.Second}, from: ended, want: 2 * time.Second},
		"a gap while it goes on and off":       {at: []time.Duration{101 * time.Second, 141 * time.Second, 142 * time.Second}, from: begun, want: 40 * time.Second, late: true},
		"now and then a write": {
			at: []time.Duration{110 * time.Second, 125 * time.Second, 139 * time.Second, 150 * time.Second}, from: begun, want: 15 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := acknowledged(test.at...).standstill(test.from, 162*time.Second)
			if got != test.want || (len(late(got)) > 0) != test.late {
				t.Errorf("%s and %q, it should be %s", got, late(got), test.want)
			}
		})
	}
}
