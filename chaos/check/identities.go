package check

import skerryv1 "skerry.dev/shared/api/skerry/v1"

// Issued tells that a voter gave a node an identity of a placement, as that
// voter's state has it; nil for one that it does not have.
func Issued(node string, p *skerryv1.Placement) *Violation {
	switch {
	case p == nil:
		return violated(IdentityBound, "%s got one of a placement that there is not", node)
	case p.GetNode() != node:
		return violated(IdentityBound, "%s got one of %s, which is on %q", node, p.GetName(), p.GetNode())
	case p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN:
		return violated(IdentityBound, "%s got one of %s, which is not to run", node, p.GetName())
	case !p.GetSpec().GetIdentity():
		return violated(IdentityBound, "%s got one of %s, which asks for none", node, p.GetName())
	}
	return nil
}
