package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/secrets"
	"skerry.dev/coordinator/state"
	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/deferred"
	"skerry.dev/shared/env"
	"skerry.dev/shared/wire"
)

// maxMessage bounds one message: a manifest of 1 MiB and room for its frame.
const maxMessage = 1<<20 + 64<<10

// Log is what the API needs of the replicated log.
type Log interface {
	// Propose commits one entry and returns what became of it.
	Propose(ctx context.Context, entry *sitev1.Entry) (*sitev1.Outcome, error)
	// ReadIndex waits until the local state is as new as the log was when it
	// was called.
	ReadIndex(ctx context.Context) (uint64, error)
	Status() consensus.Status
}

// Images takes in the images of a tar on this node.
type Images interface {
	Import(ctx context.Context, tar io.Reader, name string) ([]*skerryv1.Image, error)
}

// Config of a server. All fields are required.
type Config struct {
	// Node is the name of this node, Site that of the site.
	Node, Site string
	Log        Log
	Store      *state.Store
	Images     Images
	// Secrets seals what must not enter the log in the clear.
	Secrets *secrets.Keeper
	// NodeClient returns a client that speaks only to the named node.
	NodeClient func(node string) connect.HTTPClient
	// Transport reaches the named voter's API on behalf of a caller.
	Transport func(node string) http.RoundTripper
	// Waiting says why the coordinator holds replacing back; empty when it does
	// not.
	Waiting func() string
	// Reported are the nodes that have reported all of themselves to this
	// coordinator.
	Reported func() []string
	SiteTime SiteTime
	// Leaves of the audit log on this voter.
	Leaves Leaves
	// Refused counts refusals for the audit log.
	Refused Refused
	// Reads counts logs that were read, for the audit log.
	Reads Refused
	Execs Execs
	// Backups of this voter.
	Backups Backups
	// Queue of this node keeps changes while no coordinator is in reach.
	Queue deferred.Queue
	// Own are the placements that this node holds, as they are now; nil for none.
	Own func() []*sitev1.PlacementReport
	// Granted leases; nil when this is not the coordinator.
	Granted func() Granted
	Clock   env.Clock
	Rand    env.Rand
	Logger  *slog.Logger
}

// compressFrom this many bytes on answers are compressed. Less is not worth it:
// it took a fifth of the time of small writes.
const compressFrom = 64 << 10

// Server answers operators on a voter.
type Server struct {
	Config
	judges    access.Cache
	handler   http.Handler
	foresight *foresight
}

// New returns a server; it starts nothing.
func New(config Config) *Server {
	s := &Server{Config: config, foresight: newForesight(config.Clock)}
	mux := http.NewServeMux()
	options := []connect.HandlerOption{
		wire.Bounded(maxMessage),
		connect.WithCompressMinBytes(compressFrom),
		connect.WithCodec(strictJSON{name: "json"}),
		connect.WithCodec(strictJSON{name: "json; charset=utf-8"}),
		connect.WithInterceptors(problems{logger: config.Logger, refused: config.Refused}, s.guard()),
	}
	mux.Handle(skerryv1connect.NewResourceServiceHandler(resources{s}, options...))
	mux.Handle(skerryv1connect.NewSiteServiceHandler(site{s}, options...))
	mux.Handle(skerryv1connect.NewSiteTimeServiceHandler(siteTimes{s}, options...))
	mux.Handle(skerryv1connect.NewPlacementServiceHandler(placements{s}, options...))
	mux.Handle(skerryv1connect.NewSecretServiceHandler(secretService{s}, options...))
	mux.Handle(skerryv1connect.NewNamingServiceHandler(names{s}, options...))
	mux.Handle(skerryv1connect.NewLeaseServiceHandler(leaseService{s}, options...))
	mux.Handle(skerryv1connect.NewForesightServiceHandler(foresees{s}, options...))
	mux.Handle(skerryv1connect.NewNodeServiceHandler(nodeService{s}, options...))
	mux.Handle(skerryv1connect.NewPowerServiceHandler(power{s}, options...))
	mux.Handle(skerryv1connect.NewRebalanceServiceHandler(rebalances{s}, options...))
	mux.Handle(skerryv1connect.NewRunServiceHandler(runs{s}, options...))
	mux.Handle(skerryv1connect.NewVmServiceHandler(vms{s}, options...))
	mux.Handle(skerryv1connect.NewDiskServiceHandler(disks{s}, options...))
	mux.Handle(skerryv1connect.NewRolloutServiceHandler(rollouts{s}, options...))
	mux.Handle(skerryv1connect.NewPlanServiceHandler(plans{s}, options...))
	mux.Handle(skerryv1connect.NewImageServiceHandler(images{s}, options...))
	mux.Handle(skerryv1connect.NewIdentityServiceHandler(identities{s}, options...))
	mux.Handle(skerryv1connect.NewAuditServiceHandler(auditLog{s}, options...))
	mux.Handle(skerryv1connect.NewAccessServiceHandler(accessService{s}, options...))
	mux.Handle(skerryv1connect.NewBackupServiceHandler(backups{s, make(chan struct{}, maxMaking)}, options...))
	mux.Handle(skerryv1connect.NewRecoveryServiceHandler(recoveries{s}, options...))
	mux.Handle(skerryv1connect.NewQueueServiceHandler(s.queueService(), options...))
	// What is passed on waits at the coordinator, and takes no turn here.
	s.handler = s.authenticate(s.throttled(s.forward(s.admitted(mux))))
	return s
}

// ServeHTTP answers one call of an operator, or of a voter on behalf of one.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// commitTimeout bounds how long a write may wait for its majority. Past it the
// outcome is unknown and the caller repeats the request ID.
const commitTimeout = 5 * time.Second

// commit proposes one entry on behalf of the caller and turns a refusal by the
// state into an error.
func (s *Server) commit(ctx context.Context, requestID string, entry *sitev1.Entry) (*sitev1.Outcome, error) {
	if requestID == "" {
		requestID = s.newID()
	}
	entry.RequestId = requestID
	entry.Principal = principalFrom(ctx).ID
	entry.From = hostFrom(ctx)
	entry.Queued = queuedFrom(ctx)
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	outcome, err := s.propose(ctx, entry)
	if err != nil {
		return nil, err
	}
	return outcome, outcomeError(outcome)
}

// entry on behalf of the caller, without a change.
func (s *Server) entry(ctx context.Context, requestID string) *sitev1.Entry {
	if requestID == "" {
		requestID = s.newID()
	}
	return &sitev1.Entry{
		RequestId: requestID, Principal: principalFrom(ctx).ID, From: hostFrom(ctx), AccessRevision: guard.From(ctx).Revision(),
	}
}
