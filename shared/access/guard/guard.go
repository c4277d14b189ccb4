// Package guard puts the rules of access before the handlers of a server: one
// interceptor, and nothing passes that it does not admit. An RPC that declares
// nothing is refused, and so is an answer that nobody has decided about.
package guard

import (
	"context"
	"sync/atomic"

	"connectrpc.com/connect"

	"skerry.dev/shared/access"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// Config of a guard.
type Config struct {
	// Who makes a call.
	Who func(context.Context) access.Principal
	// Judge by the newest records; nil on protocols that operators and workloads
	// do not speak.
	Judge func() *access.Judge
	// Bound tells whether an object is a node's own; nil on protocols that nodes
	// do not speak.
	Bound func(node string, object access.Object) bool
	// Labels of an object; nil where no call names one.
	Labels func(kind, project, name string) map[string]string
}

// Anybody is Who on a protocol that asks for no certificate.
func Anybody(context.Context) access.Principal { return access.Anybody }

// Guard is the interceptor of one server.
type Guard struct{ config Config }

// New returns a guard.
func New(config Config) *Guard { return &Guard{config: config} }

// WrapUnary implements connect.Interceptor.
func (g *Guard) WrapUnary(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, request connect.AnyRequest) (connect.AnyResponse, error) {
		call, err := g.Judge(ctx, request.Spec().Procedure, request.Any())
		if err != nil {
			return nil, problem.ToConnect(err)
		}
		response, err := next(With(ctx, call), request)
		if err == nil && !call.decided() {
			return nil, problem.ToConnect(undecided(call.rule))
		}
		return response, err
	}
}

// WrapStreamingHandler implements connect.Interceptor.
func (g *Guard) WrapStreamingHandler(next connect.StreamingHandlerFunc) connect.StreamingHandlerFunc {
	return func(ctx context.Context, conn connect.StreamingHandlerConn) error {
		call, err := g.begin(ctx, conn.Spec().Procedure)
		if err != nil {
			return problem.ToConnect(err)
		}
		return next(With(ctx, call), &guardedConn{StreamingHandlerConn: conn, call: call})
	}
}

// WrapStreamingClient implements connect.Interceptor.
func (g *Guard) WrapStreamingClient(next connect.StreamingClientFunc) connect.StreamingClientFunc {
	return next
}

// Begin a call whose procedure is given: what the interceptor does.
func (g *Guard) Begin(ctx context.Context, procedure string) *Call {
	return &Call{guard: g, who: g.config.Who(ctx), rule: access.RuleOf(procedure)}
}

// Judge a call that came in another way than by its procedure: what the interceptor
// does before the handler.
func (g *Guard) Judge(ctx context.Context, procedure string, message any) (*Call, error) {
	call, err := g.begin(ctx, procedure)
	if err != nil {
		return nil, err
	}
	return call, call.judgeRequest(message)
}

// With returns the context in which a handler finds the call.
func With(ctx context.Context, call *Call) context.Context {
	return context.WithValue(ctx, callKey{}, call)
}

// begin a call of somebody who may ask for it at all.
func (g *Guard) begin(ctx context.Context, procedure string) (*Call, error) {
	call := g.Begin(ctx, procedure)
	return call, Admit(call.who, call.rule)
}

// guardedConn judges the first message of a stream, and lets no answer out
// before.
type guardedConn struct {
	connect.StreamingHandlerConn
	call   *Call
	judged atomic.Bool
}

func (c *guardedConn) Receive(message any) error {
	if err := c.StreamingHandlerConn.Receive(message); err != nil {
		return err
	}
	if c.judged.Load() {
		return nil
	}
	if err := c.call.judgeRequest(message); err != nil {
		return problem.ToConnect(err)
	}
	c.judged.Store(true)
	return nil
}

func (c *guardedConn) Send(message any) error {
	if c.call.isJudged() && !c.judged.Load() || !c.call.decided() {
		return problem.ToConnect(undecided(c.call.rule))
	}
	return c.StreamingHandlerConn.Send(message)
}

// judgeRequest judges what a request names, unless its handler does.
func (c *Call) judgeRequest(message any) error {
	if c.rule.GetEach() || c.rule.GetOwn() {
		return nil
	}
	object := objectNamed(c.rule, message)
	switch c.who.Caller {
	case skerryv1.Caller_CALLER_OPERATOR, skerryv1.Caller_CALLER_WORKLOAD:
		return c.askAsItIs(c.rule.GetVerb(), object)
	case skerryv1.Caller_CALLER_NODE:
		if c.rule.GetNameField() != "" && (c.guard.config.Bound == nil || !c.guard.config.Bound(c.who.Name, object)) {
			return problem.New(problem.Forbidden, object.Subject(), "%s may not %s it: it is not bound to that node", c.who, c.rule.GetVerb())
		}
	}
	return nil // a voter has decided; anybody may what anybody may
}

// isJudged by policies: operators and workloads are.
func (c *Call) isJudged() bool {
	return c.who.Caller == skerryv1.Caller_CALLER_OPERATOR || c.who.Caller == skerryv1.Caller_CALLER_WORKLOAD
}

// decided: the rule left nothing to the handler, or the handler has asked.
func (c *Call) decided() bool { return !c.rule.GetEach() || c.wasAsked() }

func objectNamed(rule access.Rule, message any) access.Object {
	object := access.Object{
		Kind:    rule.GetKind(),
		Name:    textAt(message, rule.GetNameField()),
		Project: textAt(message, rule.GetProjectField()),
	}
	if rule.GetKindField() != "" {
		object.Kind = textAt(message, rule.GetKindField())
	}
	switch {
	case !manifest.InProject(object.Kind):
		object.Project = ""
	case object.Project == "":
		object.Project = "default"
	}
	return object
}

func undecided(rule access.Rule) error {
	return problem.New(problem.Internal, rule.Procedure, "nobody decided whether the caller may see the answer, so nobody does")
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
