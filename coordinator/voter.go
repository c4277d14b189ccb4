package coordinator

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sync/errgroup"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	graph "skerry.dev/coordinator/access"
	"skerry.dev/coordinator/api"
	"skerry.dev/coordinator/audit"
	"skerry.dev/coordinator/audit/leafstore"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/consensus/pebblelog"
	"skerry.dev/coordinator/consensus/transport"
	"skerry.dev/coordinator/dispatcher"
	"skerry.dev/coordinator/issuer"
	"skerry.dev/coordinator/leases"
	"skerry.dev/coordinator/naming"
	"skerry.dev/coordinator/secrets"
	"skerry.dev/coordinator/state"
	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/counts"
	"skerry.dev/shared/deferred"
	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
	"skerry.dev/shared/spool"
	"skerry.dev/shared/throttle"
	"skerry.dev/shared/wire"
)

// initialiseEvery is how often a new site tries to open its log.
const initialiseEvery = 10 * time.Millisecond

// maxIssue bounds a call for identities of workloads, in bytes.
const maxIssue = 512 << 10

// maxObserved observations wait for the controllers.
const maxObserved = 256

// Config of a voter. All fields but Init are required.
type Config struct {
	// Node is the name of this node, Site that of the site.
	Node, Site string
	// RaftID of the replica, Dir of its log.
	RaftID uint64
	Dir    string
	// AuditDir keeps the leaves of the audit log, whichever replica runs here.
	AuditDir string
	// AuditKey signs checkpoints of the audit log.
	AuditKey ed25519.PrivateKey
	// Init opens the log of a new site; nil on all but its first voter.
	Init *sitev1.InitSite
	// Again opens the log of a site epoch; nil on all but its first voter.
	Again *sitev1.BeginAgain
	// Peers is what the node itself knows of the others, for as long as the
	// replicated state is empty.
	Peers func() []*sitev1.Peer
	// Dialer opens connections under the node's identity.
	Dialer *mtls.Dialer
	// Images of this node.
	Images api.Images
	// Authority is this node's CA.
	Authority func() *certs.Authority
	// JwtSigner signs JWT-SVIDs with a key that a bundle names; nil while there is
	// none.
	JwtSigner func(*certs.Bundle) *certs.JwtSigner
	// SiteTime of this node.
	SiteTime *sitetime.Keeper
	Env      env.System
	Logger   *slog.Logger
	// Recipient is the key to which this node's share of secrets is sealed.
	Recipient *envelope.Recipient
	// Queue of this node keeps changes while no coordinator is in reach.
	Queue deferred.Queue
	// Own are the placements that this node holds, as they are now; nil for none.
	Own func() []*sitev1.PlacementReport
	// Recovered tells this node of the site epoch that another one believes, by the
	// ID of its recovery, and where that one answers.
	Recovered func(ctx context.Context, siteEpoch uint64, recovery []byte, address string)
}

// Voter is a replica of the log and, while it is elected, the coordinator.
type Voter struct {
	Config
	log       *pebblelog.Log
	store     *state.Store
	node      *consensus.Node
	transport *transport.Transport
	clients   *clients
	secrets   *secrets.Keeper
	// handedOver is when the leadership was last given away for the sake of the
	// site's key for secrets.
	handedOver time.Duration
	dispatcher *dispatcher.Dispatcher
	// granted are the leases of the last term in which this replica led; nil before
	// the first one.
	granted  atomic.Pointer[leases.Table]
	naming   *naming.Hub
	leaves   *leafstore.Store
	refusals *counts.Counts
	// reads are counted as refusals are.
	reads *counts.Counts
	// seenRefusals and seenReads are those that other nodes tell of, apart, so that
	// a node that makes them up takes no room from these.
	seenRefusals, seenReads *counts.Counts
	// reports bounds what one node brings into the audit log.
	reports *throttle.Throttle
	// spool holds execs that could not be brought into the log yet.
	spool *spool.Spool
	// signed are the newest checkpoints of each voter that this one ever saw.
	// They, lastThrough, refetch and failedFill belong to keepAudit.
	signed      map[string]*sitev1.AuditCheckpoint
	lastThrough uint64
	refetch     bool
	failedFill  filling
	alarmed     atomic.Pointer[auditAlarm]
	// auditKnown are the keys of the first auditAt versions of the chain of
	// trust, guarded by trustMu.
	auditKnown audit.Keys
	auditAt    int
	observed   chan observation
	backups    *backups
	// waiting says why the controllers hold replacing back; nil when this is not
	// the coordinator.
	waiting atomic.Pointer[string]
	// trusted is the newest bundle that was verified.
	trustMu sync.Mutex
	trusted *certs.Bundle
	// ended: Run has returned. What others had open here is closed then, so that
	// they come to the next replica.
	ended context.Context
	end   context.CancelFunc

	// streams are what judges the streams of agents.
	streams   []connect.Interceptor
	operators *api.Server
	sync      http.Handler
	join      http.Handler
	renewals  http.Handler
}

