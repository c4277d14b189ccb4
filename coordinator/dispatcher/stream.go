package dispatcher

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"skerry.dev/certs/mtls"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	"skerry.dev/shared/orders"
)

const (
	// maxReport bounds one message of a node, with all that it knows of thousands of
	// placements, and what it is told.
	maxReport = 64 << 20
	// silence after which a node has left its stream: more than twice the longest
	// pace.
	silence = 20 * time.Second
)

// stream is what a session needs of a connection; interceptors may be in between.
type stream interface {
	Receive(message any) error
	Send(message any) error
}

// Serve keeps the stream of a node on a bare connection until it ends, and tells
// the node why. Before it come the interceptors, as before a call.
func (d *Dispatcher) Serve(ctx context.Context, conn net.Conn, interceptors ...connect.Interceptor) {
	messages := mtls.NewMessages(conn, maxReport, silence)
	var receiving sync.WaitGroup
	handler := func(ctx context.Context, c connect.StreamingHandlerConn) error { return d.sync(ctx, c, &receiving) }
	for i := len(interceptors) - 1; i >= 0; i-- {
		handler = interceptors[i].WrapStreamingHandler(handler)
	}
	if err := handler(ctx, call{messages, conn.RemoteAddr().String()}); err != nil && ctx.Err() == nil {
		_ = messages.Send(orders.End(err)) // the node is gone when this fails
	}
	messages.Part()
	receiving.Wait()
	messages.Drain()
}

// call is a stream as interceptors see it.
type call struct {
	messages *mtls.Messages
	from     string
}

// Spec implements connect.StreamingHandlerConn.
func (call) Spec() connect.Spec {
	return connect.Spec{StreamType: connect.StreamTypeBidi, Procedure: sitev1connect.SyncServiceSyncProcedure}
}

// Peer implements connect.StreamingHandlerConn.
func (c call) Peer() connect.Peer { return connect.Peer{Addr: c.from} }

// Receive implements connect.StreamingHandlerConn.
func (c call) Receive(message any) error { return c.messages.Receive(message.(proto.Message)) }

// Send implements connect.StreamingHandlerConn.
func (c call) Send(message any) error { return c.messages.Send(message.(proto.Message)) }

// RequestHeader implements connect.StreamingHandlerConn. There are no headers.
func (call) RequestHeader() http.Header { return http.Header{} }

// ResponseHeader implements connect.StreamingHandlerConn.
func (call) ResponseHeader() http.Header { return http.Header{} }

// ResponseTrailer implements connect.StreamingHandlerConn.
func (call) ResponseTrailer() http.Header { return http.Header{} }
