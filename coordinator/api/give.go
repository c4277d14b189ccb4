package api

import (
	"context"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// mayGive refuses roles that the caller does not have itself, whatever policies
// say: who may grant must not therefore be able to become admin.
func (s *Server) mayGive(ctx context.Context, wanted []*skerryv1.Grant) error {
	who, judge := principalFrom(ctx), s.judge()
	for _, grant := range wanted {
		if !judge.Covers(who, grant) {
			return problem.New(problem.Forbidden, who.ID, "it does not have the role %s itself, and so cannot give it", state.RoleWords(grant)).
				WithField("grants").WithHint("ask an admin of the site")
		}
	}
	return nil
}