// New opens the log and restores the state; Run makes the replica take part.
// An error that wraps pebblelog.ErrUntrusted means that this replica must never
// run again.
func New(config Config) (*Voter, error) {
	v := &Voter{Config: config, store: state.New(), observed: make(chan observation, maxObserved)}
	v.clients = &clients{dialer: config.Dialer, known: map[target]*http.Client{}}
	v.backups = &backups{v: v, folder: make(chan struct{}, 1)}
	v.secrets = secrets.New(config.Node, config.Recipient, config.Env.Rand)
	v.ended, v.end = context.WithCancel(context.Background())
	opened, err := pebblelog.Open(vfs.Default, config.Dir, config.Logger)
	if err != nil {
		return nil, err
	}
	v.log = opened
	now := func() time.Time { return siteClock{v}.Read().Time }
	for _, counted := range []**counts.Counts{&v.refusals, &v.reads, &v.seenRefusals, &v.seenReads} {
		*counted = &counts.Counts{Node: config.Node, Now: now}
	}
	v.reports = throttle.New(reportLimits, config.Env.Clock)
	if v.leaves, err = leafstore.Open(vfs.Default, config.AuditDir, config.Logger, opened.Fail); err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	if err := errors.Join(v.openSpool(), v.openCounts(), v.loadCheckpoints(), v.openReplica()); err != nil {
		return nil, errors.Join(err, v.condemnLeaves(err), v.leaves.Close(), opened.Close())
	}
	v.checkLeaves()
	v.dispatcher = dispatcher.New(proposer{v}, v.store, v.secrets, config.Env.Clock, config.Logger)
	v.dispatcher.Time = func() *sitev1.SiteClock { return v.stamp().Message() }
	v.naming = naming.New(proposer{v}, v.store, config.Env.Clock, config.Logger)
	v.dispatcher.Names = v.naming
	v.serve()
	return v, nil
}

func (v *Voter) openReplica() error {
	last, err := v.log.LastIndex()
	if err != nil {
		return err
	}
	v.transport = transport.New(transport.Config{
		Dial: v.dialReplica,
		Receive: func(m *consensus.Message) {
			if m.GetTo() == v.RaftID { // not what is meant for a replica that this node held before
				v.node.Receive(m)
			}
		},
		Unreachable: func(ctx context.Context, id uint64) { v.node.ReportUnreachable(ctx, id) },
		Snapshot:    func(ctx context.Context, id uint64, ok bool) { v.node.ReportSnapshot(ctx, id, ok) },
		Clock:       v.Env.Clock,
		Logger:      v.Logger,
	})
	kept := &keptLeaves{store: v.leaves}
	v.store.OnLeaf(kept.take)
	switch {
	case last != 0:
	case v.Again != nil:
		err = v.beginAgain(kept)
	case v.Init != nil:
		err = consensus.Bootstrap(v.log, v.RaftID, v.store)
	}
	if err != nil {
		return err
	}
	replica, err := consensus.NewReplica(consensus.Config{
		ID: v.RaftID, Log: v.log, Machine: v.store, Kept: kept, Send: v.transport.Send, Logger: v.Logger,
	})
	if err != nil {
		return err
	}
	if err := v.beginLeaves(); err != nil {
		return err
	}
	if v.Init != nil || v.Again != nil {
		// The only voter there is need not wait for a timeout.
		if status := replica.Status(); len(status.Voters) == 1 && status.Voters[0] == v.RaftID {
			if err := replica.Campaign(); err != nil {
				return err
			}
		}
	}
	v.node = consensus.NewNode(replica, v.Env.Clock, v.Logger)
	return nil
}

