package agent

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/agent/identity"
	"skerry.dev/agent/runtime"
	"skerry.dev/agent/session"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/deferred"
	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

// Voter is a replica of the site's log.
type Voter interface {
	// Run takes part until ctx ends; any other end means that this replica
	// must halt.
	Run(ctx context.Context) error
	// Operators, Sync and Join answer on the protocols of these names.
	Operators() http.Handler
	Sync() http.Handler
	Join() http.Handler
	// Renewals answers on the protocol where SVIDs are renewed.
	Renewals() http.Handler
	ServeRaft(ctx context.Context, conn net.Conn, peer certs.Peer)
	// ServeStream keeps the stream of an agent.
	ServeStream(ctx context.Context, conn net.Conn)
	// Votes: it is a voter, not only a learner, as far as it knows.
	Votes() bool
	// AuditTrouble is a condition and its text, when the audit log is not what it
	// should be.
	AuditTrouble() (kind, message string)
	// Stuck is for how long its disk does not answer; 0 while it does.
	Stuck() time.Duration
	// Position is the last entry of its log, and whether it knows of a quorum.
	Position(ctx context.Context) (term, index uint64, quorum bool)
	// Lead is the term and the address of the coordinator that it follows, or is;
	// empty when it knows of none. changed is closed when that may have changed.
	Lead() (term uint64, address string, changed <-chan struct{})
	// OnRecord tells whether the state has this key on record for this ID.
	OnRecord(peer certs.Peer) bool
	// PoolChanged tells what gossip sees of a node; it does not block.
	PoolChanged(node string, alive bool)
}

// VoterOptions are what a replica needs of its node.
type VoterOptions struct {
	Node, Site string
	RaftID     uint64
	Dir        string
	// AuditDir keeps the audit log, whichever replica runs here.
	AuditDir string
	// AuditKey signs checkpoints of the audit log.
	AuditKey ed25519.PrivateKey
	// Init opens the log of a new site; nil on all but its first node.
	Init *sitev1.InitSite
	// Again opens the log of a site epoch; nil on all but its first node.
	Again     *sitev1.BeginAgain
	Peers     func() []*sitev1.Peer
	Dialer    *mtls.Dialer
	Images    runtime.ImageStore
	Authority func() *certs.Authority
	// JwtSigner signs with a key that a bundle names; nil while there is none.
	JwtSigner func(*certs.Bundle) *certs.JwtSigner
	SiteTime  *sitetime.Keeper
	Recipient *envelope.Recipient
	// Queue keeps changes while no coordinator is in reach.
	Queue deferred.Queue
	// Own are the placements of this node, as they are now.
	Own func() []*sitev1.PlacementReport
	// Recovered tells this node of the site epoch that another one believes, by the
	// ID of its recovery, and where that one answers.
	Recovered func(ctx context.Context, siteEpoch uint64, recovery []byte, address string)

	Env    env.System
	Logger *slog.Logger
}

// NewVoter opens a replica. An error that wraps ErrUntrusted means that its
// log must never be used again.
type NewVoter func(VoterOptions) (Voter, error)

// ErrBeside says that what a replica keeps beside its log is damaged: it is to be opened
// again, which sets that aside.
var ErrBeside = errors.New("what is kept beside the replica's log is damaged")

// ErrUntrusted says that a replica's log is damaged.
var ErrUntrusted = errors.New("the replica's log cannot be trusted")

const (
	replicaDir = "raft"
	auditDir   = "audit"
	initFile   = "init.pb"
	againFile  = "again.pb"
	haltedFile = "halted"
	// begunFile, beside the ledger, holds the ID of the last replica that took
	// part: without its log it must not take part again.
	begunFile = "replica-begun"
	// A replica that cannot be opened is tried again after openAgainAfter; the node says
	// VoterHalted after the mostUnopened-th time, so that the site puts another in its place.
	openAgainAfter = 2 * time.Second
	mostUnopened   = 3
)

