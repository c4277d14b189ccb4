// Package agent puts a node together: its identity, its ledger, what runs on
// it, its place in the pool, its one port, and the replica of the site's log
// that it holds when the site asks it to.
//
// It contains wiring and loops only. It never imports coordinator: the replica
// is behind the Voter interface.
package agent

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"skerry.dev/agent/config"
	"skerry.dev/agent/gossip"
	"skerry.dev/agent/identity"
	"skerry.dev/agent/identity/workloads"
	"skerry.dev/agent/image"
	"skerry.dev/agent/lease"
	"skerry.dev/agent/ledger"
	"skerry.dev/agent/localapi"
	"skerry.dev/agent/move"
	"skerry.dev/agent/prune"
	"skerry.dev/agent/queue"
	"skerry.dev/agent/runtime"
	"skerry.dev/agent/secrets"
	"skerry.dev/agent/session"
	"skerry.dev/agent/supervisor"
	"skerry.dev/certs/mtls"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/counts"
	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
	"skerry.dev/shared/spool"
)

// Runtime runs containers and holds their images.
type Runtime interface {
	runtime.Driver
	runtime.ImageStore
	runtime.Attester
	runtime.Guarded
	// Run does what must be done now and then, until ctx ends.
	Run(ctx context.Context) error
}

// Options of an agent. All fields are required.
type Options struct {
	Config   config.Config
	Runtime  Runtime
	NewVoter NewVoter
	Version  string
	// Built is when this program was built: no site is younger.
	Built  time.Time
	Env    env.System
	Logger *slog.Logger
}

// Agent is one node.
type Agent struct {
	Options
	identity   *identity.Node
	recipient  *envelope.Recipient
	ledger     *ledger.Ledger
	dialer     *mtls.Dialer
	mover      *move.Mover
	shelf      *image.Shelf
	pruner     *prune.Pruner
	supervisor *supervisor.Supervisor
	leases     *lease.Keeper
	session    *session.Session
	facts      *facts
	room       *room
	replicas   *replicas
	renewal    *renewal
	workloads  *workloads.Keeper
	tokens     *workloads.Tokens
	voters     *reachable
	local      *localapi.Server
	execs      *spool.Spool
	queue      *queue.Queue
	// refusals and reads are what happened here while no voter was in reach.
	refusals, reads *counts.Counts
	port            *mtls.Server
	names           *names
	// toVoters makes calls on the protocol of sync.
	toVoters connect.HTTPClient
}

// Run is the daemon: it waits until the machine belongs to a site, then runs
// the node until ctx ends. Containers go on running when it returns.
func Run(ctx context.Context, options Options) error {
	node, err := waitForSite(ctx, options)
	if err != nil {
		return err
	}
	a := &Agent{Options: options, identity: node}
	if err := a.build(); err != nil {
		return err
	}
	options.Logger.Info("the agent starts", "node", node.Name(), "site", node.Site(), "version", options.Version,
		"address", options.Config.APIAddress())
	err = a.run(ctx)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return err
}

