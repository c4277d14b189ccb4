package api

import (
	"context"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// adminRole covers all others.
const adminRole = "admin"

// mayGive refuses roles that the caller does not have itself, whatever policies
// say: who may grant must not therefore be able to become admin.
func (s *Server) mayGive(ctx context.Context, wanted []*skerryv1.Grant) error {
	who := principalFrom(ctx)
	var own []*skerryv1.Grant
	if who.Caller == skerryv1.Caller_CALLER_OPERATOR {
		own = s.Store.View().Operator(who.Name).GetGrants()
	}
	for _, grant := range wanted {
		if !covered(grant, own) {
			words := grant.GetRole()
			if grant.GetProject() != "" {
				words += " in project " + grant.GetProject()
			}
			return problem.New(problem.Forbidden, who.ID, "it does not have the role %s itself, and so cannot give it", words).
				WithField("grants").WithHint("ask an admin of the site")
		}
	}
	return nil
}

// covered: one of the own roles is the same or admin, in that project or in all.
func covered(grant *skerryv1.Grant, own []*skerryv1.Grant) bool {
	for _, held := range own {
		role := held.GetRole() == grant.GetRole() || held.GetRole() == adminRole
		if role && (held.GetProject() == "" || held.GetProject() == grant.GetProject()) {
			return true
		}
	}
	return false
}
