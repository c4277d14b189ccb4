package coordinator

import (
	"context"
	"errors"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/leases"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// others agree, or not, that this is the coordinator.
type others struct {
	rounds int
	before consensus.Status
	after  consensus.Status
	err    error
}

func (o *others) Status() consensus.Status {
	if o.rounds > 0 {
		return o.after
	}
	return o.before
}

func (o *others) ReadIndex(context.Context) (uint64, error) {
	o.rounds++
	return 7, o.err
}

// TestNoLeaseWithoutAMajority: a coordinator that is one no more does not know it.
// What it grants must be confirmed by others after the request came.
func TestNoLeaseWithoutAMajority(t *testing.T) {
	serving := consensus.Status{Serving: true, Term: 3}
	for name, c := range map[string]struct {
		others others
		rounds int
		says   string
	}{
		"a majority confirms it":            {others{before: serving, after: serving}, 1, "no record"}, // of the node: that is asked last
		"nobody answers":                    {others{before: serving, after: serving, err: errors.New("no quorum answered")}, 1, "no quorum answered"},
		"it was deposed meanwhile":          {others{before: serving, after: consensus.Status{Term: 4}}, 1, "not the coordinator"},
		"it was elected once more":          {others{before: serving, after: consensus.Status{Serving: true, Term: 5}}, 1, "not the coordinator"},
		"it had been deposed":               {others{before: consensus.Status{Term: 4}}, 0, "not the coordinator"},
		"it serves in a term without table": {others{before: consensus.Status{Serving: true, Term: 4}}, 0, "not the coordinator"},
	} {
		t.Run(name, func(t *testing.T) {
			v := openVoter(t, nil)
			v.granted.Store(leases.New(3, 0))
			ctx := mtls.WithPeer(t.Context(), certs.Peer{ID: spiffeid.RequireFromString("spiffe://harbour/node/n2"), Role: certs.RoleNode, Name: "n2"})
			answer, err := leaseService{v, &c.others}.RenewLeases(ctx, connect.NewRequest(&sitev1.RenewLeasesRequest{
				Node: "n2", Asks: []*sitev1.LeaseAsk{{Project: "default", Placement: "plc-1"}},
			}))
			if err == nil || !strings.Contains(err.Error(), c.says) || c.others.rounds != c.rounds {
				t.Errorf("after %d rounds it gave %v, %v", c.others.rounds, answer, err)
			}
		})
	}
}