// serve puts the handlers together.
func (v *Voter) serve() {
	v.operators = api.New(api.Config{
		Node: v.Node, Site: v.Site, Log: proposer{v}, Store: v.store, Images: v.Images, Secrets: v.secrets,
		NodeClient: func(node string) connect.HTTPClient { return v.clients.to(node, mtls.Peer) },
		Transport:  func(node string) http.RoundTripper { return v.clients.to(node, mtls.API2).Transport },
		Waiting:    v.whyWaiting, Reported: func() []string { return v.dispatcher.Reported() }, Granted: v.grantedNow,
		Leaves: v.leaves, Refused: v.refusals, Reads: v.reads, Execs: execs{v}, Backups: v.backups,
		SiteTime: siteClock{v}, Queue: v.Queue, Own: v.Own,
		Clock: v.Env.Clock, Rand: v.Env.Rand, Logger: v.Logger,
	})
	v.streams = v.judging(api.Proved)
	syncMux := http.NewServeMux()
	syncMux.Handle(sitev1connect.NewWorkloadIdentityServiceHandler(issuer.Issuer{Config: issuer.Config{
		ReadIndex: v.node.ReadIndex, Store: v.store, Bundle: v.bundle, Authority: v.Authority, JwtSigner: v.JwtSigner, Now: func() time.Time { return siteClock{v}.Read().Time },
		Refused: func(node, from, procedure string, err error) {
			counts.Refused(v.refusals, node, counts.HostOf(from), procedure, err)
		},
	}}, wire.Bounded(maxIssue), v.nodes(api.Proved)))
	syncMux.Handle(sitev1connect.NewLeaseServiceHandler(leaseService{v, v.node}, wire.Bounded(maxLeaseRequest), v.nodes(api.Proved)))
	syncMux.Handle(sitev1connect.NewAuditPeerServiceHandler(auditPeer{v},
		wire.Bounded(maxAuditAnswer), v.nodes(api.Proved)))
	syncMux.Handle(sitev1connect.NewQueuePeerServiceHandler(queuePeer{v}, wire.Bounded(2*deferred.MaxChange), v.nodes(api.Proved)))
	join := api.Join{
		Log: proposer{v}, Store: v.store, Authority: v.Authority, Bundle: v.bundle, SiteTime: siteClock{v}, Rand: v.Env.Rand,
		Refused: v.refusals,
	}
	syncMux.Handle(sitev1connect.NewBreakGlassServiceHandler(api.BreakGlass{Join: join}, wire.Bounded(64<<10), v.nodes(api.Proved)))
	v.sync = syncMux
	joinMux := http.NewServeMux()
	joinMux.Handle(sitev1connect.NewJoinServiceHandler(join, wire.Bounded(64<<10), connect.WithInterceptors(guard.New(guard.Config{Who: guard.Anybody}))))
	v.join = joinMux
	renewMux := http.NewServeMux()
	renewMux.Handle(sitev1connect.NewRenewServiceHandler(api.Renew{
		Log: proposer{v}, Store: v.store, Authority: v.Authority, SiteTime: siteClock{v},
	}, wire.Bounded(64<<10), v.nodes(api.Claimed)))
	v.renewals = renewMux
}

// nodes admits nodes to what is their own, and counts who asks for more.
func (v *Voter) nodes(who func(context.Context) string) connect.Option {
	return connect.WithInterceptors(v.judging(who)...)
}

func (v *Voter) judging(who func(context.Context) string) []connect.Interceptor {
	return []connect.Interceptor{counts.Refusing(v.refusals, who), guard.New(guard.Config{
		Who: nodeFrom, Bound: func(node string, object access.Object) bool { return graph.Bound(v.store.View(), node, object) },
	})}
}

// nodeFrom is who is at the other end, by its certificate.
func nodeFrom(ctx context.Context) access.Principal {
	peer, _ := mtls.PeerFrom(ctx) // the zero peer is nobody who may call
	return access.PrincipalOf(peer.ID.String())
}

// Operators, Sync and Join answer on their protocols.
func (v *Voter) Operators() http.Handler { return v.operators }

// Sync answers the calls of agents.
func (v *Voter) Sync() http.Handler { return v.sync }

