package agent

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/agent/rootapi"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	"skerry.dev/shared/problem"
)

// glassTime bounds what root asks for.
const glassTime = 10 * time.Second

// rootAPI is the socket on which root on this machine may ask.
func (a *Agent) rootAPI(sync connect.HTTPClient) *rootapi.Server {
	return rootapi.New(rootapi.Config{Path: a.Config.RootSocket(), Site: forRoot{a, sync}, Env: a.Env, Logger: a.Logger})
}

// forRoot passes on to the coordinator what root on this machine asks for, under
// the identity of this node.
type forRoot struct {
	*Agent
	http connect.HTTPClient
}

// CreateOperator implements rootapi.Site.
func (f forRoot) CreateOperator(ctx context.Context, request *sitev1.CreateOperatorRequest) (*sitev1.JoinResponse, error) {
	if f.replicas.voter() == nil {
		return nil, problem.New(problem.Forbidden, "Node/"+f.identity.Name(), "it is no voter of the site, and only on voters may root do this").
			WithHint("skerry node list, or the log of any agent, says which nodes vote")
	}
	ctx, cancel := context.WithTimeout(ctx, glassTime)
	defer cancel()
	coordinator := f.session.Coordinator()
	if coordinator == "" {
		return nil, problem.New(problem.Unavailable, "site "+f.identity.Site(), "%s reaches no coordinator: without a quorum of the voters no operator can be made",
			f.identity.Name()).WithHint("nothing was changed; bring a majority of the voters back into reach of each other, then try again")
	}
	client := sitev1connect.NewBreakGlassServiceClient(f.http, "https://"+coordinator, connect.WithReadMaxBytes(maxIssued))
	response, err := client.CreateOperator(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, problem.FromConnect(err)
	}
	if len(response.Msg.GetRedirect()) > 0 {
		return nil, problem.New(problem.Unavailable, "site "+f.identity.Site(), "the coordinator has just changed").WithHint("try again")
	}
	f.Logger.Warn("root on this machine has made an operator", "operator", response.Msg.GetName())
	return response.Msg, nil
}
