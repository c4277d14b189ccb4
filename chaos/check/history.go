package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Operation on a register, as the client saw it.
type Operation struct {
	Client int
	Key    string
	Write  bool
	// Value that was written, which nobody else writes, or read.
	Value string
	// Unknown: the client never heard what became of it.
	Unknown      bool
	Call, Return time.Duration
}

func (o Operation) String() string {
	what := "reads"
	if o.Write {
		what = "writes"
	}
	if o.Unknown {
		return fmt.Sprintf("client %d %s %q from %v, not known to what end", o.Client, what, o.Value, o.Call)
	}
	return fmt.Sprintf("client %d %s %q from %v to %v", o.Client, what, o.Value, o.Call, o.Return)
}

// History of operations on registers, which are empty in the beginning. A client
// does one operation at a time.
type History struct {
	of map[string][]Operation
	// open are those that have begun and not ended, by client.
	open map[int]Operation
}

// NewHistory in which nothing has happened.
func NewHistory() *History {
	return &History{of: map[string][]Operation{}, open: map[int]Operation{}}
}

// Begin an operation. Until it is added or refused nobody knows what becomes of it.
func (h *History) Begin(o Operation) { h.open[o.Client] = o }

// Add an operation that has ended, or that its client has given up.
func (h *History) Add(o Operation) {
	delete(h.open, o.Client)
	h.of[o.Key] = append(h.of[o.Key], o)
}

// Refused is the operation that a client has begun: it does not happen.
func (h *History) Refused(client int) { delete(h.open, client) }

// Len counts the operations.
func (h *History) Len() int {
	n := 0
	for _, all := range h.of {
		n += len(all)
	}
	return n
}

// searchTime bounds the search for an order of the operations on one register.
const searchTime = time.Minute

// Linearizable tells whether there is one order that explains all that clients saw.
func (h *History) Linearizable() *Violation {
	for _, key := range slices.Sorted(maps.Keys(h.of)) {
		all := slices.Clone(h.of[key])
		for _, client := range slices.Sorted(maps.Keys(h.open)) {
			if o := h.open[client]; o.Key == key {
				o.Unknown = true
				all = append(all, o)
			}
		}
		if v := linearizable(key, all); v != nil {
			return v
		}
	}
	return nil
}

func linearizable(key string, all []Operation) *Violation {
	kept := decided(all)
	operations := make([]porcupine.Operation, 0, len(kept))
	for _, o := range kept {
		operations = append(operations, porcupine.Operation{ClientId: o.Client, Input: o, Output: o, Call: int64(o.Call), Return: int64(o.Return)})
	}
	result, info := porcupine.CheckOperationsVerbose(register, operations, searchTime)
	switch result {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return violated(Linearizable, "no order of the %d operations on %s was found in %v", len(kept), key, searchTime)
	default:
		return violated(Linearizable, "no order explains what was seen of %s: %s", key, around(kept, info))
	}
}

// decided leaves out what cannot matter: reads without an answer, and writes
// without one whose value nobody saw, which may come after all else. A write
// without an answer whose value was read had happened when the first such read
// ended.
func decided(all []Operation) []Operation {
	seen := map[string]time.Duration{}
	for _, o := range all {
		if first, known := seen[o.Value]; !o.Write && !o.Unknown && (!known || o.Return < first) {
			seen[o.Value] = o.Return
		}
	}
	var kept []Operation
	for _, o := range all {
		first, read := seen[o.Value]
		switch {
		case !o.Unknown:
			kept = append(kept, o)
		case o.Write && read && first < o.Call:
			o.Return = o.Call + 1 // read before it was written: no order can explain that
			kept = append(kept, o)
		case o.Write && read:
			o.Return = first
			kept = append(kept, o)
		}
	}
	slices.SortStableFunc(kept, func(a, b Operation) int { return cmp.Compare(a.Call, b.Call) })
	return kept
}

// around tells the operations about the point up to which an order was found.
func around(all []Operation, info porcupine.LinearizationInfo) string {
	longest := 0
	for _, partial := range info.PartialLinearizations()[0] {
		longest = max(longest, len(partial))
	}
	var text []string
	for _, o := range all[max(0, longest-3):min(len(all), longest+5)] {
		text = append(text, o.String())
	}
	return strings.Join(text, "; ")
}

// register holds one value.
var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		if o := input.(Operation); o.Write {
			return true, o.Value
		}
		return state == input.(Operation).Value, state
	},
}
