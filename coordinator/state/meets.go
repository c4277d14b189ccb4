package state

import (
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// Bounds of what a workload may say about its place.
const (
	maxConditionsOfPlace = 32
	maxValues            = 256
)

// MeetsRequirements tells whether a node has the labels that the workload
// asks for.
func MeetsRequirements(node *skerryv1.Node, w *skerryv1.Workload) bool {
	for _, r := range w.GetPlace().GetRequire() {
		if !Meets(node, r) {
			return false
		}
	}
	for _, r := range w.GetPlace().GetKeepIn() {
		if !Meets(node, r) {
			return false
		}
	}
	return true
}

// Meets tells whether a node meets one requirement.
func Meets(node *skerryv1.Node, r *skerryv1.Requirement) bool {
	value, has := manifest.Label(node, r.GetLabel())
	return manifest.Accepts(r, value, has)
}

// Label of a node; `zone`, `name` and `version` are always there.
func Label(node *skerryv1.Node, name string) (string, bool) { return manifest.Label(node, name) }

// checkPlace bounds what the scheduler has to look at.
func checkPlace(about string, p *skerryv1.Place) error {
	count := len(p.GetRequire()) + len(p.GetKeepIn()) + len(p.GetPrefer()) + len(p.GetWith()) + len(p.GetApart())
	if count > 3*maxConditionsOfPlace || len(p.GetTargets()) > maxValues {
		return problem.New(problem.Invalid, about, "%d conditions, at most %d are taken", count, 3*maxConditionsOfPlace).WithField("place")
	}
	requirements := append(append([]*skerryv1.Requirement(nil), p.GetRequire()...), p.GetKeepIn()...)
	for _, preference := range p.GetPrefer() {
		requirements = append(requirements, preference.GetNode())
	}
	for _, r := range requirements {
		if len(r.GetIn()) > maxValues || len(r.GetNotIn()) > maxValues {
			return problem.New(problem.Invalid, about, "a condition of more than %d values", maxValues).WithField("place")
		}
	}
	return nil
}
