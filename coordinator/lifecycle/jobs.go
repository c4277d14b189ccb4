package lifecycle

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// maxEnded placements of one job are kept.
const maxEnded = 10

// planJob makes the attempts that its runs need, and forgets old ones. How a run
// ends the state decides as soon as it is told of the last attempt.
func (s *sheet) planJob() {
	s.followSchedule()
	s.endLate()
	s.forget()
	failed := s.giveUpLost()
	s.leaveNodes()
	for _, run := range manifest.ActiveRuns(s.w) {
		// The state counts these failures first: they may end the run, and delay what
		// comes next.
		if !failed[run.GetNumber()] {
			s.attempt(run)
		}
	}
}

// siteTime is the newest that is known; the state knows at least as much when it
// takes the plan.
func (s *step) siteTime() time.Time { return s.wall }

// wakeWhen site time is this at the latest.
func (s *step) wakeWhen(at time.Time) {
	if wait := at.Sub(s.siteTime()); wait > 0 {
		s.wakeAt(s.now + wait)
	}
}

// attempt adds the placements that a run lacks, after a failure not before its
// delay is over.
func (s *sheet) attempt(run *skerryv1.Run) {
	lacks := state.RoomInRun(s.w, run, s.all)
	if lacks == 0 {
		return
	}
	if run.GetFailed() > 0 {
		if at := run.GetFailedAt().AsTime().Add(s.backoff(run)); at.After(s.siteTime()) {
			s.wakeWhen(at)
			return
		}
	}
	for range lacks {
		if !s.add(&sitev1.NewPlacement{Run: run.GetNumber()}) {
			return
		}
	}
}

// backoff after the last failure: it doubles with each.
func (s *sheet) backoff(run *skerryv1.Run) time.Duration {
	first, err := manifest.Duration(s.w.GetRestart().GetBackoff())
	longest, err2 := manifest.Duration(s.w.GetRestart().GetMaxBackoff())
	if err != nil || err2 != nil {
		return time.Minute
	}
	return min(longest, first<<min(run.GetFailed()-1, 16))
}

// giveUpLost counts attempts on lost nodes as failed, so that others are made, and
// returns the numbers of their runs. What they still do there, nobody will know.
// One that stays is waited for.
func (s *sheet) giveUpLost() map[uint64]bool {
	failed := map[uint64]bool{}
	for _, p := range s.counted() {
		if s.mustNotRunTwice(p) || !s.givenUp(p) {
			continue
		}
		if !s.remove(p, fmt.Sprintf("its node %s is lost: the attempt counts as failed", p.GetNode())) {
			return failed
		}
		failed[p.GetRun()] = true
	}
	return failed
}

// leaveNodes that are drained: the attempts there end, and are made elsewhere.
// They do not count as failed.
func (s *sheet) leaveNodes() {
	for _, p := range s.counted() {
		stays := state.StaysPut(s.w, p) && !state.ToMaintenance(s.view.Node(p.GetNode()))
		if s.leaves(p) && p.GetLostSince() == nil && !stays {
			s.makeWay(p, isDrained)
		}
	}
}

// endLate ends runs that have gone past their deadline.
func (s *sheet) endLate() {
	deadline, err := manifest.Duration(s.w.GetRunToCompletion().GetDeadline())
	if s.config.Still || err != nil || deadline == 0 {
		return
	}
	for _, run := range manifest.ActiveRuns(s.w) {
		if end := run.GetStarted().AsTime().Add(deadline); end.After(s.siteTime()) {
			s.wakeWhen(end)
		} else if len(s.plan.GetOver()) < maxRuns {
			s.plan.Over = append(s.plan.Over, &sitev1.RunOver{
				Project: s.w.GetProject(), Workload: s.w.GetName(), Run: run.GetNumber(),
			})
		}
	}
}

// forget placements that ended long ago, and all but the last ones.
func (s *sheet) forget() {
	ttl, err := manifest.Duration(s.w.GetRunToCompletion().GetTtl())
	if s.config.Still || err != nil {
		return
	}
	var ended []*skerryv1.Placement
	for _, p := range s.all {
		if p.GetEnded() != nil && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN {
			ended = append(ended, p)
		}
	}
	slices.SortStableFunc(ended, func(a, b *skerryv1.Placement) int {
		return cmp.Or(b.GetEnded().AsTime().Compare(a.GetEnded().AsTime()), cmp.Compare(len(b.GetName()), len(a.GetName())),
			cmp.Compare(b.GetName(), a.GetName()))
	})
	for i, p := range ended {
		end := p.GetEnded().AsTime().Add(ttl)
		if i < maxEnded && end.After(s.siteTime()) {
			s.wakeWhen(end)
			continue
		}
		if !s.remove(p, "it ended a while ago") {
			return
		}
	}
}

// followSchedule decides about what is due: each moment once, in order. Of those
// that nobody could follow in time, all but the last are passed over.
func (s *sheet) followSchedule() {
	schedule := s.w.GetSchedule()
	if schedule == nil || s.config.Still {
		return
	}
	times, err := s.times.of(s.w)
	late, err2 := manifest.Duration(schedule.GetStartingDeadline())
	if err != nil || err2 != nil {
		return // the state takes none of these; a time zone may be missing here
	}
	now, from := s.siteTime(), s.w.GetStatus().GetFollowed().AsTime()
	next := times.Next(from)
	if next.IsZero() {
		return
	}
	if next.After(now) {
		s.wakeWhen(next)
		return
	}
	if len(s.plan.GetDue()) == maxRuns {
		return
	}
	due := &sitev1.RunDue{Project: s.w.GetProject(), Workload: s.w.GetName(), Generation: s.w.GetGeneration()}
	if now.Sub(next) > late {
		// One decision for all that were missed. What is due in time makes up for them.
		next = times.Last(from, now.Add(-late-1))
		if schedule.GetMissed() != manifest.RunOnce || !times.Next(next).After(now) {
			due.Missed = "neither it nor any before it could begin within " + schedule.GetStartingDeadline()
		}
	}
	due.Due = timestamppb.New(next)
	s.plan.Due = append(s.plan.Due, due)
}
