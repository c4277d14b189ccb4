package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs/mtls"
	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// revokedOperators and evictedNodes are the runs.
	revokedOperators = 20
	evictedNodes     = 5
	// refusalTime is how long a refusal may take to be seen: a connection that is
	// let in says nothing at all.
	refusalTime = 150 * time.Millisecond
)

// nodeProtocols are all that one node speaks with another.
var nodeProtocols = []string{mtls.API2, mtls.Sync, mtls.Stream, mtls.Raft, mtls.Content, mtls.Peer}

// revoke measures, on a site of four hosts, from the moment when a revocation
// is acknowledged until every node has cut what the key had open and refuses it
// on every protocol: first operators, then nodes, each with the key that was on
// its disk.
func revoke(ctx context.Context, binary, dir string) (result, error) {
	r, err := newSite(ctx, binary, dir, 4)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	var operators, nodes []float64
	for run := range revokedOperators {
		took, err := revokeOperator(ctx, r, fmt.Sprintf("op-%d", run+1))
		if err != nil {
			return nil, fmt.Errorf("operator %d: %w", run+1, err)
		}
		progress("operator %d: %.3f s", run+1, took.Seconds())
		operators = append(operators, took.Seconds())
	}
	for run := range evictedNodes {
		took, err := evictNode(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("node %d: %w", run+1, err)
		}
		progress("node %d: %.3f s", run+1, took.Seconds())
		nodes = append(nodes, took.Seconds())
	}
	measured := summary(append(slices.Clone(operators), nodes...), "s")
	measured["operators"], measured["nodes"] = summary(operators, "s"), summary(nodes, "s")
	return measured, nil
}

func revokeOperator(ctx context.Context, r *hosts.Rig, name string) (time.Duration, error) {
	home, err := r.Operator(ctx, name)
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(home) }() // leaves at most credentials of no use
	dialer, err := r.OperatorDialer(home)
	if err != nil {
		return 0, err
	}
	return cutOff(ctx, r.Hosts, dialer, []string{mtls.API2}, func() error {
		c, err := r.Client()
		if err != nil {
			return err
		}
		_, err = c.Identity().RevokeOperator(ctx, connect.NewRequest(&skerryv1.RevokeOperatorRequest{Name: name}))
		return err
	})
}

// evictNode evicts the last host, and puts another one in its place.
func evictNode(ctx context.Context, r *hosts.Rig) (time.Duration, error) {
	if err := r.Settled(ctx); err != nil {
		return 0, err
	}
	last := len(r.Hosts) - 1
	victim := r.Hosts[last]
	dialer, err := victim.Dialer()
	if err != nil {
		return 0, err
	}
	took, err := cutOff(ctx, r.Hosts[:last], dialer, nodeProtocols, func() error {
		c, err := r.Client(r.Hosts[:last]...)
		if err != nil {
			return err
		}
		_, err = c.Identity().EvictNode(ctx, connect.NewRequest(&skerryv1.EvictNodeRequest{Node: victim.Name}))
		return err
	})
	if err != nil {
		return 0, err
	}
	// It comes back as a new machine, under the same name.
	return took, r.Renew(ctx, victim)
}

// held is a connection that a key has open.
type held struct {
	host     *hosts.Host
	protocol string
	conn     net.Conn
}

// cutOff opens every protocol with every host, revokes, and returns how long
// after the acknowledgement the last of them was cut, and a new one refused.
func cutOff(ctx context.Context, to []*hosts.Host, dialer *mtls.Dialer, protocols []string, take func() error) (time.Duration, error) {
	var open []held
	defer func() {
		for _, h := range open {
			_ = h.conn.Close() // it is cut, or of no use any more
		}
	}()
	for _, h := range to {
		for _, protocol := range protocols {
			conn, err := dialer.Dial(ctx, h.API(), protocol, mtls.ExpectNode(h.Name))
			if err != nil {
				return 0, err
			}
			open = append(open, held{h, protocol, conn})
			if !letIn(conn) {
				return 0, fmt.Errorf("%s refuses %s before anything was revoked", h.Name, protocol)
			}
		}
	}
	if err := take(); err != nil {
		return 0, err
	}
	begun := time.Now()
	ended := make(chan time.Duration, len(open))
	for _, h := range open {
		go func() { ended <- untilOut(ctx, dialer, h, begun) }()
	}
	var last time.Duration
	for range open {
		last = max(last, <-ended)
	}
	if last >= patience {
		return last, errors.New("a connection was never cut, or a new one never refused")
	}
	return last, nil
}

// untilOut waits for the end of an open connection, and for the refusal of the
// next.
func untilOut(ctx context.Context, dialer *mtls.Dialer, h held, begun time.Time) time.Duration {
	deadline := begun.Add(patience)
	_ = h.conn.SetReadDeadline(deadline) // a socket has one
	for buffer := make([]byte, 4096); ; {
		if _, err := h.conn.Read(buffer); err != nil {
			break
		}
	}
	for time.Now().Before(deadline) {
		tried := time.Now()
		conn, err := dialer.Dial(ctx, h.host.API(), h.protocol, mtls.ExpectNode(h.host.Name))
		if err != nil {
			return time.Since(begun)
		}
		in := letIn(conn)
		_ = conn.Close() // it was a question only
		if !in {
			return tried.Sub(begun)
		}
	}
	return patience
}

// letIn tells whether the other side keeps a connection: a refusal comes at
// once, TLS 1.3 tells it with the first read.
func letIn(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(refusalTime)) // a socket has one
	buffer := make([]byte, 4096)
	for {
		if _, err := conn.Read(buffer); err != nil {
			var timeout net.Error
			return errors.As(err, &timeout) && timeout.Timeout()
		}
	}
}
