package state

import (
	"skerry.dev/shared/problem"
)

// Limits of names: they become DNS labels, and placements add a number.
const (
	maxName     = 48
	maxNodeName = 63
	maxZone     = 63
	maxLabels   = 32
	maxLabel    = 63
)

// key of an object that belongs to a project. Names hold no zero byte, so the
// order of keys is that of project, then name.
func key(project, name string) string { return project + "\x00" + name }

// checkName asks of a name what a DNS label asks, and that it begins with a
// letter.
func checkName(kind, name string) error {
	if isName(name, maxName) && name[0] >= 'a' {
		return nil
	}
	return problem.New(problem.Invalid, kind+"/"+bounded(name, maxName), "a name is 1 to %d characters, a-z, 0-9 and -, "+
		"begins with a letter and does not end with -", maxName).WithField("name")
}

// checkNodeName allows what host names are.
func checkNodeName(name string) error {
	if isName(name, maxNodeName) {
		return nil
	}
	return problem.New(problem.Invalid, "Node/"+bounded(name, maxNodeName), "a node's name is 1 to %d characters, a-z, 0-9 and -, "+
		"and neither begins nor ends with -", maxNodeName).WithField("name")
}

func isName(name string, limit int) bool {
	if name == "" || len(name) > limit || name[0] == '-' || name[len(name)-1] == '-' {
		return false
	}
	for _, c := range []byte(name) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// checkLabels bounds labels; their alphabet is the API's business.
func checkLabels(subject string, labels map[string]string) error {
	if len(labels) > maxLabels {
		return problem.New(problem.Invalid, subject, "%d labels, at most %d are taken", len(labels), maxLabels).WithField("labels")
	}
	for name, value := range labels {
		if name == "" || len(name) > maxLabel || len(value) > maxLabel {
			return problem.New(problem.Invalid, subject, "a label is at most %d characters", maxLabel).WithField("labels")
		}
	}
	return nil
}
