package state

import (
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// planRollout takes over what the controllers say of a workload's newest
// template, if the present state does not speak against it.
func (x *tx) planRollout(part *sitev1.RolloutStep) bool {
	k := key(part.GetProject(), part.GetWorkload())
	w := workloads.get(x.rows, k).GetWorkload()
	s := &steering{tx: x, w: w, rollout: x.rollout(k)}
	if w == nil || w.GetGeneration() != part.GetGeneration() || s.rollout.Done() {
		return false
	}
	switch part.GetVerdict() {
	case sitev1.RolloutVerdict_ROLLOUT_VERDICT_GOOD:
		return s.verdictGood()
	case sitev1.RolloutVerdict_ROLLOUT_VERDICT_FAILED:
		return s.verdictFailed(part.GetReason())
	case sitev1.RolloutVerdict_ROLLOUT_VERDICT_PROMOTED:
		if !s.rollout.Beside(w) || s.rollout.Paused() || s.healthyBeside() < s.rollout.target(w) {
			return false
		}
		s.promoted(bounded(part.GetReason(), maxMessage))
		return true
	default:
		return false
	}
}

// verdictGood holds when every placement that counts is healthy and runs it.
func (s *steering) verdictGood() bool {
	if s.rollout.Beside(s.w) {
		return false
	}
	counted := 0
	for _, p := range placements.by(s.rows, byWorkload, key(s.w.GetProject(), s.w.GetName())) {
		if !Counts(p) {
			continue
		}
		if !IsHealthy(p) || p.GetGeneration() != s.w.GetGeneration() {
			return false
		}
		counted++
	}
	if counted == 0 || counted != manifest.Wanted(s.w) {
		return false
	}
	first := s.rollout.Newest.GetGeneration() == 1
	s.set(func(r *skerryv1.Revision) {
		r.Paused = false
		s.turn(r, good, "")
	})
	if !first {
		s.inform(s.about(), "RolloutDone", "generation %d is healthy", s.w.GetGeneration())
	}
	return true
}

// verdictFailed goes back by itself where that was asked for, once: what failed
// after going back stays.
func (s *steering) verdictFailed(reason string) bool {
	newest := s.rollout.Newest
	if newest.GetState() != rolling || newest.GetPaused() {
		return false
	}
	s.set(func(r *skerryv1.Revision) { s.turn(r, failed, reason) })
	s.warn(s.about(), "RolloutFailed", "generation %d: %s", s.w.GetGeneration(), bounded(reason, maxMessage/2))
	to := s.rollout.Goal()
	if !s.w.GetUpdate().GetAutoRollback() || newest.GetRollbackTo() != 0 || to == nil {
		return true
	}
	if err := s.goBack(to, true); err != nil {
		s.warn(s.about(), "RollbackRefused", "it cannot go back to generation %d: %v", to.GetGeneration(), err)
	}
	return true
}

func isBlueGreen(w *skerryv1.Workload) bool { return w.GetUpdate().GetStrategy() == manifest.BlueGreen }

// checkUpdate refuses what the controllers could not live with.
func checkUpdate(about string, w *skerryv1.Workload) error {
	u := w.GetUpdate()
	invalid := func(field, format string, args ...any) error {
		return problem.New(problem.Invalid, about, format, args...).WithField("update." + field)
	}
	switch u.GetStrategy() {
	case "", manifest.Rolling, manifest.Recreate, manifest.Canary, manifest.BlueGreen:
	default:
		return invalid("strategy", "%q is none of rolling, canary, blue-green and recreate", bounded(u.GetStrategy(), maxName))
	}
	if u.GetMaxUnavailable() > maxReplicas || u.GetMaxSurge() > maxReplicas || u.GetCanary() > maxReplicas {
		return invalid("maxUnavailable", "it, maxSurge and canary must be 0 to %d", maxReplicas)
	}
	for _, length := range [][2]string{{"minHealthy", u.GetMinHealthy()}, {"deadline", u.GetDeadline()}, {"promoteAfter", u.GetPromoteAfter()}} {
		field, text := length[0], length[1]
		if text == "" || (field == "promoteAfter" && text == manifest.Manual) {
			continue
		}
		if d, err := manifest.Duration(text); err != nil || d < 0 {
			return invalid(field, "%q is not a length of time", bounded(text, maxName))
		}
	}
	if beside := u.GetStrategy() == manifest.Canary || isBlueGreen(w); (IsStay(w) || IsExclusive(w)) && (beside || u.GetMaxSurge() > 0) {
		return invalid("strategy", "what stays on its node, or is exclusive, does not run beside itself")
	}
	return nil
}
