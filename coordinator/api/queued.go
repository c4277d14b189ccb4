package api

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs/mtls"
	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/deferred"
	"skerry.dev/shared/problem"
)

// queueService keeps changes on this node while it reaches no coordinator.
func (s *Server) queueService() deferred.Service {
	return deferred.Service{
		Node: s.Node, Kept: s.Queue,
		Key: func(ctx context.Context) []byte {
			peer, _ := mtls.PeerFrom(ctx) // the zero peer has no key
			return peer.KeyFingerprint
		},
		Freshness: func() *skerryv1.Freshness { return s.freshness(s.Store.View(), s.Log.Status().Serving) },
		SiteTime:  func() time.Time { return s.SiteTime.Read().Time },
		Decided:   func() []*skerryv1.QueuedChange { return s.Store.View().Queued() },
	}
}

type queuedKey struct{}

// queuedFrom is the mark of a change that was queued; nil for any other.
func queuedFrom(ctx context.Context) *sitev1.QueuedMark {
	mark, _ := ctx.Value(queuedKey{}).(*sitev1.QueuedMark)
	return mark
}

// Deferred carries out a change that waited on a node, as that of the operator who
// signed it: his key must be that on record now, and he is judged as for any other
// call. An answer is final and in the log; an error means that it may be tried
// again, unless it is Invalid or Unauthenticated: then nobody has asked for it.
func (s *Server) Deferred(ctx context.Context, node, from string, signed *skerryv1.SignedChange) (*skerryv1.QueuedChange, error) {
	change, key, err := deferred.Open(signed)
	if err != nil {
		return nil, err
	}
	if _, err := s.Log.ReadIndex(ctx); err != nil {
		return nil, err // one that was replaced may not know an operator who came since
	}
	mark := &sitev1.QueuedMark{Queued: deferred.Shown(change, node), SiteEpoch: change.GetSiteEpoch(), Index: change.GetIndex()}
	ctx = context.WithValue(withCaller(ctx, change.GetPrincipal(), from), queuedKey{}, mark)
	switch err := s.signedBy(change, key); {
	case err == nil:
	case problem.KindOf(err) == problem.Forbidden:
		return s.refuseDeferred(ctx, change, err)
	default:
		countRefusal(s.Refused, change.GetPrincipal(), from, skerryv1connect.QueueServiceQueueProcedure, err)
		return nil, err
	}
	err = s.carryOut(ctx, change)
	if decided := s.Store.View().QueuedDecision(change.GetPrincipal(), change.GetRequestId()); decided != nil {
		return decided, nil
	}
	if err == nil {
		err = problem.New(problem.Unavailable, "queue", "it was carried out, and is not in the state yet")
	}
	switch problem.KindOf(problem.FromConnect(err)) {
	case problem.Unavailable, problem.Timeout, problem.Internal:
		return nil, err
	}
	return s.refuseDeferred(ctx, change, problem.FromConnect(err))
}

// signedBy refuses a change unless its signature is by the key on record of the
// operator whom it names: Forbidden when the key was that operator's before.
func (s *Server) signedBy(change *skerryv1.DeferredChange, key []byte) error {
	view := s.Store.View()
	name, ours := strings.CutPrefix(change.GetPrincipal(), "spiffe://"+s.Site+"/operator/")
	record := view.Operator(name)
	switch {
	case ours && record != nil && bytes.Equal(record.GetKeyFingerprint(), key):
		return nil
	case ours && slices.ContainsFunc(view.Revoked(), func(r *sitev1.Revocation) bool {
		return r.GetSubject() == "operator/"+name && bytes.Equal(r.GetKeyFingerprint(), key)
	}):
		return problem.New(problem.Forbidden, "Operator/"+name, "the key that signed it was revoked since").
			WithHint("whoever may make the change makes it anew, if it is still wanted")
	default:
		return problem.New(problem.Unauthenticated, "change", "the site has no operator %s with the key that signed it", change.GetPrincipal())
	}
}

// carryOut judges the change and brings it into the log.
func (s *Server) carryOut(ctx context.Context, change *skerryv1.DeferredChange) error {
	if d := change.GetDelete(); d != nil {
		d.RequestId = change.GetRequestId()
		return judged(ctx, s, skerryv1connect.ResourceServiceDeleteProcedure, d, resources{s}.Delete)
	}
	a := change.GetApply()
	a.RequestId = change.GetRequestId()
	return judged(ctx, s, skerryv1connect.ResourceServiceApplyProcedure, a, resources{s}.Apply)
}

func judged[Q, A any](ctx context.Context, s *Server, procedure string, question *Q,
	method func(context.Context, *connect.Request[Q]) (*connect.Response[A], error)) error {
	call, err := s.guard().Judge(ctx, procedure, question)
	if err == nil {
		_, err = method(guard.With(ctx, call), connect.NewRequest(question))
	}
	return err
}

// refuseDeferred notes a refusal that no entry tells of, so that the operator hears
// of it.
func (s *Server) refuseDeferred(ctx context.Context, change *skerryv1.DeferredChange, refused error) (*skerryv1.QueuedChange, error) {
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	_, err := s.Log.Propose(ctx, &sitev1.Entry{
		RequestId: "refuse-" + change.GetRequestId(), Principal: change.GetPrincipal(), From: hostFrom(ctx), Queued: queuedFrom(ctx),
		Change: &sitev1.Entry_RefuseQueued{RefuseQueued: &sitev1.RefuseQueued{
			ErrorKind: string(problem.KindOf(refused)), Error: refused.Error(),
		}},
	})
	if err != nil {
		return nil, err
	}
	decided := s.Store.View().QueuedDecision(change.GetPrincipal(), change.GetRequestId())
	if decided == nil {
		return nil, problem.New(problem.Unavailable, "queue", "the refusal is not in the state yet")
	}
	return decided, nil
}
