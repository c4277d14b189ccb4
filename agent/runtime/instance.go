package runtime

import (
	"regexp"

	"skerry.dev/shared/problem"
)

var idPattern = regexp.MustCompile(`^[a-zA-Z0-9][-_.a-zA-Z0-9]{0,199}$`)

// CheckID refuses what cannot be the ID of an instance, above all what would lead
// out of a directory: drivers make paths and names of it.
func CheckID(id string) error {
	if !idPattern.MatchString(id) {
		return problem.New(problem.Invalid, id, "it cannot be the ID of an instance")
	}
	return nil
}

// CheckStart tells whether an instance runs already, or why it cannot be started;
// nil is one that is not there.
func (i *Instance) CheckStart(id string) (runs bool, err error) {
	switch {
	case i == nil:
		return false, problem.New(problem.NotFound, id, "it is not prepared on this node")
	case i.State == Running:
		return true, nil
	case i.State == Exited:
		return false, problem.New(problem.Conflict, id, "it has ended already").WithHint("remove it first")
	case i.State == Broken:
		return false, problem.New(problem.Conflict, id, "it is a leftover that cannot be started").WithHint("remove it first")
	}
	return false, nil
}
