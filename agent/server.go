package agent

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/agent/image"
	"skerry.dev/agent/session"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/orders"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/wire"
)

// maxJoinRequest bounds what somebody unknown may send, in bytes.
const maxJoinRequest = 64 << 10

// server serves the one port. Who may use a protocol at all is decided here,
// what they may do by its handler.
func (a *Agent) server() *mtls.Server {
	s := mtls.NewServer(a.identity, a.Logger)
	s.HandleHTTP([]string{mtls.API2, mtls.API1}, allowCallers, http.HandlerFunc(a.operators))
	s.HandleHTTP([]string{mtls.Sync}, mtls.ExpectNode(""), http.HandlerFunc(a.sync))
	s.HandleHTTP([]string{mtls.Content}, mtls.ExpectNode(""), image.Handler(a.Runtime, a.imageGate()))
	s.HandleHTTP([]string{mtls.Peer}, mtls.ExpectNode(""), a.local.Peers())
	s.HandleHTTP([]string{mtls.Join}, nil, a.join())
	s.HandleHTTP([]string{mtls.Renew}, allowRenewal, a.renew())
	s.HandleConn(mtls.Stream, mtls.ExpectNode(""), func(ctx context.Context, conn net.Conn, _ certs.Peer) { a.stream(ctx, conn) })
	if a.mover != nil {
		s.HandleConn(mtls.Move, mtls.ExpectNode(""), func(ctx context.Context, conn net.Conn, peer certs.Peer) { a.mover.Serve(ctx, conn, peer.Name) })
	}
	s.HandleConn(mtls.Raft, mtls.ExpectNode(""), func(ctx context.Context, conn net.Conn, peer certs.Peer) {
		if replica := a.replicas.active(); replica != nil {
			replica.ServeRaft(ctx, conn, peer)
		}
	})
	return s
}

// allowCallers admits whoever the site has given an identity: what they may do,
// the handlers decide, call by call.
func allowCallers(certs.Peer) error { return nil }

// operators is answered by the voter, if this node is one.
func (a *Agent) operators(w http.ResponseWriter, r *http.Request) {
	if voter := a.replicas.voter(); voter != nil {
		voter.Operators().ServeHTTP(w, r)
		return
	}
	a.local.Operators().ServeHTTP(w, r)
}

func (a *Agent) sync(w http.ResponseWriter, r *http.Request) {
	if replica := a.replicas.active(); replica != nil {
		replica.Sync().ServeHTTP(w, r)
		return
	}
	_ = connect.NewErrorWriter().Write(w, r, problem.ToConnect(a.noReplica())) // fails only when the peer is gone
}

func (a *Agent) noReplica() error {
	return problem.New(problem.Unavailable, "sync", "%s holds no replica of the log", a.identity.Name())
}

// stream of another agent, which looks for the coordinator.
func (a *Agent) stream(ctx context.Context, conn net.Conn) {
	if replica := a.replicas.active(); replica != nil {
		replica.ServeStream(ctx, conn)
		return
	}
	messages := mtls.NewMessages(conn, session.MaxMessage, 0)
	_ = messages.Send(orders.End(a.noReplica())) // fails only when the peer is gone
	messages.Part()
	messages.Drain()
}

// join is answered by the voter, if this node is one; else by where one is.
func (a *Agent) join() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(sitev1connect.NewJoinServiceHandler(joinElsewhere{a}, wire.Bounded(maxJoinRequest),
		connect.WithInterceptors(guard.New(guard.Config{Who: guard.Anybody}))))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if voter := a.replicas.voter(); voter != nil {
			voter.Join().ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// joinElsewhere answers those who want to join at a node that is no voter.
type joinElsewhere struct{ *Agent }

func (j joinElsewhere) Trust(_ context.Context, req *connect.Request[sitev1.TrustRequest]) (*connect.Response[sitev1.TrustResponse], error) {
	page, more := certs.TrustPage(j.identity.Trust(), req.Msg.GetAfter())
	return connect.NewResponse(&sitev1.TrustResponse{
		Versions: page, More: more, SiteEpoch: j.identity.Bundle().SiteEpoch(), Recovered: j.identity.Bundle().RecoverID(),
	}), nil
}

func (j joinElsewhere) Join(ctx context.Context, _ *connect.Request[sitev1.JoinRequest]) (*connect.Response[sitev1.JoinResponse], error) {
	voters := j.voters.Reachable(ctx)
	if len(voters) == 0 {
		return nil, problem.ToConnect(problem.New(problem.Unavailable, "join", "%s reaches no voter of the site", j.identity.Name()).
			WithHint("try another node of the site"))
	}
	return connect.NewResponse(&sitev1.JoinResponse{Redirect: voters}), nil
}

const (
	// lookTime bounds the search for voters, so that an answer never hangs.
	lookTime = 500 * time.Millisecond
	// lookAgain keeps a burst of questions from becoming one of calls.
	lookAgain = time.Second
)

// reachable looks for voters in reach.
type reachable struct {
	agent *Agent

	mu    sync.Mutex
	at    time.Duration
	known []string
}

// LastContact implements localapi.Voters.
func (r *reachable) LastContact() time.Duration { return r.agent.session.LastContact() }

// Reachable implements localapi.Voters: the coordinator while there is contact,
// else the voters that take a connection.
func (r *reachable) Reachable(ctx context.Context) []string {
	// This node itself was one until a moment ago, or it would not be asked here.
	if coordinator := r.agent.session.Coordinator(); coordinator != "" && coordinator != r.agent.Config.APIAddress() {
		return []string{coordinator}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := r.agent.Env.Clock.Elapsed(); r.at == 0 || now-r.at > lookAgain {
		r.known = r.look(ctx)
		r.at = r.agent.Env.Clock.Elapsed()
	}
	return r.known
}

func (r *reachable) look(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	var voters []*sitev1.Peer
	for _, peer := range r.agent.ledger.Current().GetPeers() {
		if peer.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER && peer.GetName() != r.agent.identity.Name() {
			voters = append(voters, peer)
		}
	}
	answers := make([]bool, len(voters))
	var calls sync.WaitGroup
	for i, voter := range voters {
		calls.Go(func() {
			conn, err := r.agent.dialer.Dial(ctx, voter.GetAddress(), mtls.Peer, mtls.ExpectNode(voter.GetName()))
			if err == nil {
				answers[i] = true
				_ = conn.Close() // it has served its purpose
			}
		})
	}
	calls.Wait()
	var found []string
	for i, voter := range voters {
		if answers[i] {
			found = append(found, voter.GetAddress())
		}
	}
	return found
}
