package main

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// kind of an operation.
type kind string

const (
	reads  kind = "read"
	writes kind = "write"
	// swaps write if the version is still the one that was read.
	swaps kind = "swap"
)

// outcome of an operation, as the client knows it.
type outcome string

const (
	done outcome = "ok"
	// refused: it was not done, for sure (another version).
	refused outcome = "refused"
	// unknown: it may be done, now, later or never.
	unknown outcome = "unknown"
	// stale: a read that was answered, marked as out of date.
	stale outcome = "stale"
)

// operation on one register, which is a label of a workload that runs nothing.
// Times count from the beginning of the run.
type operation struct {
	Client  int           `json:"client"`
	Node    string        `json:"node"`
	Key     string        `json:"key"`
	Kind    kind          `json:"kind"`
	Value   string        `json:"value,omitempty"`  // written, or read
	Expect  uint64        `json:"expect,omitempty"` // version, of a swap
	Version uint64        `json:"version,omitempty"`
	Index   uint64        `json:"index,omitempty"` // of the state that answered
	Before  uint64        `json:"before,omitempty"`
	Tries   int           `json:"tries"`
	Call    time.Duration `json:"call"`
	Return  time.Duration `json:"return"`
	Outcome outcome       `json:"outcome"`
	Err     string        `json:"err,omitempty"`
}

// history of a run.
type history struct {
	mu      sync.Mutex
	all     []operation
	highest uint64 // version that was acknowledged
}

func (h *history) add(o operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, o)
	if o.Outcome == done {
		h.highest = max(h.highest, o.Version)
	}
}

// acknowledged is the highest version that any client was told of.
func (h *history) acknowledged() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.highest
}

// done operations that returned between two times.
func (h *history) done(from, to time.Duration) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, o := range slices.Backward(h.all) {
		if o.Outcome == done && o.Return >= from && o.Return < to {
			n++
		}
	}
	return n
}

// firstWrite is when a write was acknowledged that began after a time.
func (h *history) firstWrite(after time.Duration) (time.Duration, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	first, found := time.Duration(0), false
	for _, o := range h.all {
		if o.Kind != reads && o.Outcome == done && o.Call >= after && (!found || o.Return < first) {
			first, found = o.Return, true
		}
	}
	return first, found
}

// standstill is the longest time between two times in which no write was
// acknowledged.
func (h *history) standstill(from, to time.Duration) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	ends := []time.Duration{to}
	for _, o := range h.all {
		if o.Kind != reads && o.Outcome == done && o.Return >= from && o.Return < to {
			ends = append(ends, o.Return)
		}
	}
	slices.Sort(ends)
	longest := time.Duration(0)
	for _, end := range ends {
		longest, from = max(longest, end-from), end
	}
	return longest
}

// of are the operations of a window, in the order of their beginnings.
func (h *history) of(window int) []operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	var some []operation
	for _, o := range h.all {
		if strings.HasPrefix(o.Key, fmt.Sprintf("reg-%d-", window)) {
			some = append(some, o)
		}
	}
	slices.SortFunc(some, func(a, b operation) int { return int(a.Call - b.Call) })
	return some
}

// register is what the model knows of one: its value and version. Of a write
// whose outcome nobody was told the version is not known, only one that it
// exceeds.
type register struct {
	value   string
	version uint64
	exact   bool
}

// at tells whether the version may be this one.
func (r register) at(version uint64) bool {
	return version == r.version && r.exact || version > r.version && !r.exact
}

// model of one register.
var model = porcupine.Model{
	Init: func() any { return register{exact: true} },
	Step: func(state, input, output any) (bool, any) {
		return step(state.(register), input.(operation))
	},
	DescribeOperation: func(input, output any) string {
		o := input.(operation)
		return fmt.Sprintf("%s %q %d->%d %s by %s", o.Kind, o.Value, o.Expect, o.Version, o.Outcome, o.Node)
	},
}

func step(was register, o operation) (bool, register) {
	switch {
	case o.Outcome == refused:
		return true, was
	case o.Kind == reads:
		return o.Value == was.value && was.at(o.Version), register{o.Value, o.Version, true}
	case o.Outcome == unknown && o.Kind == swaps && !was.at(o.Expect):
		return true, was
	case o.Outcome == unknown:
		return true, register{value: o.Value, version: max(was.version, o.Expect)}
	case o.Kind == swaps && !was.at(o.Expect):
		return false, was
	}
	return o.Version > was.version && o.Version > o.Expect, register{o.Value, o.Version, true}
}

// checkTime bounds the check of one register.
const checkTime = 30 * time.Second

// judge the history of some registers: what it breaks, in words.
func judge(all []operation) []string {
	byKey := map[string][]operation{}
	var found []string
	for _, o := range all {
		byKey[o.Key] = append(byKey[o.Key], o)
		if o.Kind == reads && o.Outcome == done && o.Index < o.Before {
			found = append(found, fmt.Sprintf("read of %s by %s was answered from %d, though %d was acknowledged before", o.Key, o.Node, o.Index, o.Before))
		}
	}
	for key, ops := range byKey {
		switch result, _ := porcupine.CheckOperationsVerbose(model, operations(ops), checkTime); result {
		case porcupine.Illegal:
			found = append(found, "the history of "+key+" is not linearizable"+lost(ops))
		case porcupine.Unknown:
			found = append(found, fmt.Sprintf("the history of %s (%d operations) could not be judged within %s", key, len(ops), checkTime))
		}
	}
	slices.Sort(found)
	return found
}

// lost says when the last read does not see what was acknowledged last.
func lost(ops []operation) string {
	newest, last := operation{}, operation{}
	for _, o := range ops {
		if o.Outcome != done {
			continue
		}
		if o.Kind == reads {
			if o.Call > last.Call {
				last = o
			}
		} else if o.Version > newest.Version {
			newest = o
		}
	}
	if last.Call > newest.Return && last.Version < newest.Version {
		return fmt.Sprintf(": %q at %d was acknowledged and is lost, a later read saw %q at %d", newest.Value, newest.Version, last.Value, last.Version)
	}
	return ""
}

// operations as the checker wants them. A write that nobody knows the outcome
// of, and whose value nobody saw, is left out: it explains nothing.
func operations(ops []operation) []porcupine.Operation {
	seen := map[string]bool{}
	for _, o := range ops {
		if o.Kind == reads && o.Outcome == done {
			seen[o.Value] = true
		}
	}
	var list []porcupine.Operation
	for _, o := range ops {
		ends := o.Return
		switch {
		case o.Kind == reads && o.Outcome != done, o.Outcome == unknown && !seen[o.Value]:
			continue
		case o.Outcome == unknown:
			ends = 1 << 62
		}
		list = append(list, porcupine.Operation{ClientId: o.Client, Input: o, Call: int64(o.Call), Return: int64(ends)})
	}
	return list
}
