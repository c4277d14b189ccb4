package coordinator

import (
	"context"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/sitetime"
)

const (
	// awaitedEvery is how often nodes are called that were not heard in this site
	// epoch; awaitedTime bounds one call.
	awaitedEvery = 2 * time.Second
	awaitedTime  = time.Second
)

// beginAgain begins the log of a site epoch: with the state that there was, and
// the entry that makes this replica its only voter. Nobody sees the one without
// the other.
func (v *Voter) beginAgain(kept *keptLeaves) error {
	if err := v.store.RestoreOlder(v.Again.GetState()); err != nil {
		return err
	}
	_, through := v.leaves.Range()
	if frontier := v.store.Frontier(); through != frontier.Size() {
		// The entries from before are not here: those that follow prove themselves.
		if err := v.leaves.Begin(frontier); err != nil {
			return err
		}
	}
	view := v.store.View()
	term, stamp := view.AuditTerm()+1, recoveredAt(view.Stamp(), v.Env.Clock.Now()).Message()
	outcome := v.store.Apply(view.Index()+1, &sitev1.Entry{
		RequestId: v.newID(), Principal: v.Again.GetPrincipal(), Term: term, Time: stamp.GetTime(), TimeEra: stamp.GetEra(), Reference: stamp.GetReference(),
		Change: &sitev1.Entry_RecoverSite{RecoverSite: v.Again.GetRecover()},
	})
	if err := state.Refusal(outcome); err != nil {
		return err
	}
	if err := kept.Flush(); err != nil {
		return err
	}
	if err := kept.Sync(); err != nil {
		return err
	}
	return consensus.BootstrapAt(v.log, v.RaftID, v.store, v.store.View().Index(), term)
}

// recoveredAt is site time when the epoch begins. The log has stood still for nobody knows how
// long: it is what the clock of the only voter says, as far as site time may follow that.
func recoveredAt(last sitetime.Stamp, wall time.Time) sitetime.Stamp {
	clock := sitetime.Start(last, 0)
	return clock.Advance([]time.Time{wall}, 1, 0)
}

// callAwaited tells nodes that were not heard since the site was recovered where
// its coordinator answers, and hears what they believe: they may have been recovered
// apart from this one. The node that began the site epoch does so too when it
// does not coordinate any more: its SVID hangs on a CA that they know.
func (v *Voter) callAwaited(ctx context.Context) error {
	for {
		if err := env.Sleep(ctx, v.Env.Clock, awaitedEvery); err != nil {
			return err
		}
		view := v.store.View()
		awaited := view.Awaited()
		if len(awaited) == 0 || (v.Node != view.Recovery().GetNode() && !v.node.Status().Serving) {
			continue
		}
		var calls errgroup.Group
		calls.SetLimit(maxProbes)
		for _, name := range awaited {
			calls.Go(func() error { v.tellWhere(ctx, view, view.Node(name)); return nil })
		}
		_ = calls.Wait() // calls return no errors: they are made again
	}
}

func (v *Voter) tellWhere(ctx context.Context, view *state.View, node *skerryv1.Node) {
	ctx, cancel := context.WithTimeout(ctx, awaitedTime)
	defer cancel()
	client := v.Dialer.HTTPClient(mtls.Peer, mtls.ExpectNode(node.GetName()))
	defer client.CloseIdleConnections()
	answer, err := sitev1connect.NewPeerServiceClient(client, "https://"+node.GetAddress()).Ping(ctx, connect.NewRequest(&sitev1.PingRequest{
		SiteEpoch: view.SiteEpoch(), Address: view.Node(v.Node).GetAddress(), Recovery: view.RecoverID(),
	}))
	if err != nil {
		v.Logger.Debug("a node was not told that the site was recovered", "node", node.GetName(), "error", err)
		return
	}
	if theirs := answer.Msg.GetRecovery(); len(theirs) > 0 {
		v.Recovered(ctx, answer.Msg.GetSiteEpoch(), theirs, node.GetAddress())
	}
}

// Position is the last entry of the log, and whether there is a quorum. A replica
// that does not answer in time has none.
func (v *Voter) Position(ctx context.Context) (term, index uint64, quorum bool) {
	ctx, cancel := context.WithTimeout(ctx, awaitedTime)
	defer cancel()
	term, index, err := v.node.Last(ctx)
	if err != nil {
		return 0, 0, false
	}
	return term, index, v.node.Status().HasQuorum
}
