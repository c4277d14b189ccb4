package cli

import (
	"context"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func (s *fakeSite) GetSiteTime(_ context.Context, r *connect.Request[skerryv1.GetSiteTimeRequest]) (*connect.Response[skerryv1.GetSiteTimeResponse], error) {
	return connect.NewResponse(s.time), s.note(r.Msg)
}

func (s *fakeSite) SetSiteTime(_ context.Context, r *connect.Request[skerryv1.SetSiteTimeRequest]) (*connect.Response[skerryv1.SetSiteTimeResponse], error) {
	after := r.Msg.GetTime()
	if after == nil {
		after = s.time.GetMedian()
	}
	return connect.NewResponse(&skerryv1.SetSiteTimeResponse{Before: s.time.GetTime(), After: after}), s.note(r.Msg)
}

// wakingUp is a site that comes back after 400 days without power; the clock of
// one of its hosts has no battery.
func wakingUp() *fakeSite {
	const off = 400 * 24 * time.Hour
	then := now.Add(-off)
	clock := func(node string, voter bool, at time.Time) *skerryv1.NodeClock {
		return &skerryv1.NodeClock{Node: node, Voter: voter, Clock: timestamppb.New(at), Offset: durationpb.New(at.Sub(then))}
	}
	site := harbour()
	site.time = &skerryv1.GetSiteTimeResponse{
		Time: timestamppb.New(then), Reference: timestamppb.New(then.Add(-30 * time.Minute)), Median: timestamppb.New(now), Era: 2,
		Clocks: []*skerryv1.NodeClock{
			clock("node-1", true, now), clock("node-2", true, now.Add(time.Second)), clock("node-3", true, time.Unix(60, 0)), {Node: "node-4"},
		},
		Problems:  []string{"the voters' clocks are about 400 days ahead of site time: skerry site time set"},
		Freshness: site.freshness,
	}
	return site
}

func TestSiteTimeShowsEveryClockAndWhatToDo(t *testing.T) {
	expect(t, wakingUp(), "site time", 0, `
Site time:       2025-10-17 03:12:00Z
This machine:    about 400 days ahead
Voters' clocks:  about 400 days ahead
Can follow:      about 30 minutes more by itself
Set by hand:     2 times

Clocks:
  NODE    VOTER  CLOCK                 AGAINST SITE TIME
  node-1  voter  2026-11-21 03:12:00Z  about 400 days ahead
  node-2  voter  2026-11-21 03:12:01Z  about 400 days ahead
  node-3  voter  1970-01-01 00:01:00Z  about 55 years behind
  node-4  -      not heard of          -

Needs attention:
  - the voters' clocks are about 400 days ahead of site time: skerry site time set
`, "")
}

func TestSiteTimeIsSetToTheVotersClocksOrToWhatIsSaid(t *testing.T) {
	expect(t, wakingUp(), "site time set", 0,
		"site time set to 2026-11-21 03:12:00Z; it was 2025-10-17 03:12:00Z, which is about 400 days behind\n", "")
	expect(t, wakingUp(), "site time set 2025-10-17T01:12:00Z", 0,
		"site time set to 2025-10-17 01:12:00Z; it was 2025-10-17 03:12:00Z, which is about 2 hours ahead\n", "")
	r := &run{}
	if code := r.main(t, wakingUp(), "site", "time", "set", "tomorrow"); code == 0 {
		t.Error("it took tomorrow for a time")
	}
}

func TestStatusSaysHowLongNodesStayAuthenticatedAlone(t *testing.T) {
	site := harbour()
	site.status.SiteTime = timestamppb.New(now)
	for i, left := range []time.Duration{80 * 24 * time.Hour, 50 * time.Hour, 0} {
		if left != 0 {
			site.status.Nodes[i].SvidExpires = timestamppb.New(now.Add(left))
		}
	}
	r := &run{}
	r.main(t, site, "status")
	wantIn(t, r.out.String(), "Alone:        nodes stay authenticated without a voter for 2d2h at least (node-2)")
	r = &run{}
	r.main(t, site, "describe", "node", "node-2")
	wantIn(t, r.out.String(), "Identity:  counts until 2026-11-23 05:12:00Z")
}
