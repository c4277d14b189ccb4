package manifest

import (
	"errors"
	"fmt"
	"strings"

	"skerry.dev/shared/problem"
)

// maxProblems are told at once.
const maxProblems = 10

// problems gathers what is wrong; those beyond maxProblems are counted.
type problems struct {
	told []*problem.Error
	more int
}

func (p *problems) add(found *problem.Error) {
	if len(p.told) == maxProblems {
		p.more++
		return
	}
	p.told = append(p.told, found)
}

func (p *problems) count() int { return len(p.told) + p.more }

// join returns the only problem, or one that wraps all of them.
func (p *problems) join(name string) error {
	switch len(p.told) {
	case 0:
		return nil
	case 1:
		return p.told[0]
	}
	all := make([]error, 0, len(p.told)+1)
	for _, found := range p.told {
		all = append(all, found)
	}
	if p.more > 0 {
		all = append(all, problem.New(problem.Invalid, name, "and %d more", p.more))
	}
	return errors.Join(all...)
}

// summarize makes one problem of several about the same resource: the API's
// errors name one field, so the first is named and the others are appended.
func summarize(found []*problem.Error) *problem.Error {
	first := *found[0]
	if len(found) == 1 {
		return &first
	}
	rest := make([]string, 0, maxProblems)
	for i, p := range found[1:] {
		if i == maxProblems-1 {
			rest = append(rest, fmt.Sprintf("and %d more", len(found)-maxProblems))
			break
		}
		rest = append(rest, p.Field+": "+p.Message)
	}
	first.Message += "; also " + strings.Join(rest, "; ")
	first.Err = nil
	return &first
}
