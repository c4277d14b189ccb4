package check

import "time"

const (
	// timeSlack is how far site time may be ahead of true time without anybody's
	// word, timeTolerated how far right clocks and drift take it.
	timeSlack, timeTolerated = time.Hour, 10 * time.Second
	// driftPart of the time that has passed is what the monotonic clocks, by which the
	// slack is measured, may be wrong by: half a percent.
	driftPart = 200
	// wallPart of it is what right clocks of hosts gain or lose when nobody sets them:
	// 500 ppm.
	wallPart = 2000
)

// SiteTime follows the stamps of the log (SAFETY, rule 14).
type SiteTime struct {
	last time.Time
	era  uint64
	// begun is when the first stamp was made; clocks were right about then.
	begun time.Time
	// doubtful: a majority of the voters' clocks has been wrong once.
	doubtful bool
}

// Doubt tells that a majority of the clocks is wrong: then site time follows them
// as far as it may.
func (s *SiteTime) Doubt() { s.doubtful = true }

// Stamped tells of a stamp in the log, as the state has it.
func (s *SiteTime) Stamped(stamp time.Time, era uint64) *Violation {
	last, before := s.last, s.era
	s.last, s.era = stamp, era
	if era < before || era == before && stamp.Before(last) {
		return violated(TimeRuns, "it goes back from %s to %s", last.Format(time.RFC3339Nano), stamp.Format(time.RFC3339Nano))
	}
	return nil
}

// Made tells of a stamp that a coordinator has just made, and what the time really
// is. most: it knows the clocks of most voters, not counting those that are wrong;
// without them it may be late, by as long as everything was off: the middle of a
// right and a wrong clock is all that lies between them.
func (s *SiteTime) Made(stamp, truth time.Time, most bool) *Violation {
	if s.begun.IsZero() {
		s.begun = truth
	}
	off, passed := stamp.Sub(truth), truth.Sub(s.begun)
	tolerated := timeTolerated + passed/wallPart
	switch {
	case off > timeSlack+timeTolerated+passed/driftPart:
		return violated(TimeRuns, "it is %s ahead, of its own", off)
	case !s.doubtful && (off > tolerated || most && off < -tolerated):
		return violated(TimeRuns, "it is off by %s, though most clocks are right", off)
	}
	return nil
}
