package audit

import (
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

// CheckFetched checks leaves that another replica sent against a tree that is
// known to be right, of target leaves with a root. before is the frontier of what
// is here; when the answer begins later, because leaves were archived, it may
// begin at most at archived. It returns the frontier before the leaves, and the
// leaves.
func CheckFetched(answer *sitev1.FetchLeavesResponse, before Frontier, archived, target uint64, root tlog.Hash) (Frontier, []Leaf, error) {
	if answer.GetFirst() != before.Size() {
		if answer.GetFirst() < before.Size() {
			return Frontier{}, nil, fmt.Errorf("the answer begins with leaf %d, not with %d", answer.GetFirst(), before.Size())
		}
		if answer.GetFirst() > archived {
			return Frontier{}, nil, problem.New(problem.NotFound, "audit log", "it has no entries before %d, and those from %d on are wanted", answer.GetFirst(), before.Size()).
				WithHint("when no voter that is down has them they are lost: skerry audit archive FILE, with the --address of this one, lets the others go on from there")
		}
		var err error
		if before, err = FrontierOf(answer.GetFirst(), answer.GetEdge()); err != nil {
			return Frontier{}, nil, err
		}
	}
	if len(answer.GetLeaves()) == 0 && before.Size() == 0 {
		return Frontier{}, nil, errors.New("the answer is empty")
	}
	after := before
	var leaves []Leaf
	for _, data := range answer.GetLeaves() {
		if _, err := Decode(after.Size(), data); err != nil {
			return Frontier{}, nil, err
		}
		leaves = append(leaves, after.Append(data))
	}
	if err := CheckTree(answer.GetProof(), target, root, after.Size(), after.Root()); err != nil {
		return Frontier{}, nil, fmt.Errorf("the leaves are not those of the site's log: %w", err)
	}
	return before, leaves, nil
}
