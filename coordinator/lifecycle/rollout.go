package lifecycle

import (
	"fmt"
	"strings"
	"time"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// maxVerdicts of one plan.
const maxVerdicts = 256

// defaultDeadline of updates that name none.
const defaultDeadline = 10 * time.Minute

// rolloutWatch is what the coordinator sees of one rollout. It is not in the
// log: a new coordinator counts afresh.
type rolloutWatch struct {
	generation uint64
	// healthy placements of the newest template, and since when without a break.
	healthy map[string]healthySince
	// best is the most of them that worked, fewest the fewest old ones that were
	// left; progress is when that became so.
	best, fewest int
	progress     time.Duration
	// ready is since when those beside the old ones work; never when they do not.
	ready time.Duration
}

type healthySince struct {
	at       time.Duration
	restarts uint32
}

// watchRollout takes in how far the rollout of a workload is.
func (s *sheet) watchRollout() {
	key := placementKey(&skerryv1.Placement{Project: s.w.GetProject(), Name: s.w.GetName()})
	if s.rollout.Done() {
		delete(s.rollouts, key)
		return
	}
	watch := s.rollouts[key]
	if watch == nil || watch.generation != s.w.GetGeneration() {
		watch = &rolloutWatch{generation: s.w.GetGeneration(), healthy: map[string]healthySince{}, progress: s.now, ready: never, fewest: len(s.all)}
		s.rollouts[key] = watch
	}
	s.watch = watch
	kept := make(map[string]healthySince, len(watch.healthy))
	for _, p := range s.all {
		if !s.isCurrent(p) || !state.IsHealthy(p) {
			continue
		}
		since, known := watch.healthy[p.GetName()]
		if !known || since.restarts != p.GetStatus().GetRestarts() {
			since = healthySince{at: s.now, restarts: p.GetStatus().GetRestarts()}
		}
		kept[p.GetName()] = since
	}
	watch.healthy = kept
}

// forgetRollouts of workloads that are gone.
func (s *step) forgetRollouts() {
	for key := range s.rollouts {
		if project, name, _ := strings.Cut(key, "\x00"); s.view.Workload(project, name) == nil {
			delete(s.rollouts, key)
		}
	}
}

// works: it is healthy, and of a new template for long enough.
func (s *sheet) works(p *skerryv1.Placement) bool {
	if !state.IsHealthy(p) {
		return false
	}
	if s.watch == nil || !s.isCurrent(p) {
		return true
	}
	since, known := s.watch.healthy[p.GetName()]
	if !known {
		return false
	}
	due := since.at + lengthOr(s.w.GetUpdate().GetMinHealthy(), 0)
	s.wakeAt(due)
	return s.now >= due
}

// lengthOr reads a length of time; the state takes none that cannot be read.
func lengthOr(text string, otherwise time.Duration) time.Duration {
	if d, err := manifest.Duration(text); text != "" && err == nil {
		return d
	}
	return otherwise
}

// judge says what has become of the newest template, when something has.
func (s *sheet) judge() {
	if s.watch == nil || s.changes() {
		return // the rest of the plan comes first
	}
	t := s.count()
	switch {
	case s.rollout.Beside(s.w):
		s.judgeBeside(t)
	case t.old == 0 && t.current == s.wanted() && t.working == s.wanted() && s.wanted() > 0:
		s.verdict(sitev1.RolloutVerdict_ROLLOUT_VERDICT_GOOD, "")
		return
	}
	s.judgeProgress(t)
}

// changes: this plan changes the workload's placements.
func (s *sheet) changes() bool {
	for _, p := range s.all {
		if _, changed := s.changed[placementKey(p)]; changed || p.GetName() == "" {
			return true
		}
	}
	return false
}

// census of a workload's placements.
type census struct {
	current, working, old int
	// away of the old and of the current ones are on nodes that are.
	oldAway, away int
	// ailing is one that does not work, for whatever other reason.
	ailing *skerryv1.Placement
}

// excused: what is missing is missing because of nodes that are away, and nothing
// of the rest may be changed or is left to be.
func (t census) excused(mayMiss int) bool {
	away := t.oldAway + t.away
	return away > 0 && t.ailing == nil && (t.old == t.oldAway || away >= mayMiss)
}

// away: its node is lost, or it waits for one that is out of service. That says
// nothing about its template.
func (s *sheet) away(p *skerryv1.Placement) bool {
	if p.GetNode() != "" {
		return s.lost(p)
	}
	node := state.PinnedTo(p.GetSpec())
	return node != "" && state.WhyNoWork(s.view.Node(node), p.GetSpec()) != ""
}

func (s *sheet) count() census {
	var t census
	for _, p := range s.counted() {
		switch {
		case !s.isCurrent(p):
			t.old++
			if s.away(p) {
				t.oldAway++
			}
			continue
		case s.works(p):
			t.working++
		case s.away(p):
			t.away++
		default:
			t.ailing = p
		}
		t.current++
	}
	return t
}

// judgeBeside promotes what is healthy beside the old ones, unless somebody is
// to do that.
func (s *sheet) judgeBeside(t census) {
	target := s.rollout.Ahead(s.w, s.all, s.works)
	if s.rollout.Paused() || t.working < target || target == 0 {
		s.watch.ready = never
		return
	}
	if s.watch.ready == never {
		s.watch.ready = s.now
	}
	s.watch.progress = s.now // it waits, for no fault of its own
	after := s.w.GetUpdate().GetPromoteAfter()
	if after == manifest.Manual && s.rollout.Newest.GetRollbackTo() == 0 {
		return
	}
	due := s.watch.ready + lengthOr(after, 0)
	if s.now < due {
		s.wakeAt(due)
		return
	}
	s.verdict(sitev1.RolloutVerdict_ROLLOUT_VERDICT_PROMOTED, fmt.Sprintf("all %d new placements are healthy", target))
}

// judgeProgress fails what makes none within its deadline. What is paused, or
// held back because nodes are missing, has time.
func (s *sheet) judgeProgress(t census) {
	w := s.watch
	if t.working > w.best || t.old < w.fewest || s.rollout.Paused() || s.now < s.mass.until || t.excused(state.MayMiss(s.w)) {
		w.best, w.fewest, w.progress = max(w.best, t.working), min(w.fewest, t.old), s.now
	}
	if s.config.Patient || s.wanted() == 0 || s.rollout.Newest.GetState() != skerryv1.RevisionState_REVISION_STATE_ROLLING {
		return
	}
	deadline := lengthOr(s.w.GetUpdate().GetDeadline(), defaultDeadline)
	if due := w.progress + deadline; s.now < due {
		s.wakeAt(due)
		return
	}
	s.verdict(sitev1.RolloutVerdict_ROLLOUT_VERDICT_FAILED, fmt.Sprintf("no progress for %s: %s", deadline, s.ails(t)))
}

// ails says what holds a rollout up.
func (s *sheet) ails(t census) string {
	text := fmt.Sprintf("%d of %d new placements are healthy", t.working, s.wanted())
	p := t.ailing
	switch {
	case p == nil && t.old > 0:
		return text + ", and none of the old ones can be spared: maxSurge makes room beside them"
	case p == nil:
		return text
	case p.GetNode() == "":
		return fmt.Sprintf("%s; %s has no node: %s", text, p.GetName(), p.GetDecision().GetSummary())
	case p.GetStatus().GetMessage() != "":
		return fmt.Sprintf("%s; %s on %s: %s", text, p.GetName(), p.GetNode(), p.GetStatus().GetMessage())
	default:
		return fmt.Sprintf("%s; %s on %s is not", text, p.GetName(), p.GetNode())
	}
}

func (s *sheet) verdict(verdict sitev1.RolloutVerdict, reason string) {
	if len(s.plan.GetRollouts()) == maxVerdicts {
		return
	}
	s.plan.Rollouts = append(s.plan.Rollouts, &sitev1.RolloutStep{
		Project: s.w.GetProject(), Workload: s.w.GetName(), Generation: s.w.GetGeneration(), Verdict: verdict, Reason: reason,
	})
}
