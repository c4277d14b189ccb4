package api

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"testing"

	"connectrpc.com/connect"

	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/consensus"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/problem"
)

// oneLine is a node whose placements write one line, and whose commands end.
type oneLine struct {
	skerryv1connect.UnimplementedPlacementServiceHandler
}

func (oneLine) Logs(_ context.Context, _ *connect.Request[skerryv1.LogsRequest], stream *connect.ServerStream[skerryv1.LogsResponse]) error {
	return stream.Send(&skerryv1.LogsResponse{Data: []byte("line")})
}

func (oneLine) Exec(_ context.Context, stream *connect.BidiStream[skerryv1.ExecRequest, skerryv1.ExecResponse]) error {
	return stream.Send(&skerryv1.ExecResponse{Message: &skerryv1.ExecResponse_ExitCode{}})
}

// A node may be lost to the coordinator, or on the other side of the cut that this
// voter is on. It is asked all the same, and if it does not answer, the caller is told
// who did not reach whom and what the caller may try.
func TestANodeThatIsLostIsAskedAndWhoDoesNotAnswerIsNamed(t *testing.T) {
	s := newAPISite(t)
	s.runsTill("n2")
	mux := http.NewServeMux()
	mux.Handle(skerryv1connect.NewPlacementServiceHandler(oneLine{}))
	far := serve(t, mux)
	there := direct{far.Client(), far.Listener.Addr().String()}
	gone := &http.Client{Transport: &http.Transport{DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
		return nil, problem.New(problem.Unavailable, "n2:7600", "no connection: %w", &net.OpError{Op: "dial", Net: "tcp", Err: os.ErrDeadlineExceeded})
	}}}
	near := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.server.ServeHTTP(w, r.WithContext(mtls.WithPeer(r.Context(), operator("mia"))))
	}))
	client := skerryv1connect.NewPlacementServiceClient(near.Client(), near.URL)

	logs := func() error {
		stream, err := client.Logs(t.Context(), connect.NewRequest(&skerryv1.LogsRequest{Project: "shop", Placement: "till-1"}))
		if err != nil {
			return err
		}
		for stream.Receive() {
			continue
		}
		return errors.Join(stream.Err(), stream.Close())
	}
	exec := func() error {
		stream := client.Exec(t.Context())
		err := stream.Send(&skerryv1.ExecRequest{Message: &skerryv1.ExecRequest_Start{Start: &skerryv1.ExecStart{Project: "shop", Placement: "till-1", Command: []string{"sh"}}}})
		if err != nil {
			return err
		}
		if err := stream.CloseRequest(); err != nil {
			return err
		}
		_, err = stream.Receive()
		return errors.Join(err, stream.CloseResponse())
	}
	for _, test := range []struct {
		name   string
		state  skerryv1.NodeState
		away   *consensus.Status
		node   connect.HTTPClient
		expect string
	}{
		{"a node in reach", skerryv1.NodeState_NODE_STATE_READY, nil, there, ""},
		{"one that does not answer", skerryv1.NodeState_NODE_STATE_READY, nil, gone,
			"its node n2 does not answer n1: no connection: dial tcp: i/o timeout"},
		{"on the side without quorum", skerryv1.NodeState_NODE_STATE_READY, &consensus.Status{ID: 1}, gone,
			"its node n2 does not answer n1, which has no quorum: no connection: dial tcp: i/o timeout"},
		{"one that is lost", skerryv1.NodeState_NODE_STATE_LOST, nil, gone,
			"its node n2 is lost, and does not answer n1: no connection: dial tcp: i/o timeout"},
		{"one that is lost and answers", skerryv1.NodeState_NODE_STATE_LOST, nil, there, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.t = t
			s.away.Store(nil)
			s.commit(&sitev1.Entry{Change: &sitev1.Entry_SetNodeState{SetNodeState: &sitev1.SetNodeState{Node: "n2", State: test.state}}})
			s.away.Store(test.away)
			s.server.NodeClient = func(string) connect.HTTPClient { return test.node }
			for name, call := range map[string]func() error{"logs": logs, "exec": exec} {
				err := problem.FromConnect(call())
				if test.expect == "" {
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
					continue
				}
				var p *problem.Error
				if !errors.As(err, &p) || p.Kind != problem.Unavailable || p.Message != test.expect || p.Hint != "if you can reach that node yourself, ask it: --address n2:7600" {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}
