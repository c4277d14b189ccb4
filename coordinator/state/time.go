package state

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

func stampOf(entry *sitev1.Entry) *sitev1.SiteClock {
	return &sitev1.SiteClock{Time: entry.GetTime(), Reference: entry.GetReference(), Era: entry.GetTimeEra()}
}

// advance takes over the coordinator's stamp: never back, never further ahead
// of the reference than it may be, and nothing of an era that is over.
func (x *tx) advance(stamp *sitev1.SiteClock) {
	if stamp.GetEra() != x.timeEra {
		return
	}
	if later(stamp.GetReference(), x.reference) {
		x.reference = stamp.GetReference()
	}
	next := stamp.GetTime()
	if x.reference.GetSeconds() != 0 {
		limit := timestamppb.New(x.reference.AsTime().Add(sitetime.Slack))
		if later(next, limit) {
			next = limit
		}
	}
	if later(next, x.time) {
		x.time = next
	}
}

// setSiteTime takes an operator's word for the time, also for an earlier one.
// The new version of the chain of trust tells those who are away that what they
// remember does not count any more.
func (x *tx) setSiteTime(change *sitev1.SetSiteTime) (*sitev1.Outcome, error) {
	to := change.GetTime()
	if !to.IsValid() || to.GetSeconds() <= 0 {
		return nil, problem.New(problem.Invalid, "site time", "it must be a time after 1970").WithField("time")
	}
	before := x.time
	if err := x.appendTrust(change.GetVersion()); err != nil {
		return nil, err
	}
	x.timeEra++
	x.time, x.reference = to, to
	x.moveTimes(to.AsTime().Sub(before.AsTime()))
	x.followAgain()
	x.warn(subject{kind: "Site", name: x.site}, "SiteTimeSet", "site time was set from %s to %s, %s",
		before.AsTime().Format(time.RFC3339), to.AsTime().Format(time.RFC3339), shift(to.AsTime().Sub(before.AsTime())))
	return &sitev1.Outcome{SiteTimeSet: &sitev1.SiteTimeSet{Before: before, After: to}}, nil
}

func shift(by time.Duration) string {
	if by < 0 {
		return "back by " + sitetime.About(by)
	}
	return "ahead by " + sitetime.About(by)
}
