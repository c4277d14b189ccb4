package api

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// readTimeout bounds how long a read waits for the quorum before it is
// answered stale (SAFETY, rule 10).
const readTimeout = time.Second

// read returns the state to answer from. It never hangs: with a quorum the
// answer is linearizable, without one it is marked stale, at once when there
// is no leader.
func (s *Server) read(ctx context.Context, stale bool) (*state.View, *skerryv1.Freshness) {
	fresh := false
	if !stale && s.Log.Status().Leader != 0 {
		waitCtx, cancel := context.WithTimeout(ctx, readTimeout)
		_, err := s.Log.ReadIndex(waitCtx)
		cancel()
		fresh = err == nil
	}
	view := s.Store.View()
	freshness := s.freshness(view, fresh)
	if !freshness.GetQuorum() {
		view = s.withOwn(view)
	}
	return view, freshness
}

// withOwn is what the log has told, and beside that what this node knows by itself:
// how the placements are that it holds. The log hears of it when there is a quorum
// again.
func (s *Server) withOwn(view *state.View) *state.View {
	if s.Own == nil {
		return view
	}
	own := &sitev1.NodeReport{Node: s.Node}
	for _, report := range s.Own() {
		own.Placements = append(own.Placements, stillThere(view, report))
	}
	fork, now := s.Store.Fork(), s.SiteTime.Read().Message()
	fork.Apply(view.Index()+1, &sitev1.Entry{
		Time: now.GetTime(), Reference: now.GetReference(), TimeEra: now.GetEra(), Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{own}}},
	})
	return fork.View()
}

// stillThere shows a placement that its lease has ended. To the log it is gone with the report;
// who asks here wants to know what became of it.
func stillThere(view *state.View, report *sitev1.PlacementReport) *sitev1.PlacementReport {
	if !report.GetLapsed() || !report.GetGone() {
		return report
	}
	before := view.Placement(report.GetProject(), report.GetPlacement()).GetStatus()
	return &sitev1.PlacementReport{Project: report.GetProject(), Placement: report.GetPlacement(), Lapsed: true, Status: &skerryv1.PlacementStatus{
		Phase: skerryv1.Phase_PHASE_STOPPED, Revision: before.GetRevision(), Message: "it was stopped: its lease has ended, and no coordinator is in reach to renew it",
	}}
}

func (s *Server) freshness(view *state.View, fresh bool) *skerryv1.Freshness {
	status := s.Log.Status()
	f := &skerryv1.Freshness{
		Epoch:  fmt.Sprintf("%d.%d", view.SiteEpoch(), status.Term),
		Quorum: status.HasQuorum,
		Stale:  !fresh,
		Index:  view.Index(),
		Node:   s.Node,
	}
	if view.Stamp().Known() {
		f.AsOf = view.Time()
	}
	if !fresh && status.SinceContact != consensus.NoContact {
		f.Age = durationpb.New(status.SinceContact.Round(time.Millisecond))
	}
	return f
}

// missingVoters are the other voters, when this replica knows of no quorum.
func (s *Server) missingVoters() []string {
	status := s.Log.Status()
	if status.HasQuorum {
		return nil
	}
	var names []string
	for _, node := range s.Store.View().Nodes() {
		if node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER && node.GetName() != s.Node {
			names = append(names, node.GetName())
		}
	}
	return names
}

func joinNames(names []string) string { return strings.Join(names, ", ") }
