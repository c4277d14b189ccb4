package workloadapi

import (
	"context"
	"fmt"
	"net"

	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

type sessionKey struct{}

// session is one connection.
type session struct {
	server *Server
	caller *caller
	// placement that the caller was found to be of when it came.
	placement Placement
	// refused is why it gets nothing; nil when it may ask.
	refused error
}

// begin finds out who opened the connection. What keeps it from anything is
// told on the first call.
func (c *session) begin(ctx context.Context, conn net.Conn) {
	if c.caller, c.refused = callerOf(conn); c.refused != nil {
		return
	}
	who, err := c.attest(ctx)
	if err == nil {
		err = c.server.enter(who)
	}
	if c.refused = err; err == nil {
		c.placement = who
	}
}

func (c *session) leave() {
	if c.refused == nil {
		c.server.leave(c.placement)
	}
	if c.caller != nil {
		c.caller.close()
	}
}

// attest asks of which placement the caller is. It is the same process before
// and after the question, or there is no answer.
func (c *session) attest(ctx context.Context) (Placement, error) {
	ctx, cancel := context.WithTimeout(ctx, attestTime)
	defer cancel()
	subject := fmt.Sprintf("process %d", c.caller.pid)
	who, err := c.server.Attest(ctx, c.caller.pid)
	if !c.caller.alive() {
		return Placement{}, problem.New(problem.Forbidden, subject, "it has ended")
	}
	if problem.KindOf(err) == problem.NotFound {
		return Placement{}, problem.New(problem.Forbidden, subject, "it is of no placement on this node: %w", err).
			WithHint("only containers of workloads with identity: true get one")
	}
	return who, err
}

// check says why the caller may not have what it asks for, on every call.
func (c *session) check(ctx context.Context) error {
	if c.refused != nil {
		return c.refused
	}
	who, err := c.attest(ctx)
	if err != nil {
		return err
	}
	if who != c.placement {
		return problem.New(problem.Forbidden, fmt.Sprintf("process %d", c.caller.pid), "it was of %s and is of %s now", c.placement.Name, who.Name)
	}
	return c.server.Source.Entitled(who)
}

// watch returns when the process that opened the connection has ended: whoever
// goes on using it, a child for example, has to come itself. A connection that
// is refused gets little time.
func (c *session) watch(ctx context.Context) {
	if c.refused != nil {
		_ = env.Sleep(ctx, c.server.Env.Clock, refusedTime) // either way it is over
		return
	}
	for c.caller.alive() {
		if env.Sleep(ctx, c.server.Env.Clock, checkEvery) != nil {
			return
		}
	}
}
