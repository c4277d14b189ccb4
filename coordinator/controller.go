package coordinator

import (
	"context"
	"errors"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"skerry.dev/coordinator/lifecycle"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// probeTimeout bounds a direct call to a node that seems lost.
	probeTimeout = 300 * time.Millisecond
	// maxProbes run at once.
	maxProbes = 16
	// proposeTimeout bounds one proposal of the controllers.
	proposeTimeout = 5 * time.Second
	// rest is the shortest time between two steps, so that a burst of changes
	// costs one.
	rest = 5 * time.Millisecond
	// maxRest and restShare: where a step takes long, on a site of thousands of
	// nodes, what follows on it waits for several times as long, but no longer.
	maxRest   = 50 * time.Millisecond
	restShare = 4
	// afterFailure is the pause after a proposal that did not go through.
	afterFailure = 50 * time.Millisecond
)

// observation is something that the controllers must know.
type observation struct {
	node string
	kind observationKind
}

type observationKind int

const (
	poolAlive observationKind = iota
	poolFailed
	probeAnswered
	probeRefused
	probeFailed
)

// control runs the controllers whenever this voter is the coordinator. Each
// term begins with a new core: it knows nothing of what its predecessor saw.
func (v *Voter) control(ctx context.Context) error {
	for ctx.Err() == nil {
		changed := v.node.Changed()
		if status := v.node.Status(); status.Serving {
			v.controlTerm(ctx, status.Term)
			continue
		}
		select {
		case <-changed:
		case <-v.observed: // nobody acts on it now
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// controlTerm returns when the term is over.
func (v *Voter) controlTerm(ctx context.Context, term uint64) {
	v.Logger.Info("this node is the coordinator", "term", term)
	ctx, cancel := context.WithCancel(ctx)
	var probes errgroup.Group
	probes.SetLimit(maxProbes)
	defer func() {
		cancel()
		_ = probes.Wait() // probes return no errors, only observations
		v.waiting.Store(nil)
		v.Logger.Info("this node is not the coordinator any more", "term", term)
	}()
	core := lifecycle.New(v.lifecycleConfig(), v.Env.Clock.Elapsed())
	core.KnowLeases(v.leaseTable(term))
	timer := v.Env.Clock.NewTimer(0)
	defer timer.Stop()
	for {
		statusChanged, stateChanged := v.node.Changed(), v.store.Changed()
		status := v.node.Status()
		if ctx.Err() != nil || !status.Serving || status.Term != term {
			return
		}
		core.SetPace(v.dispatcher.Pace())
		v.dispatcher.Heard(core.Heard)
		begun := v.Env.Clock.Elapsed()
		effects := core.Step(begun, v.stamp().Time, v.store.View(), progressOf(status))
		next := v.Env.Clock.Elapsed() + min(maxRest, restShare*(v.Env.Clock.Elapsed()-begun))
		v.waiting.Store(&effects.Waiting)
		for _, node := range effects.Probe {
			probes.TryGo(func() error { v.probe(ctx, node); return nil })
		}
		done, acted := v.act(ctx, effects)
		if done && acted {
			continue // the state has changed: look again
		}
		wake := effects.Wake
		if !done {
			wake = afterFailure
		}
		timer.Reset(max(wake, rest))
		select {
		case <-statusChanged:
		case <-stateChanged:
			if env.Sleep(ctx, v.Env.Clock, max(rest, next-v.Env.Clock.Elapsed())) != nil {
				return
			}
		case <-timer.C():
		case o := <-v.observed:
			v.observe(core, o)
		case <-ctx.Done():
			return
		}
	}
}

func (v *Voter) observe(core *lifecycle.Core, o observation) {
	now := v.Env.Clock.Elapsed()
	switch o.kind {
	case poolAlive:
		core.GossipAlive(o.node, now)
	case poolFailed:
		core.GossipFailed(o.node, now)
	case probeRefused:
		core.Refused(o.node, now)
	case probeAnswered, probeFailed:
		core.Probed(o.node, o.kind == probeAnswered, now)
	}
}

// act carries out what a step asks for, one after the other. done is false
// when something did not go through; the next step asks for it again.
func (v *Voter) act(ctx context.Context, effects lifecycle.Effects) (done, acted bool) {
	ctx, cancel := context.WithTimeout(ctx, proposeTimeout)
	defer cancel()
	for _, entry := range effects.Propose {
		entry.Principal = "coordinator"
		entry.RequestId = v.newID()
		outcome, err := v.Propose(ctx, entry)
		if err != nil {
			v.Logger.Debug("a controller's entry was not committed", "error", err)
			return false, acted
		}
		if outcome.GetErrorKind() != "" {
			v.Logger.Warn("the state refused a controller's entry", "error", outcome.GetError())
			return false, acted
		}
		acted = true
	}
	if err := v.handOver(ctx, effects.HandOver); err != nil {
		v.Logger.Debug("the leadership could not be handed over", "error", err)
		return false, acted
	}
	if effects.Change == nil {
		return true, acted
	}
	if err := v.node.ChangeVoters(ctx, effects.Change); err != nil {
		v.Logger.Debug("a change of voters did not go through", "error", err)
		return false, acted
	}
	v.Logger.Info("the voters change", "add", effects.Change.GetAddNode(), "role", effects.Change.GetRole(),
		"remove", effects.Change.GetRemoveNode())
	return true, true
}

// handOver the leadership to one of the replicas, none for not at all. One that
// could not sign gets it later: this node adds its CA first.
func (v *Voter) handOver(ctx context.Context, replicas []uint64) error {
	if len(replicas) == 0 {
		return nil
	}
	replicas, err := v.whoSign(v.store.View(), replicas)
	if err != nil || len(replicas) == 0 {
		return err
	}
	v.Logger.Info("this node was removed from the site, is drained or is a witness: another voter takes over")
	return v.node.TransferLeadership(ctx, replicas...)
}

// probe asks a node directly whether it lives.
func (v *Voter) probe(ctx context.Context, node string) {
	probeCtx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	kind := probeAnswered
	if err := v.ping(probeCtx, node); err != nil {
		v.Logger.Debug("a direct call failed", "node", node, "error", err)
		kind = probeFailed
		if errors.Is(err, syscall.ECONNREFUSED) {
			kind = probeRefused
		}
	}
	select {
	case v.observed <- observation{node: node, kind: kind}:
	case <-ctx.Done():
	}
}

// PoolChanged tells what gossip sees of a node. It never blocks: when the
// controllers do not keep up, they find out by heartbeats.
func (v *Voter) PoolChanged(node string, alive bool) {
	kind := poolFailed
	if alive {
		kind = poolAlive
	}
	select {
	case v.observed <- observation{node: node, kind: kind}:
	default:
	}
}

// Propose stamps an entry and commits it. Only the coordinator can.
func (v *Voter) Propose(ctx context.Context, entry *sitev1.Entry) (*sitev1.Outcome, error) {
	if !v.node.Status().Serving {
		return nil, problem.New(problem.Unavailable, "site "+v.Site, "%s is not the coordinator", v.Node).
			WithHint("nothing was changed; try again")
	}
	stamp := v.stamp().Message()
	entry.Time, entry.Reference, entry.TimeEra = stamp.GetTime(), stamp.GetReference(), stamp.GetEra()
	return v.node.Propose(ctx, entry)
}
