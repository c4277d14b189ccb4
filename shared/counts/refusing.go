package counts

import (
	"context"
	"errors"
	"net"
	"strings"

	"connectrpc.com/connect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// Counter counts refusals, or reads.
type Counter interface {
	Count(principal string, refusal *skerryv1.AuditRefusal)
}

// Refused notes who was refused what. Mistakes are no refusals.
func Refused(into Counter, principal, from, procedure string, err error) {
	kind := problem.KindOf(problem.FromConnect(err))
	if kind != problem.Forbidden && kind != problem.Unauthenticated {
		return
	}
	into.Count(principal, &skerryv1.AuditRefusal{
		Reason: string(kind), Resource: calledFor(procedure), From: from, Message: messageOf(err),
	})
}

// calledFor is `ResourceService/Apply`.
func calledFor(procedure string) string {
	return strings.TrimPrefix(procedure[strings.LastIndex(procedure, ".")+1:], "/")
}

func messageOf(err error) string {
	var p *problem.Error
	if errors.As(problem.FromConnect(err), &p) {
		return p.Message
	}
	return err.Error()
}

// HostOf an address: without its port.
func HostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// Refusing is the interceptor that counts refusals. It
// comes before the guard.
func Refusing(into Counter, who func(context.Context) string) connect.Interceptor {
	return refusing{into, who}
}

type refusing struct {
	into Counter
	who  func(context.Context) string
}

// WrapUnary implements connect.Interceptor.
func (r refusing) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		response, err := next(ctx, request)
		if err != nil {
			Refused(r.into, r.who(ctx), HostOf(request.Peer().Addr), request.Spec().Procedure, err)
		}
		return response, err
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (r refusing) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		err := next(ctx, conn)
		if err != nil {
			Refused(r.into, r.who(ctx), HostOf(conn.Peer().Addr), conn.Spec().Procedure, err)
		}
		return err
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (r refusing) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}
