package rootapi

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"syscall"

	"connectrpc.com/connect"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// maxAnswer bounds what an agent answers, in bytes: mostly the chain of trust.
const maxAnswer = 16 << 20

// CreateOperator asks the agent whose socket is at path.
func CreateOperator(ctx context.Context, network env.Net, path string, request *sitev1.CreateOperatorRequest) (*sitev1.JoinResponse, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return network.Dial(ctx, "unix", path)
	}}
	defer transport.CloseIdleConnections()
	client := sitev1connect.NewBreakGlassServiceClient(&http.Client{Transport: transport}, "http://agent", connect.WithReadMaxBytes(maxAnswer))
	response, err := client.CreateOperator(ctx, connect.NewRequest(request))
	switch {
	case err == nil:
		return response.Msg, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, problem.New(problem.Unavailable, path, "no agent runs on this machine").
			WithHint("systemctl start skerry")
	case errors.Is(err, fs.ErrPermission):
		return nil, problem.New(problem.Forbidden, path, "only root may ask this of the agent").WithHint("sudo skerry operator create --local NAME")
	default:
		return nil, problem.FromConnect(err)
	}
}
