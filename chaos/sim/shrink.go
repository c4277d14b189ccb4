package sim

import (
	"time"

	"skerry.dev/chaos/nemesis"
)

// shrinker drops from a run what it does not need to break its rule.
type shrinker struct {
	run func(Options) Result
	// left is how many more runs may be tried.
	left int
}

// Shrink a run that broke a rule, in at most so many runs: first what comes after, then
// faults, then what people do. What is left differs from the first run in more than
// what was dropped, as all that follows a fault does: it breaks the same rule, perhaps
// on another way.
func Shrink(options Options, failed Result, tries int, run func(Options) Result) Script {
	k := &shrinker{run: run, left: tries}
	s := Script{
		Found: failed.Violation.Message, Rule: failed.Violation.Rule, Seed: options.Seed, Bug: options.Bug,
		Faults: options.Faults, Tide: options.Tide, Witness: options.Witness, Rehearse: options.Rehearse, Everybody: true, Plan: failed.plan, People: failed.acts,
	}
	if during := failed.At - openTime; during > 0 && during < s.Faults {
		s.Faults = (during + time.Second).Truncate(time.Second)
	}
	shorter := s
	shorter.Plan = before(s.Plan, s.Faults)
	if k.fails(shorter) {
		s = shorter
	} else {
		s.Faults = options.Faults
	}
	s.Plan = drop(s.Plan, func(plan []nemesis.Fault) bool {
		tried := s
		tried.Plan = plan
		return k.fails(tried)
	})
	if even := s.even(); k.fails(even) {
		s = even
	}
	alone := s
	alone.Everybody, alone.People = false, nil
	if k.fails(alone) {
		return alone
	}
	alone.People = failed.acts
	if !k.fails(alone) { // it needs all of them, and those that came later
		s.People = nil
		return s
	}
	alone.People = drop(alone.People, func(people []string) bool {
		tried := alone
		tried.People = people
		return k.fails(tried)
	})
	return alone
}

// even has times that a person can read.
func (s Script) even() Script {
	plan := make([]nemesis.Fault, 0, len(s.Plan))
	for _, f := range s.Plan {
		f.At, f.For = f.At.Round(100*time.Millisecond), max(f.For.Round(100*time.Millisecond), 100*time.Millisecond)
		plan = append(plan, f)
	}
	s.Plan = plan
	return s
}

func (k *shrinker) fails(s Script) bool {
	if k.left <= 0 {
		return false
	}
	k.left--
	result := k.run(s.Options())
	return result.Violation != nil && result.Violation.Rule == s.Rule
}

// before are the faults that begin in time.
func before(plan []nemesis.Fault, end time.Duration) []nemesis.Fault {
	var kept []nemesis.Fault
	for _, f := range plan {
		if f.At < end {
			kept = append(kept, f)
		}
	}
	return kept
}

// drop parts of a list for as long as it fails without them: large parts first,
// single ones last.
func drop[T any](all []T, fails func([]T) bool) []T {
	for size := (len(all) + 1) / 2; size > 0 && len(all) > 0; size /= 2 {
		for at := 0; at < len(all); {
			rest := append(append([]T{}, all[:at]...), all[min(at+size, len(all)):]...)
			if fails(rest) {
				all = rest
			} else {
				at += size
			}
		}
	}
	return all
}
