package agent

import (
	"context"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/agent/identity"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/shared/access"
	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/wire"
)

const (
	// lookAtSVID is how often the node's SVID is looked at.
	lookAtSVID = time.Minute
	// Pauses after a renewal that did not succeed.
	firstRenewPause = 2 * time.Second
	lastRenewPause  = time.Minute
)

// renewal keeps this node's SVID fresh.
type renewal struct {
	*Agent
	// refused is sent to when a node refuses this one: the site's time may be
	// far ahead of what this node knows.
	refused chan struct{}

	mu      sync.Mutex
	failing string
}

func newRenewal(a *Agent) *renewal { return &renewal{Agent: a, refused: make(chan struct{}, 1)} }

// wasRefused never blocks.
func (r *renewal) wasRefused() {
	select {
	case r.refused <- struct{}{}:
	default:
	}
}

// trouble says that the SVID is overdue; empty when all is well.
func (r *renewal) trouble() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failing
}

// run renews the SVID after half of its life, and asks whether that is due when
// this node is refused, until ctx ends.
func (r *renewal) run(ctx context.Context) error {
	timer := r.Env.Clock.NewTimer(0)
	defer timer.Stop()
	pause, refused, heeded := firstRenewPause, false, r.refused
	for {
		select {
		case <-timer.C():
			heeded = r.refused
		case <-heeded:
			refused = true
		case <-ctx.Done():
			return ctx.Err()
		}
		due := r.identity.Due()
		if !due && !refused {
			timer.Reset(lookAtSVID)
			continue
		}
		renewed, err := identity.Renew(ctx, r.Env, r.identity, r.renewers(), due)
		r.tell(renewed, due, err)
		switch {
		case err != nil: // whoever refused it may go on doing so
			heeded = nil
			timer.Reset(pause/2 + time.Duration(r.Env.Rand.Uint64()%uint64(pause)))
			pause = min(2*pause, lastRenewPause)
		case renewed:
			refused, pause = false, firstRenewPause
			timer.Reset(lookAtSVID)
		default: // nobody finds it wanting: who refused it may know less
			refused, heeded, pause = false, nil, firstRenewPause
			timer.Reset(firstRenewPause)
		}
	}
}

func (r *renewal) tell(renewed, due bool, err error) {
	leaf := r.identity.Leaf()
	switch {
	case err != nil:
		r.Logger.Debug("the SVID was not renewed", "error", err)
	case renewed:
		r.Logger.Info("the SVID was renewed", "until", leaf.NotAfter)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failing = ""
	if err != nil && due && !r.identity.Now().Before(leaf.NotAfter) {
		r.failing = "its SVID expired on " + leaf.NotAfter.Format(time.DateOnly) + " and no voter in reach renews it; what runs goes on running; " +
			"bring a voter into its reach"
	}
}

// renewers are the addresses to ask: this node itself if it votes, then the
// other voters, then all nodes, which know voters.
func (r *renewal) renewers() []string {
	var own, voters, others []string
	for _, peer := range r.ledger.Current().GetPeers() {
		votes := peer.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER
		switch {
		case votes && peer.GetName() == r.identity.Name():
			own = append(own, peer.GetAddress())
		case votes:
			voters = append(voters, peer.GetAddress())
		case peer.GetName() != r.identity.Name():
			others = append(others, peer.GetAddress())
		}
	}
	return append(append(own, voters...), others...)
}

// allowRenewal admits nodes and operators; their records say more.
func allowRenewal(peer certs.Peer) error {
	if peer.Role == certs.RoleNode || peer.Role == certs.RoleOperator {
		return nil
	}
	return problem.New(problem.Forbidden, peer.ID.String(), "only nodes and operators renew here")
}

// renew is answered by the voter, if this node is one; else by where one is.
func (a *Agent) renew() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(sitev1connect.NewRenewServiceHandler(renewElsewhere{a}, wire.Bounded(maxJoinRequest),
		connect.WithInterceptors(guard.New(guard.Config{Who: callerOf}))))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if voter := a.replicas.voter(); voter != nil {
			voter.Renewals().ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// callerOf is who is at the other end, by its certificate.
func callerOf(ctx context.Context) access.Principal {
	peer, _ := mtls.PeerFrom(ctx) // the zero peer is nobody who may call
	return access.PrincipalOf(peer.ID.String())
}

// renewElsewhere answers at a node that is no voter.
type renewElsewhere struct{ *Agent }

func (e renewElsewhere) Renew(context.Context, *connect.Request[sitev1.RenewRequest]) (*connect.Response[sitev1.RenewResponse], error) {
	var voters []string
	for _, peer := range e.ledger.Current().GetPeers() {
		if peer.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER && peer.GetName() != e.identity.Name() {
			voters = append(voters, peer.GetAddress())
		}
	}
	if len(voters) == 0 {
		return nil, problem.ToConnect(problem.New(problem.Unavailable, "identity", "%s knows no voter of the site", e.identity.Name()).
			WithHint("ask another node of the site"))
	}
	return connect.NewResponse(&sitev1.RenewResponse{Redirect: voters}), nil
}
