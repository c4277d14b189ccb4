// Package guard puts the rules of access before the handlers of a server: one
// interceptor, and nothing passes that it does not admit. An RPC that declares
// nothing is refused.
package guard

import (
	"context"

	"connectrpc.com/connect"

	"skerry.dev/shared/access"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// Who tells who makes a call.
type Who func(context.Context) access.Principal

// Anybody is Who on a protocol that asks for no certificate.
func Anybody(context.Context) access.Principal { return access.Anybody }

// Guard is the interceptor of one server.
type Guard struct{ who Who }

// New returns a guard for calls of whom who says.
func New(who Who) *Guard { return &Guard{who: who} }

// WrapUnary implements connect.Interceptor.
func (g *Guard) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		if err := Admit(g.who(ctx), access.RuleOf(request.Spec().Procedure)); err != nil {
			return nil, problem.ToConnect(err)
		}
		return next(ctx, request)
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (g *Guard) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		if err := Admit(g.who(ctx), access.RuleOf(conn.Spec().Procedure)); err != nil {
			return problem.ToConnect(err)
		}
		return next(ctx, conn)
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (g *Guard) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// Admit tells whether this kind of caller may ask for it at all.
func Admit(who access.Principal, rule access.Rule) error {
	if !rule.Declared {
		return problem.New(problem.Forbidden, who.ID, "%s does not say who may call it, so nobody may", rule.Procedure)
	}
	if rule.Admits(who.Caller) {
		return nil
	}
	hint := "use an operator's credentials"
	if who.Caller == skerryv1.Caller_CALLER_OPERATOR {
		hint = "it is not for operators; docs/access.md lists every call"
	}
	return problem.New(problem.Forbidden, who.ID, "%s may not call %s", who, rule.Procedure).WithHint("%s", hint)
}
