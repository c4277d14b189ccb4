package check

import (
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// Adopted tells what became of a placement that a node runs when a site that began
// anew took that node in: known is what the state had of it before, now after.
func Adopted(node string, runs, known, now *skerryv1.Placement) *Violation {
	const run = skerryv1.DesiredState_DESIRED_STATE_RUN
	wanted := run
	if known.GetNode() == node {
		wanted = known.GetDesired()
	}
	switch {
	case runs.GetDesired() != run || runs.GetEnded() != nil:
		return nil // it is on its way out
	case now.GetNode() == node && now.GetDesired() == wanted:
		return nil
	case now.GetNode() != node && (manifest.IsJob(runs.GetSpec()) || manifest.LeaseOf(runs.GetSpec()) > 0):
		return nil // a run that the state does not know, or one that may run elsewhere
	}
	return violated(Anew, "%s runs %s, and the site that began anew has it on %q, to %v", node, runs.GetName(), now.GetNode(), now.GetDesired())
}

// BeganAnew is what went wrong when a site did.
func BeganAnew(format string, args ...any) *Violation { return violated(Anew, format, args...) }
