package issuer

import (
	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// Entitled returns the placement for which a node may have an SVID: it is bound
// to that node, is to run, and asks for an identity. Whoever asks for another
// learns nothing about it, not even that it is there.
func Entitled(view *state.View, node, project, name string) (*skerryv1.Placement, error) {
	placement := view.Placement(project, name)
	switch {
	case placement == nil || node == "" || placement.GetNode() != node:
		return nil, problem.New(problem.Forbidden, subject(name), "it is not bound to %s", node)
	case placement.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN:
		return nil, problem.New(problem.Forbidden, subject(name), "it is on its way out")
	case !placement.GetSpec().GetIdentity():
		return nil, problem.New(problem.Forbidden, subject(name), "its workload asks for no identity").
			WithHint("identity: true in its manifest")
	}
	return placement, nil
}

// subject bounds a name that came from outside.
func subject(placement string) string {
	const longest = 64
	return "Placement/" + placement[:min(len(placement), longest)]
}