// ServeStream keeps the stream of an agent, for as long as this replica runs.
func (v *Voter) ServeStream(ctx context.Context, conn net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(v.ended, cancel)
	defer stop()
	v.dispatcher.Serve(ctx, conn, v.streams...)
}

// Join serves those who want to join.
func (v *Voter) Join() http.Handler { return v.join }

// Renewals renews SVIDs, by the key on record alone.
func (v *Voter) Renewals() http.Handler { return v.renewals }

// Votes tells whether the state knows this replica as a voter: only then it
// answers operators.
func (v *Voter) Votes() bool {
	node := v.store.View().Node(v.Node)
	return node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER && node.GetRaftId() == v.RaftID
}

// Lead is the term and the address of the coordinator that this replica follows, or
// is; empty when it knows of none.
func (v *Voter) Lead() (term uint64, address string, changed <-chan struct{}) {
	changed = v.node.Changed() // before the status that it is about
	status := v.node.Status()
	return status.Term, v.store.View().NodeOfReplica(status.Leader).GetAddress(), changed
}

// Run takes part until ctx ends. Any other end is an error: this replica must
// halt, but for leafstore.ErrDamaged, after which it is to be opened again.
func (v *Voter) Run(ctx context.Context) error {
	defer v.end()
	group, groupCtx := errgroup.WithContext(ctx)
	// The transport outlives the replica, which hands its leadership over when
	// it stops.
	transportCtx, stopTransport := context.WithCancel(context.WithoutCancel(ctx))
	group.Go(func() error { return v.transport.Run(transportCtx) })
	var failure error
	group.Go(func() error {
		defer stopTransport()
		failure = v.node.Run(groupCtx)
		return failure
	})
	group.Go(func() error { return v.dispatcher.Run(groupCtx) })
	group.Go(func() error { return v.naming.Run(groupCtx) })
	group.Go(func() error { return v.control(groupCtx) })
	group.Go(func() error { return v.initialise(groupCtx) })
	group.Go(func() error { return v.followTrust(groupCtx) })
	group.Go(func() error { return v.keepSecrets(groupCtx) })
	group.Go(func() error { return v.giveWay(groupCtx) })
	group.Go(func() error { return v.rotateKeys(groupCtx) })
	group.Go(func() error { return v.keepAudit(groupCtx) })
	group.Go(func() error { return v.keepBackups(groupCtx) })
	group.Go(func() error { return v.operators.Run(groupCtx) })
	group.Go(func() error { return v.leaves.Watch(groupCtx) })
	group.Go(func() error { return v.callAwaited(groupCtx) })
	err := group.Wait()
	stopTransport()
	v.clients.closeIdle()
	if failure != nil {
		err = failure // also when it came while the others stopped
	}
	return errors.Join(err, v.condemnLeaves(err), v.leaves.Close(), v.log.Close())
}

// condemnLeaves has the leaves set aside when they are opened the next time, if it is they
// that are damaged.
func (v *Voter) condemnLeaves(err error) error {
	if !errors.Is(err, leafstore.ErrDamaged) {
		return nil
	}
	return v.leaves.Condemn()
}

// ServeRaft receives what another replica sends, for as long as this one runs.
func (v *Voter) ServeRaft(ctx context.Context, conn net.Conn, peer certs.Peer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(v.ended, cancel)
	defer stop()
	err := v.transport.Serve(ctx, conn, func(id uint64) bool { return v.isReplica(peer, id) })
	v.Logger.Debug("a connection from a voter ended", "from", peer.Name, "error", err)
}

// isReplica: the state knows the peer's replica by this ID, or the node itself
// does: the state may be empty, or behind. An earlier node of the peer's name may
// still have an SVID that is valid, so the key must be that of the record.
func (v *Voter) isReplica(peer certs.Peer, id uint64) bool {
	view := v.store.View()
	if id == 0 || view.IsRevoked(peer.KeyFingerprint) {
		return false
	}
	if node := view.Node(peer.Name); node.GetRaftId() == id && bytes.Equal(node.GetKeyFingerprint(), peer.KeyFingerprint) {
		return true
	}
	for _, known := range v.Peers() {
		key := known.GetKeyFingerprint()
		if known.GetName() == peer.Name && known.GetRaftId() == id && (len(key) == 0 || bytes.Equal(key, peer.KeyFingerprint)) {
			return true
		}
	}
	return false
}

