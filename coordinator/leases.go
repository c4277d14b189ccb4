package coordinator

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/api"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/dispatcher"
	"skerry.dev/coordinator/leases"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

const (
	// maxAsks for leases in one request: more exclusive placements than a node runs.
	maxAsks = 1024
	// maxLeaseRequest in bytes.
	maxLeaseRequest = 1 << 20
	// confirmTime bounds the round of a majority that a grant waits for.
	confirmTime = 2 * time.Second
)

// leaseTable of a term. It outlives a short while within the term in which this
// replica does not serve, such as an attempt to hand the leadership over: what
// was granted or ended stays so.
func (v *Voter) leaseTable(term uint64) *leases.Table {
	if table := v.granted.Load(); table != nil && table.Term() == term {
		return table
	}
	table := leases.New(term, v.Env.Clock.Elapsed())
	v.granted.Store(table)
	return table
}

// leaseService answers nodes that ask for leases.
type leaseService struct {
	*Voter
	log majority
}

// majority is who must agree that this is the coordinator; the replica.
type majority interface {
	Status() consensus.Status
	ReadIndex(ctx context.Context) (uint64, error)
}

// RenewLeases implements sitev1connect.LeaseServiceHandler. Many requests share
// one round of the majority.
func (v leaseService) RenewLeases(ctx context.Context, req *connect.Request[sitev1.RenewLeasesRequest]) (*connect.Response[sitev1.RenewLeasesResponse], error) {
	received := v.Env.Clock.Elapsed()
	table := v.granted.Load()
	if len(req.Msg.GetAsks()) > maxAsks {
		return nil, problem.ToConnect(problem.New(problem.Invalid, "leases", "%d placements at once, at most %d are taken", len(req.Msg.GetAsks()), maxAsks))
	}
	if !leads(v.log.Status(), table) {
		return nil, problem.ToConnect(v.notCoordinator())
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTime)
	defer cancel()
	if _, err := v.log.ReadIndex(ctx); err != nil {
		return nil, problem.ToConnect(err)
	}
	// Who leads at both ends of a term's time led all the while.
	if !leads(v.log.Status(), table) {
		return nil, problem.ToConnect(v.notCoordinator())
	}
	view := v.store.View()
	peer, _ := mtls.PeerFrom(ctx) // the zero peer has no record
	if err := dispatcher.CheckNode(view, peer); err != nil {
		return nil, problem.ToConnect(err)
	}
	return connect.NewResponse(table.Answer(view, peer.Name, req.Msg.GetAsks(), received, v.Env.Clock.Elapsed())), nil
}

// leads: the replica serves in the term of the table.
func leads(status consensus.Status, table *leases.Table) bool {
	return table != nil && status.Serving && status.Term == table.Term()
}

// grantedNow are the leases, for people; nil when this is not the coordinator.
func (v *Voter) grantedNow() api.Granted {
	if table := v.granted.Load(); leads(v.node.Status(), table) {
		return table
	}
	return nil
}

func (v *Voter) notCoordinator() error {
	return problem.New(problem.Unavailable, "leases", "%s is not the coordinator", v.Node).WithHint("the node asks again")
}
