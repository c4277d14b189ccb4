package api

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

// tolerated is how far a clock may be off before anybody is bothered with it.
const tolerated = sitetime.Tolerated

// SiteTime is what the API needs of site time.
type SiteTime interface {
	// Read is site time now.
	Read() sitetime.Stamp
	// Clocks are the wall clocks of the nodes heard of lately, at this moment.
	Clocks() map[string]time.Time
	// Median of the voters' clocks; false when too few are known.
	Median() (time.Time, bool)
	// Set proposes an operator's word for the time, or the median if none was
	// named; entry lacks the change.
	Set(ctx context.Context, entry *sitev1.Entry, to time.Time, median bool) (*sitev1.Outcome, error)
}

// siteTimes implements skerry.v1.SiteTimeService on the coordinator.
type siteTimes struct{ *Server }

func (s siteTimes) GetSiteTime(ctx context.Context, _ *connect.Request[skerryv1.GetSiteTimeRequest]) (*connect.Response[skerryv1.GetSiteTimeResponse], error) {
	view, freshness := s.read(ctx, false)
	stamp, clocks := s.SiteTime.Read(), s.SiteTime.Clocks()
	response := &skerryv1.GetSiteTimeResponse{
		Time: timestamppb.New(stamp.Time), Reference: timestamppb.New(stamp.Reference), Era: stamp.Era, Freshness: freshness,
	}
	for _, node := range view.Nodes() {
		if node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			continue
		}
		reading := &skerryv1.NodeClock{Node: node.GetName(), Voter: node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER}
		if clock, ok := clocks[node.GetName()]; ok {
			reading.Clock, reading.Offset = timestamppb.New(clock), durationpb.New(clock.Sub(stamp.Time))
		}
		response.Clocks = append(response.Clocks, reading)
	}
	slices.SortFunc(response.Clocks, func(a, b *skerryv1.NodeClock) int { return strings.Compare(a.GetNode(), b.GetNode()) })
	median, known := s.SiteTime.Median()
	if known {
		response.Median = timestamppb.New(median)
	}
	response.Problems = timeProblems(response, stamp.Time, median, known)
	return connect.NewResponse(response), nil
}

// timeProblems says what is wrong, and what to do.
func timeProblems(response *skerryv1.GetSiteTimeResponse, now, median time.Time, known bool) []string {
	var found []string
	switch off := median.Sub(now); {
	case !known:
		found = append(found, "the clocks of too few voters are known: site time runs on the coordinator's monotonic clock; bring the voters back")
	case off > tolerated:
		found = append(found, fmt.Sprintf("the voters' clocks are %s ahead of site time, which follows by itself for an hour at most: "+
			"if they are right (a site that was switched off comes back like this): skerry site time set; else correct the clocks of the hosts",
			sitetime.About(off)))
	case -off > tolerated:
		found = append(found, fmt.Sprintf("the voters' clocks are %s behind site time: correct the clocks of the hosts; "+
			"if they are right: skerry site time set, which sets site time back", sitetime.About(off)))
	}
	for _, clock := range response.GetClocks() {
		reference := now
		if known {
			reference = median
		}
		if clock.GetClock() == nil {
			continue
		}
		if off := clock.GetClock().AsTime().Sub(reference); off.Abs() > tolerated {
			found = append(found, fmt.Sprintf("the clock of node %s is %s: correct it on that host (date, timedatectl); site time is not moved by it, "+
				"but what its containers see is wrong", clock.GetNode(), sitetime.Off(off)))
		}
	}
	return found
}

func (s siteTimes) SetSiteTime(ctx context.Context, req *connect.Request[skerryv1.SetSiteTimeRequest]) (*connect.Response[skerryv1.SetSiteTimeResponse], error) {
	to, known, median := req.Msg.GetTime().AsTime(), true, req.Msg.GetTime() == nil
	if median {
		to, known = s.SiteTime.Median()
	}
	if !known {
		return nil, problem.New(problem.Unavailable, "site time", "the clocks of too few voters are known").
			WithHint("try again in a few seconds, or name the time: skerry site time set 2026-03-01T12:00:00Z")
	}
	if year := to.Year(); year < firstYear || year > lastYear {
		return nil, problem.New(problem.Invalid, "site time", "%s is not between the years %d and %d", to.Format(time.RFC3339), firstYear, lastYear).
			WithField("time").WithHint("as in 2026-03-01T12:00:00Z")
	}
	if err := withinAuthorities(s.Store.View(), to); err != nil {
		return nil, err
	}
	entry := s.entry(ctx, req.Msg.GetRequestId())
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	outcome, err := s.SiteTime.Set(ctx, entry, to, median)
	if err == nil {
		err = outcomeError(outcome)
	}
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.SetSiteTimeResponse{
		Before: outcome.GetSiteTimeSet().GetBefore(), After: outcome.GetSiteTimeSet().GetAfter(),
	}), nil
}

// withinAuthorities refuses a time at which a CA of the site has ended, or would
// soon: no node would take another's word then, nor anybody's who sets the time
// back.
func withinAuthorities(view *state.View, to time.Time) error {
	bundle, err := certs.VerifyTrust(view.SiteID(), view.Trust())
	if err != nil {
		return err
	}
	for _, authority := range bundle.Authorities() {
		sum := sha256.Sum256(authority.Raw) // as skerry ca list shows it
		if latest := authority.NotAfter.Add(-authorityMargin); to.After(latest) {
			return problem.New(problem.Conflict, "site time", "the CA %x ends on %s: at %s nobody could call the site any more, not even to set its time back",
				sum[:8], authority.NotAfter.Format(time.DateOnly), to.Format(time.RFC3339)).WithField("time").
				WithHint("if that is really the time, go there in steps: skerry site time set %s, skerry ca rotate, and again",
					latest.Truncate(24*time.Hour).Format(time.RFC3339))
		}
	}
	return nil
}

const (
	// authorityMargin is how long CAs must yet live when an operator sets the
	// time, so that there is time to rotate them.
	authorityMargin = 365 * 24 * time.Hour
	// What an operator may mean: certificates are written for 1950 to 2049 in
	// one form and until 9999 in another, and live for years.
	firstYear, lastYear = 2020, 2900
)
