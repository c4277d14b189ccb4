package naming

import (
	"context"

	"connectrpc.com/connect"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

// Serve answers nodes whom Check admits. It implements
// sitev1connect.EndpointServiceHandler.
type Serve struct {
	*Hub
	Check func(certs.Peer) error
}

// Endpoints sends what the node lacks, then what changes, until the term ends.
// No queue is kept for any node: one that is slow gets everything anew.
func (s Serve) Endpoints(ctx context.Context, req *connect.Request[sitev1.EndpointsRequest], stream *connect.ServerStream[sitev1.EndpointsResponse]) error {
	peer, _ := mtls.PeerFrom(ctx) // the zero peer is no node of the site
	if err := s.Check(peer); err != nil {
		return problem.ToConnect(err)
	}
	response, term, at := s.begin(req.Msg.GetDigest())
	if response == nil {
		return problem.ToConnect(problem.New(problem.Unavailable, "endpoints", "this voter does not coordinate"))
	}
	for {
		if err := stream.Send(response); err != nil {
			return nil // the node comes again
		}
		var err error
		if response, at, err = s.await(ctx, term, at); response == nil {
			return err
		}
		if err := s.Check(peer); err != nil {
			return problem.ToConnect(err) // it was removed meanwhile
		}
	}
}

// await returns what follows; nil when the term or the call has ended.
func (s Serve) await(ctx context.Context, term, at uint64) (*sitev1.EndpointsResponse, uint64, error) {
	for {
		response, to, moved, over := s.next(term, at)
		if over || response != nil {
			return response, to, nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return nil, at, nil
		}
	}
}