func (a *Agent) build() error {
	recipient, err := identity.Recipient(a.Env.FS, a.Env.Rand, identity.Dir(a.Config.StateDir))
	if err != nil {
		return err
	}
	a.recipient = recipient
	opened, err := ledger.Open(a.Env.FS, a.Config.StateDir)
	if err != nil {
		return err
	}
	a.ledger = opened
	a.identity.Gate().Orders = func() [][]byte { return opened.Current().GetRetiring() }
	a.identity.KnowTime(sitetime.NewKeeper(a.Env.Clock, opened.Time(), a.Built))
	if err := a.openCounts(); err != nil {
		return err
	}
	a.dialer = &mtls.Dialer{Net: a.Env.Net, Source: a.identity}
	if vms, ok := a.Runtime.(machines); ok {
		vms.Belong(a.identity.Site())
	}
	a.shelf = image.NewShelf(a.Runtime)
	a.pruner = a.newPruner()
	content := a.dialer.HTTPClient(mtls.Content, mtls.ExpectNode(""))
	if a.leases, err = a.newLeases(); err != nil {
		return err
	}
	a.supervisor = supervisor.New(supervisor.Config{
		Leases:  a.leases,
		Secrets: secrets.New(a.identity.Name(), a.recipient),
		Ledger:  a.ledger, Driver: a.Runtime, Env: a.Env, Logger: a.Logger, Refused: a.countResidency,
		Images: &image.Fetcher{Store: a.shelf, Client: func() *http.Client { return content }, Logger: a.Logger},
	})
	// One for all attempts: connections that were of no use stay open for a
	// while, and without a coordinator there are many attempts.
	sync := a.dialer.HTTPClient(mtls.Sync, mtls.ExpectNode(""))
	a.toVoters = sync
	a.tokens = a.newTokens(sync)
	if a.workloads, err = a.openWorkloads(sync); err != nil {
		return err
	}
	a.room = newRoom(a)
	a.room.look() // before anything is written
	a.replicas = newReplicas(a)
	a.renewal = newRenewal(a)
	a.facts = newFacts(a)
	a.names = newNames(a)
	a.session = session.New(session.Config{
		Name: a.identity.Name(), Ledger: fenced{a.ledger, a.identity, a.supervisor.IsHere}, Node: a.facts, Env: a.Env, Logger: a.Logger,
		Names: a.names.follower,
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			return a.dialer.Dial(ctx, address, mtls.Stream, mtls.ExpectNode(""))
		},
		Refused: a.askWhy, Lead: a.replicas.lead,
		SiteTime: a.identity.SiteTime(),
	})
	if err := a.openExecs(); err != nil {
		return err
	}
	if err := a.openQueue(); err != nil {
		return err
	}
	a.voters = &reachable{agent: a}
	a.local = localapi.New(localapi.Config{
		Node: a.identity.Name(), Site: a.identity.Site(), Ledger: a.ledger, Placements: a.facts,
		Conditions: func() []*skerryv1.Condition { return a.facts.Facts().GetConditions() },
		Voters:     a.voters, Recovery: recoveries{a}, Driver: a.Runtime, Clock: a.Env.Clock, Rand: a.Env.Rand, Logger: a.Logger,
		Names: a.names, Spool: a.execs, Queue: a.queue, Refused: a.refusals, Reads: a.reads, SiteTime: func() time.Time { return a.identity.SiteTime().Read().Time },
	})
	a.mover = a.newMover()
	a.identity.Records(a.onRecord)
	a.port = a.server()
	return nil
}

func (a *Agent) run(ctx context.Context) error {
	listener, err := a.Env.Net.Listen(ctx, "tcp", a.Config.APIAddress())
	if err != nil {
		return problem.New(problem.Internal, a.Config.APIAddress(), "the agent cannot listen: %w", err).
			WithHint("is the address that of this machine, and the port free (ss -lntp)?")
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.port.Serve(ctx, listener) })
	group.Go(func() error { return a.untilEvicted(ctx, a.gossip) })
	group.Go(func() error { return a.Runtime.Run(ctx) })
	group.Go(func() error { return a.supervisor.Run(ctx) })
	group.Go(func() error { return a.leases.Run(ctx) })
	group.Go(func() error { return a.facts.run(ctx) })
	group.Go(func() error { return a.untilEvicted(ctx, a.session.Run) })
	group.Go(func() error { return a.workloads.Run(ctx) })
	group.Go(func() error { return a.names.run(ctx) })
	group.Go(func() error { return a.workloadAPI().Run(ctx) })
	group.Go(func() error { return a.rootAPI(a.toVoters).Run(ctx) })
	group.Go(func() error { return a.room.run(ctx) })
	group.Go(func() error { return a.replicas.run(ctx) })
	group.Go(func() error { return a.followTrust(ctx) })
	group.Go(func() error { return a.enforceTrust(ctx) })
	group.Go(func() error { return a.keepTime(ctx) })
	group.Go(func() error { return a.untilEvicted(ctx, a.handOverExecs) })
	group.Go(func() error { return a.untilEvicted(ctx, a.sendQueued) })
	group.Go(func() error { return a.handOverCounts(ctx) })
	group.Go(func() error { return a.renewal.run(ctx) })
	group.Go(func() error { return a.pruner.Run(ctx) })
	if a.mover != nil {
		group.Go(func() error { return a.mover.Run(ctx) })
	}
	return group.Wait()
}

func (a *Agent) gossipConfig() gossip.Config {
	return gossip.Config{
		Name:    a.identity.Name(),
		Address: a.Config.GossipAddress(),
		Keys:    a.gossipKeys(),
		Book: func() []gossip.Peer {
			var book []gossip.Peer
			for _, peer := range a.ledger.Current().GetPeers() {
				book = append(book, gossip.Peer{Name: peer.GetName(), Address: peer.GetGossipAddress()})
			}
			return book
		},
		Changed: func(name string, alive bool) {
			if voter := a.replicas.active(); voter != nil {
				voter.PoolChanged(name, alive)
			}
		},
		Env:    a.Env,
		Logger: a.Logger,
	}
}
