package sim

import (
	"time"

	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/consensus/voters"
	"skerry.dev/coordinator/scheduler"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

type stubEffects struct {
	Propose []*sitev1.Entry
	Change  *sitev1.VoterChange
	Probe   []string
	Wake    time.Duration
}

type stubCore struct{ self string }

func (c *stubCore) Heard(string, time.Duration)        {}
func (c *stubCore) GossipFailed(string, time.Duration) {}
func (c *stubCore) GossipAlive(string, time.Duration)  {}
func (c *stubCore) Probed(string, bool, time.Duration) {}
func (c *stubCore) Step(now time.Duration, wall time.Time, view *state.View, st consensus.Status) stubEffects {
	in := voters.Input{Self: c.self, NextRaftID: view.NextRaftID()}
	for _, n := range view.Nodes() {
		m := voters.Member{Name: n.GetName(), Zone: n.GetZone(), MayVote: n.GetMayVote(), Ready: true, Role: n.GetVoter(), RaftID: n.GetRaftId()}
		for _, p := range st.Peers {
			if p.ID == n.GetRaftId() {
				m.CaughtUp = p.Match+100 > st.Commit
			}
		}
		in.Members = append(in.Members, m)
	}
	e := stubEffects{Change: voters.Next(in), Wake: 500 * time.Millisecond}
	_ = scheduler.Schedule
	_ = skerryv1.Phase_PHASE_ASSIGNED
	return e
}