func (v *Voter) dialReplica(ctx context.Context, id uint64) (net.Conn, error) {
	if node := v.store.View().NodeOfReplica(id); node != nil {
		if node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			return nil, problem.New(problem.Forbidden, "Node/"+node.GetName(), "it was evicted from the site: its replica gets nothing any more")
		}
		return v.Dialer.Dial(ctx, node.GetAddress(), mtls.Raft, v.expectReplica(node.GetName(), node.GetKeyFingerprint()))
	}
	for _, peer := range v.Peers() {
		if peer.GetRaftId() == id {
			return v.Dialer.Dial(ctx, peer.GetAddress(), mtls.Raft, v.expectReplica(peer.GetName(), peer.GetKeyFingerprint()))
		}
	}
	return nil, problem.New(problem.NotFound, "log", "no node is known to hold replica %d", id)
}

// OnRecord tells whether the state has a peer's key on record for its ID.
func (v *Voter) OnRecord(peer certs.Peer) bool {
	return v.store.View().OnRecord(peer)
}

// expectReplica admits the named node with the key that is on record, if one
// is: an earlier node of its name may still have an SVID that is valid.
func (v *Voter) expectReplica(name string, key []byte) mtls.Allow {
	named := mtls.ExpectNode(name)
	return func(peer certs.Peer) error {
		if err := named(peer); err != nil {
			return err
		}
		if v.store.View().IsRevoked(peer.KeyFingerprint) || (len(key) > 0 && !bytes.Equal(key, peer.KeyFingerprint)) {
			return problem.New(problem.Forbidden, "Node/"+name, "what answers there has another key than the one on record")
		}
		return nil
	}
}

// ping asks a node whether it lives.
func (v *Voter) ping(ctx context.Context, name string) error {
	node := v.store.View().Node(name)
	// A connection of its own: one that is open may be dead without knowing.
	client := v.Dialer.HTTPClient(mtls.Peer, mtls.ExpectNode(name))
	defer client.CloseIdleConnections()
	_, err := sitev1connect.NewPeerServiceClient(client, "https://"+node.GetAddress()).
		Ping(ctx, connect.NewRequest(&sitev1.PingRequest{}))
	return err
}

func (v *Voter) whyWaiting() string {
	if reason := v.waiting.Load(); reason != nil {
		return *reason
	}
	return ""
}

func (v *Voter) newID() string {
	var b [16]byte
	if _, err := v.Env.Rand.Read(b[:]); err != nil {
		panic("env.Rand failed, which its contract excludes: " + err.Error())
	}
	return hex.EncodeToString(b[:])
}

// proposer is the log as the API and the dispatcher see it: what they propose
// is stamped.
type proposer struct{ v *Voter }

func (p proposer) Propose(ctx context.Context, entry *sitev1.Entry) (*sitev1.Outcome, error) {
	return p.v.Propose(ctx, entry)
}

func (p proposer) ReadIndex(ctx context.Context) (uint64, error) { return p.v.node.ReadIndex(ctx) }
func (p proposer) Status() consensus.Status                      { return p.v.node.Status() }
func (p proposer) Changed() <-chan struct{}                      { return p.v.node.Changed() }

// initialise proposes the entry that opens a new site's log.
func (v *Voter) initialise(ctx context.Context) error {
	for v.Init != nil && v.store.View().SiteID() == "" {
		if v.node.Status().Serving {
			entry := &sitev1.Entry{
				RequestId: "init-" + v.Init.GetSiteId(), Principal: "init",
				Change: &sitev1.Entry_InitSite{InitSite: v.Init},
			}
			// Whoever begins a site stands for the clock of its first node.
			now := v.Env.Clock.Now()
			v.SiteTime.Observe(sitetime.Stamp{Time: now, Reference: now})
			if _, err := v.Propose(ctx, entry); err != nil {
				v.Logger.Debug("the site could not be opened yet", "error", err)
			}
		}
		if env.Sleep(ctx, v.Env.Clock, initialiseEvery) != nil {
			return ctx.Err()
		}
	}
	<-ctx.Done()
	return ctx.Err()
}
