package api

import (
	"context"

	"connectrpc.com/connect"

	"skerry.dev/certs/mtls"
)

// Proved is who calls on a protocol on which the chain of trust vouches for the
// caller.
func Proved(ctx context.Context) string {
	peer, _ := mtls.PeerFrom(ctx) // the zero peer has no name
	return peer.ID.String()
}

// Claimed stands for all who call where a certificate proves nothing: whoever is
// refused there must not fill the audit log in the names of others.
func Claimed(context.Context) string { return "renewal" }

// Refusing is the interceptor that counts the refusals of services for nodes. It
// comes before the guard.
func Refusing(into Refused, who func(context.Context) string) connect.Interceptor {
	return refusing{into, who}
}

// CountRefusal counts one refusal among several answers to one call.
func CountRefusal(into Refused, principal, address, procedure string, err error) {
	countRefusal(into, principal, hostOf(address), procedure, err)
}

type refusing struct {
	into Refused
	who  func(context.Context) string
}

// WrapUnary implements connect.Interceptor.
func (r refusing) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		response, err := next(ctx, request)
		if err != nil {
			countRefusal(r.into, r.who(ctx), hostOf(request.Peer().Addr), request.Spec().Procedure, err)
		}
		return response, err
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (r refusing) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		err := next(ctx, conn)
		if err != nil {
			countRefusal(r.into, r.who(ctx), hostOf(conn.Peer().Addr), conn.Spec().Procedure, err)
		}
		return err
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (r refusing) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}