// replicas runs the replica that the orders give this node, one at a time.
type replicas struct {
	*Agent
	dir string

	mu      sync.Mutex
	current Voter
	id      uint64
	// again is how this node begins a site epoch; nil when it does not.
	again *sitev1.BeginAgain
	// halted says why the replica with the ID of the orders does not run any more, shut why
	// it cannot be opened at the moment.
	halted, shut string
	changed      chan struct{}
	// unopened is how often in a row the replica with the ID tried could not be opened. Both
	// belong to run.
	tried    uint64
	unopened int
	// auditKey is the public key with which this node signs the audit log.
	auditKey ed25519.PublicKey
}

func newReplicas(a *Agent) *replicas {
	return &replicas{Agent: a, dir: filepath.Join(a.Config.StateDir, replicaDir), changed: make(chan struct{})}
}

// active is the replica that runs, nil for none.
func (r *replicas) active() Voter {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

// voter is the replica that runs, if it votes.
func (r *replicas) voter() Voter {
	if active := r.active(); active != nil && active.Votes() {
		return active
	}
	return nil
}

// lead is what the replica here knows of the coordinator. One that ends knows of none
// any more, and says so.
func (r *replicas) lead() (session.Lead, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current == nil {
		return session.Lead{}, r.changed
	}
	term, address, changed := r.current.Lead()
	return session.Lead{Term: term, Address: address}, changed
}

// trouble says why there is no replica where there should be one; empty when
// all is well.
func (r *replicas) trouble() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return cmp.Or(r.halted, r.shut)
}

// gone tells that the replica here will not run again: nobody need wait for what its log
// holds.
func (r *replicas) gone() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.halted != ""
}

func (r *replicas) setAuditKey(key ed25519.PublicKey) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.auditKey = key
}

func (r *replicas) set(current Voter, id uint64, halted string) { r.tell(current, id, halted, "") }

func (r *replicas) tell(current Voter, id uint64, halted, shut string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current, r.id, r.halted, r.shut = current, id, halted, shut
	close(r.changed)
	r.changed = make(chan struct{})
}

