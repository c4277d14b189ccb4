package deferred

import (
	"bytes"
	"context"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/problem"
)

// Queue keeps changes on the node's disk.
type Queue interface {
	// Add keeps a change, durably when it returns. One of the same ID is kept once.
	Add(signed *skerryv1.SignedChange) error
	// Waiting changes, the oldest first.
	Waiting() []*skerryv1.QueuedChange
	// Withdraw forgets one that waits.
	Withdraw(id string) error
}

// Service implements skerry.v1.QueueService for one node. All fields but Decided are
// required.
type Service struct {
	Node string
	// Kept is where changes wait.
	Kept Queue
	// Key is the SHA-256 of the key with which somebody calls.
	Key       func(context.Context) []byte
	Freshness func() *skerryv1.Freshness
	SiteTime  func() time.Time
	// Decided changes, the oldest first, as far as this node knows of them.
	Decided func() []*skerryv1.QueuedChange
}

var _ skerryv1connect.QueueServiceHandler = Service{}

// Queue implements skerryv1connect.QueueServiceHandler. Who may not make the change
// by what this node knows is refused at once; it is judged again when it is made.
func (s Service) Queue(ctx context.Context, req *connect.Request[skerryv1.QueueRequest]) (*connect.Response[skerryv1.QueueResponse], error) {
	call := guard.From(ctx)
	change, key, err := Open(req.Msg.GetChange())
	if err != nil {
		return nil, problem.ToConnect(err)
	}
	if change.GetPrincipal() != call.Who().ID || !bytes.Equal(key, s.Key(ctx)) {
		return nil, problem.ToConnect(problem.New(problem.Forbidden, "change", "it is signed by somebody else than %s, who calls", call.Who()))
	}
	for _, object := range Objects(change) {
		if err := call.Ask(Verb(change), object); err != nil {
			return nil, problem.ToConnect(err)
		}
	}
	if err := s.Kept.Add(req.Msg.GetChange()); err != nil {
		return nil, problem.ToConnect(err)
	}
	return connect.NewResponse(&skerryv1.QueueResponse{Queued: Shown(change, s.Node), Freshness: s.Freshness()}), nil
}

// ListQueued implements skerryv1connect.QueueServiceHandler. Everybody sees what is
// his own, others who may read what it is about.
func (s Service) ListQueued(ctx context.Context, _ *connect.Request[skerryv1.ListQueuedRequest]) (*connect.Response[skerryv1.ListQueuedResponse], error) {
	call := guard.From(ctx)
	all := s.Kept.Waiting()
	if s.Decided != nil {
		decided := slices.Clone(s.Decided())
		slices.Reverse(decided)
		all = append(all, decided...)
	}
	all = slices.DeleteFunc(all, func(shown *skerryv1.QueuedChange) bool { return !mayAll(call, access.Read, shown) })
	return connect.NewResponse(&skerryv1.ListQueuedResponse{
		Changes: all, Freshness: s.Freshness(), SiteTime: timestamppb.New(s.SiteTime()),
	}), nil
}

// Withdraw implements skerryv1connect.QueueServiceHandler: by who queued it, or who
// might have.
func (s Service) Withdraw(ctx context.Context, req *connect.Request[skerryv1.WithdrawRequest]) (*connect.Response[skerryv1.WithdrawResponse], error) {
	call, id := guard.From(ctx), req.Msg.GetRequestId()
	waiting := s.Kept.Waiting()
	i := slices.IndexFunc(waiting, func(shown *skerryv1.QueuedChange) bool {
		return shown.GetRequestId() == id && mayAll(call, shown.GetVerb(), shown)
	})
	if i < 0 {
		return nil, problem.ToConnect(problem.New(problem.NotFound, "queued/"+id, "no such change waits on %s", s.Node).
			WithHint("skerry get queued lists them; it waits on the node that took it, which --address names"))
	}
	if err := s.Kept.Withdraw(id); err != nil {
		return nil, problem.ToConnect(err)
	}
	return connect.NewResponse(&skerryv1.WithdrawResponse{Freshness: s.Freshness()}), nil
}

// mayAll: it is the caller's own, or the caller may do this to all of it.
func mayAll(call *guard.Call, verb string, shown *skerryv1.QueuedChange) bool {
	if shown.GetPrincipal() == call.Who().ID {
		return true
	}
	return !slices.ContainsFunc(about(shown), func(object access.Object) bool { return !call.May(verb, object) })
}
