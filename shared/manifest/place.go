package manifest

import (
	"fmt"
	"slices"
	"strings"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	maxRequirements = 16
	maxAccepted     = 64
	maxTargets      = 64
	maxWeight       = 100
	maxPriority     = 1000
)

func (v *validator) place(w *skerryv1.Workload) {
	p := w.GetPlace()
	v.label("place.spread", p.GetSpread())
	v.requirements("place.require", p.GetRequire())
	v.requirements("place.keepIn", p.GetKeepIn())
	v.contradictions(p)
	v.atMost("place.prefer", len(p.GetPrefer()), maxRequirements)
	for i, preference := range p.GetPrefer() {
		field := fmt.Sprintf("place.prefer[%d]", i)
		v.requirement(field+".node", preference.GetNode())
		if weight := preference.GetWeight(); weight == 0 || weight < -maxWeight || weight > maxWeight {
			v.fail(field+".weight", "%d is not between -%d and %d, or it is 0", weight, maxWeight, maxWeight)
		}
	}
	v.affinities("place.with", p.GetWith())
	v.affinities("place.apart", p.GetApart())
	v.closeAndApart(w)
	v.targets(p.GetTargets())
}

func (v *validator) requirements(field string, all []*skerryv1.Requirement) {
	v.atMost(field, len(all), maxRequirements)
	for i, r := range all {
		v.requirement(fmt.Sprintf("%s[%d]", field, i), r)
	}
}

func (v *validator) requirement(field string, r *skerryv1.Requirement) {
	v.label(field+".label", r.GetLabel())
	given := 0
	for _, is := range []bool{len(r.GetIn()) > 0, len(r.GetNotIn()) > 0, r.Exists != nil, r.GetAtLeast() != ""} {
		if is {
			given++
		}
	}
	switch {
	case given == 0:
		v.fail(field+".in", "it is empty: no node could ever meet it").Hint = "give one of in, notIn, exists and atLeast"
	case given > 1:
		v.fail(field, "give exactly one of in, notIn, exists and atLeast")
	}
	v.values(field+".in", r.GetIn())
	v.values(field+".notIn", r.GetNotIn())
	if _, ok := Version(r.GetAtLeast()); r.GetAtLeast() != "" && !ok {
		v.fail(field+".atLeast", "%q is not a number or version such as 4 or 1.10.2", shorten(r.GetAtLeast()))
	}
}

func (v *validator) values(field string, values []string) {
	v.atMost(field, len(values), maxAccepted)
	for i, value := range values {
		if value != "" && !labelShape.fits(value) {
			v.fail(fmt.Sprintf("%s[%d]", field, i), "%q cannot be the value of a label", shorten(value))
		}
	}
}

// contradictions refuses requirements that no node can meet together.
func (v *validator) contradictions(p *skerryv1.Place) {
	all := slices.Concat(p.GetRequire(), p.GetKeepIn())
	for i, r := range all {
		for _, other := range all[:i] {
			if r.GetLabel() == other.GetLabel() && contradict(r, other) {
				field, at := "place.require", i
				if i >= len(p.GetRequire()) {
					field, at = "place.keepIn", i-len(p.GetRequire())
				}
				v.fail(fmt.Sprintf("%s[%d]", field, at), "no node can meet it together with another condition on label %s: %s, and %s",
					shorten(r.GetLabel()), Condition(other), Condition(r))
				return
			}
		}
	}
}

func contradict(a, b *skerryv1.Requirement) bool { return excludes(a, b) || excludes(b, a) }

// excludes: nothing that a accepts is accepted by b.
func excludes(a, b *skerryv1.Requirement) bool {
	if a.Exists != nil && !a.GetExists() {
		return len(b.GetIn()) > 0 || b.GetExists() || b.GetAtLeast() != ""
	}
	if len(a.GetIn()) == 0 {
		return false
	}
	return !slices.ContainsFunc(a.GetIn(), func(value string) bool { return Accepts(b, value, true) })
}

func (v *validator) affinities(field string, all []*skerryv1.Affinity) {
	v.atMost(field, len(all), maxRequirements)
	for i, a := range all {
		at := fmt.Sprintf("%s[%d]", field, i)
		v.name(at+".workload", a.GetWorkload())
		v.label(at+".on", a.GetOn())
		v.between(at+".weight", a.GetWeight(), 0, maxWeight)
	}
}

// closeAndApart refuses what can never be: the same workload both close and
// away on the same label, both as conditions.
func (v *validator) closeAndApart(w *skerryv1.Workload) {
	for _, with := range w.GetPlace().GetWith() {
		for i, apart := range w.GetPlace().GetApart() {
			same := with.GetWorkload() == apart.GetWorkload() && with.GetOn() == apart.GetOn()
			if same && with.GetWeight() == 0 && apart.GetWeight() == 0 {
				v.fail(fmt.Sprintf("place.apart[%d]", i), "it cannot be both with %s and apart from it on label %s",
					shorten(apart.GetWorkload()), shorten(apart.GetOn()))
			}
		}
	}
}

func (v *validator) targets(targets []*skerryv1.SpreadTarget) {
	v.atMost("place.targets", len(targets), maxTargets)
	total, given := uint32(0), map[string]bool{}
	for i, target := range targets[:min(len(targets), maxTargets)] {
		field := fmt.Sprintf("place.targets[%d]", i)
		if value := target.GetValue(); !labelShape.fits(value) {
			v.fail(field+".value", "%q cannot be the value of a label", shorten(value))
		} else if given[value] {
			v.fail(field+".value", "%s is given twice", value)
		}
		given[target.GetValue()] = true
		v.between(field+".percent", target.GetPercent(), 0, 100)
		total += min(target.GetPercent(), 100)
	}
	if total > 100 {
		v.fail("place.targets", "they add up to %d percent", total)
	}
}

// Condition says in words what a requirement asks for.
func Condition(r *skerryv1.Requirement) string {
	switch {
	case len(r.GetIn()) > 0:
		return strings.Join(r.GetIn(), " or ")
	case len(r.GetNotIn()) > 0:
		return "not " + strings.Join(r.GetNotIn(), " or ")
	case r.Exists != nil && !r.GetExists():
		return "none"
	case r.GetAtLeast() != "":
		return "at least " + r.GetAtLeast()
	default:
		return "any"
	}
}
