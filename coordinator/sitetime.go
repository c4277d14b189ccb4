package coordinator

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

// clockAge is how old a voter's reading of its clock may be. Nodes send theirs
// five times a second.
const clockAge = 10 * time.Second

// stamp is the coordinator's next stamp, made from the voters' clocks.
func (v *Voter) stamp() sitetime.Stamp {
	view := v.store.View()
	v.SiteTime.Reach(view.Stamp())
	return v.SiteTime.Advance(v.votersClocks(view))
}

// votersClocks are the wall clocks of the voters that are known, and how many
// voters there are.
func (v *Voter) votersClocks(view *state.View) (known []time.Time, voters int) {
	now := v.Env.Clock.Elapsed()
	for _, node := range view.Voters() {
		if node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			continue
		}
		voters++
		if node.GetName() == v.Node {
			known = append(known, v.Env.Clock.Now())
		} else if reading, heard := v.dispatcher.Clock(node.GetName()); heard && now-reading.Heard <= clockAge {
			known = append(known, reading.Wall.Add(now-reading.Heard))
		}
	}
	return known, voters
}

// clocks are the wall clocks of all nodes heard of lately, at this moment, this
// one's among them.
func (v *Voter) clocks() map[string]time.Time {
	now := v.Env.Clock.Elapsed()
	clocks := map[string]time.Time{}
	for node, reading := range v.dispatcher.Clocks() {
		if passed := now - reading.Heard; passed <= clockAge {
			clocks[node] = reading.Wall.Add(passed)
		}
	}
	clocks[v.Node] = v.Env.Clock.Now()
	return clocks
}

// siteClock is how the API sees site time.
type siteClock struct{ v *Voter }

func (s siteClock) Read() sitetime.Stamp {
	s.v.SiteTime.Reach(s.v.store.View().Stamp())
	return s.v.SiteTime.Read()
}

func (s siteClock) Clocks() map[string]time.Time { return s.v.clocks() }

func (s siteClock) Median() (time.Time, bool) {
	known, voters := s.v.votersClocks(s.v.store.View())
	low, _, ok := sitetime.Middle(known, voters)
	return low, ok
}

// Set proposes an operator's word for the time, or the median if none was named.
func (s siteClock) Set(ctx context.Context, entry *sitev1.Entry, to time.Time, median bool) (*sitev1.Outcome, error) {
	signer := s.v.Authority()
	view := s.v.store.View()
	bundle, err := certs.VerifyTrust(view.SiteID(), view.Trust())
	if err != nil {
		return nil, err
	}
	if signer == nil || !bundle.Has(signer.Certificate()) {
		return nil, problem.New(problem.Unavailable, "site time", "this coordinator's CA is not trusted by the site yet, so it cannot sign").
			WithHint("try again in a few seconds")
	}
	chain := view.Trust()
	next, err := certs.ExtendTrust(chain[len(chain)-1], signer, certs.TrustChange{NextEra: true})
	if err != nil {
		return nil, err
	}
	entry.Change = &sitev1.Entry_SetSiteTime{SetSiteTime: &sitev1.SetSiteTime{Time: timestamppb.New(to), Version: next, Median: median}}
	return s.v.Propose(ctx, entry)
}