// run follows the orders: it starts the replica that they name and stops one
// that they do not name any more.
func (r *replicas) run(ctx context.Context) error {
	init, err := r.loadInit()
	if err != nil {
		return err
	}
	if r.again, err = loadAgain(r.Env.FS, r.Config.StateDir); err != nil {
		return err
	}
	for {
		changed, trusted := r.ledger.Changed(), r.identity.TrustChanged()
		id := r.wanted(init)
		r.turnTo(id)
		if id == 0 {
			select {
			case <-changed:
				continue
			case <-trusted:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if missing, changed := r.room.trouble(); missing.kind != "" {
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := r.runOne(ctx, id, init); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// turnTo a replica, or none: that another one could not be opened counts no more.
func (r *replicas) turnTo(id uint64) {
	if id == r.tried {
		return
	}
	r.tried, r.unopened = id, 0
	if r.trouble() != "" && !r.gone() {
		r.set(nil, 0, "")
	}
}

// wanted is the raft ID that the orders give this node; before the first
// orders, that of the first node of a new site.
func (r *replicas) wanted(init *sitev1.InitSite) uint64 {
	orders := r.ledger.Current()
	if r.identity.Evicted() {
		return 0
	}
	epoch := orders.GetOrder().GetSiteEpoch()
	if begins := r.again.GetRecover().GetNode().GetRaftId(); begins != 0 && epoch < r.again.GetRecover().GetFrom().GetSiteEpoch() {
		return begins
	}
	switch {
	case epoch == 0:
		return init.GetNode().GetRaftId()
	case epoch < r.identity.Bundle().SiteEpoch():
		return 0 // the site goes on without the voters of that time
	default:
		return orders.GetRaftId()
	}
}

func (r *replicas) loadInit() (*sitev1.InitSite, error) {
	encoded, err := r.Env.FS.ReadFile(filepath.Join(r.dir, initFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	init := &sitev1.InitSite{}
	if err == nil {
		err = proto.Unmarshal(encoded, init)
	}
	if err != nil {
		return nil, problem.New(problem.Internal, r.dir, "the site's first entry cannot be read: %w", err)
	}
	return init, nil
}

// runOne runs one replica until the orders name another, or none. A replica
// that must halt ends the process: the next one starts without it and reports
// VoterHalted (SAFETY, rule 8).
func (r *replicas) runOne(ctx context.Context, id uint64, init *sitev1.InitSite) error {
	dir := filepath.Join(r.dir, strconv.FormatUint(id, 10))
	if reason, err := r.Env.FS.ReadFile(filepath.Join(dir, haltedFile)); err == nil {
		r.Logger.Error("this node's replica of the log has halted and is not used any more", "replica", id, "reason", string(reason))
		r.set(nil, id, string(reason))
		r.untilOther(ctx, id, init)
		return nil
	}
	why, err := r.lost(id, dir)
	if err != nil {
		return fmt.Errorf("replica %d could not be looked at: %w", id, err)
	}
	if why != "" {
		return r.giveUp(ctx, id, dir, init, fmt.Errorf("%w: %s", ErrUntrusted, why))
	}
	if err := r.identity.EnsureAuthority(r.ledger.Current().GetAuthorityLifetime().AsDuration()); err != nil {
		return fmt.Errorf("this node's CA could not be made: %w", err)
	}
	if err := r.setEpochAside(id, init); err != nil {
		return fmt.Errorf("the logs of an earlier site epoch could not be set aside: %w", err)
	}
	auditKey, err := identity.AuditKey(r.Env.FS, r.Env.Rand, identity.Dir(r.Config.StateDir))
	if err != nil {
		return err
	}
	r.setAuditKey(auditKey.Public().(ed25519.PublicKey))
	opening, again := init, r.again
	if init.GetNode().GetRaftId() != id {
		opening = nil
	}
	if again.GetRecover().GetNode().GetRaftId() != id {
		again = nil
	}
	voter, err := r.NewVoter(VoterOptions{
		Node: r.identity.Name(), Site: r.identity.Site(), RaftID: id, Dir: dir, Init: opening, Again: again,
		AuditDir: filepath.Join(r.Config.StateDir, auditDir), AuditKey: auditKey,
		Peers:  func() []*sitev1.Peer { return r.ledger.Current().GetPeers() },
		Dialer: r.dialer, Images: r.shelf, Authority: r.identity.Authority, JwtSigner: r.identity.JwtSigner, Recipient: r.recipient,
		SiteTime: r.identity.SiteTime(), Queue: r.queue, Own: r.supervisor.Reports, Recovered: recoveries{r.Agent}.Recovered,
		Env: r.Env, Logger: r.Logger,
	})
	if errors.Is(err, ErrUntrusted) {
		return r.giveUp(ctx, id, dir, init, err)
	}
	if err != nil {
		r.openLater(ctx, id, err)
		return nil
	}
	r.unopened = 0
	if err := r.Env.FS.WriteFile(r.begunPath(), []byte(strconv.FormatUint(id, 10)), 0o600); err != nil {
		return fmt.Errorf("replica %d could not be begun: %w", id, err)
	}
	r.set(voter, id, "")
	defer r.set(nil, 0, "")
	runCtx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- voter.Run(runCtx) }()
	other := make(chan struct{})
	go func() {
		defer close(other)
		r.untilOtherOrLack(runCtx, id, init)
	}()
	if err := r.removeFormer(id, init); err != nil {
		r.Logger.Warn("what earlier replicas have left on this disk could not be removed; it is tried again at the next start", "directory", r.dir, "error", err)
	}
	select {
	case err := <-ended:
		told := ctx.Err() != nil
		stop()
		<-other
		if told && errors.Is(err, context.Canceled) {
			return nil
		}
		if errors.Is(err, ErrBeside) {
			r.openLater(ctx, id, err)
			return nil
		}
		return r.halt(dir, err)
	case <-other:
		stop()
		r.set(nil, 0, "") // nobody is sent there while it ends
		err := <-ended
		if !errors.Is(err, context.Canceled) && !errors.Is(err, ErrBeside) {
			return r.halt(dir, err) // it failed before it had ended
		}
		// It was told to end, and loses nothing that it acknowledged.
		r.Logger.Debug("the replica ended", "replica", id, "error", err)
		return nil
	}
}

// openLater leaves a replica be for a while that could not be opened. The agent goes on:
// what it runs, and who asks why, need it more than the site needs this replica.
func (r *replicas) openLater(ctx context.Context, id uint64, reason error) {
	r.unopened++
	why := ""
	if r.unopened >= mostUnopened {
		why = "it cannot be opened: " + reason.Error()
	}
	r.Logger.Error("this node's replica of the log is opened again in a moment", "replica", id, "error", reason)
	r.tell(nil, id, "", why)
	_ = env.Sleep(ctx, r.Env.Clock, openAgainAfter) // the caller looks whether it was told to end
}

// untilOther waits until the orders name another replica, or ctx ends.
func (r *replicas) untilOther(ctx context.Context, id uint64, init *sitev1.InitSite) {
	for {
		changed, trusted := r.ledger.Changed(), r.identity.TrustChanged()
		if r.wanted(init) != id {
			return
		}
		select {
		case <-changed:
		case <-trusted:
		case <-ctx.Done():
			return
		}
	}
}

// untilOtherOrLack returns also when there is no room for a log.
func (r *replicas) untilOtherOrLack(ctx context.Context, id uint64, init *sitev1.InitSite) {
	for {
		changed, trusted := r.ledger.Changed(), r.identity.TrustChanged()
		missing, roomChanged := r.room.trouble()
		if missing.kind != "" || r.wanted(init) != id {
			return
		}
		select {
		case <-changed:
		case <-trusted:
		case <-roomChanged:
		case <-ctx.Done():
			return
		}
	}
}

func (r *replicas) begunPath() string { return filepath.Join(r.Config.StateDir, "ledger", begunFile) }

// lost says why the replica must not take part: it did already, and nothing is
// left of its log, or another one came after it. It has forgotten what it voted
// for and what it acknowledged, and the first voter of a site would begin the
// site anew. Empty when all is well.
func (r *replicas) lost(id uint64, dir string) (string, error) {
	encoded, err := r.Env.FS.ReadFile(r.begunPath())
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	begun, err := strconv.ParseUint(string(encoded), 10, 64)
	if err != nil || id > begun {
		return "", err
	}
	if id < begun {
		return fmt.Sprintf("replica %d came after it on this node", begun), nil
	}
	left, err := r.Env.FS.ReadDir(dir)
	if err != nil || len(left) > 0 {
		return "", err // what is left, the log itself judges
	}
	return "it took part already, and nothing is left of it in " + dir, nil
}

// giveUp a replica whose log is not to be trusted. Where the disk takes no note of
// that, none would be there after a restart: this process goes on without it.
func (r *replicas) giveUp(ctx context.Context, id uint64, dir string, init *sitev1.InitSite, reason error) error {
	if err := r.note(dir, reason); err != nil {
		r.Logger.Error("this node's replica of the log is not used any more, and the disk takes no note of that", "replica", id, "reason", reason, "error", err)
		r.set(nil, id, reason.Error())
		r.untilOther(ctx, id, init)
		return nil
	}
	return halted(reason)
}

// halt notes why this replica must never run again, and ends the process. Where the
// disk takes no note, the log itself tells the next one.
func (r *replicas) halt(dir string, reason error) error {
	return halted(errors.Join(reason, r.note(dir, reason)))
}

func halted(reason error) error {
	return fmt.Errorf("this node's replica of the log must halt; the agent goes on without it after a restart: %w", reason)
}

func (r *replicas) note(dir string, reason error) error {
	if err := r.Env.FS.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return r.Env.FS.WriteFile(filepath.Join(dir, haltedFile), []byte(reason.Error()), 0o600)
}
