package main

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/agent/ledger"
	"skerry.dev/agent/naming"
	"skerry.dev/agent/session"
	"skerry.dev/certs/mtls"
	"skerry.dev/chaos/hosts"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/sitetime"
)

// zoneNode is a light node in the network of one host, and so cut off with it. Its
// session and its ledger are the agents' own; in place of a runtime there is word that
// what it is told to run runs.
type zoneNode struct {
	*lightAgent
	session *session.Session
	ledger  *ledger.Ledger

	mu sync.Mutex
	// begun is what it runs, and since when.
	begun map[string]*skerryv1.PlacementStatus
}

// newZoneNode of a node that has joined.
func newZoneNode(a *lightAgent, on *hosts.Host, dir string) (*zoneNode, error) {
	host, err := on.Dialer()
	if err != nil {
		return nil, err
	}
	system := env.NewSystem()
	kept, err := ledger.Open(system.FS, filepath.Join(dir, a.name))
	if err != nil {
		return nil, err
	}
	// Where voters are, as the site said when it joined.
	if err := kept.Accept(&sitev1.Assignments{Peers: a.peers}); err != nil {
		return nil, err
	}
	n := &zoneNode{lightAgent: a, ledger: kept, begun: map[string]*skerryv1.PlacementStatus{}}
	dialer := &mtls.Dialer{Net: host.Net, Source: a}
	n.session = session.New(session.Config{
		Name: a.name, Ledger: oneEpoch{kept}, Node: n, Names: naming.NewBook(nil), Env: system, Logger: slog.New(slog.DiscardHandler),
		SiteTime: sitetime.NewKeeper(system.Clock, sitetime.Stamp{}, time.Now()),
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			return dialer.Dial(ctx, address, mtls.Stream, mtls.ExpectNode(""))
		},
		Refused: func(context.Context, string) {},                                      // its SVID is in order
		Lead:    func() (session.Lead, <-chan struct{}) { return session.Lead{}, nil }, // it has no replica
	})
	return n, nil
}

// oneEpoch is a ledger in a site that is not recovered.
type oneEpoch struct{ *ledger.Ledger }

// Holdings implements session.Ledger.
func (oneEpoch) Holdings() *sitev1.Holdings { return nil }

// Facts implements session.Node.
func (n *zoneNode) Facts() *sitev1.NodeFacts { return n.facts() }

// Changed implements session.Node: what it runs follows its orders.
func (n *zoneNode) Changed() <-chan struct{} { return n.ledger.Changed() }

// Reports implements session.Node: what is to run runs, and of what is to stop nothing
// is left.
func (n *zoneNode) Reports() []*sitev1.PlacementReport {
	n.mu.Lock()
	defer n.mu.Unlock()
	var reports []*sitev1.PlacementReport
	for _, p := range n.ledger.Current().GetPlacements() {
		report := &sitev1.PlacementReport{Project: p.GetProject(), Placement: p.GetName()}
		if p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN {
			report.Status = n.begun[p.GetName()]
			if report.GetStatus() == nil {
				report.Status = &skerryv1.PlacementStatus{
					Phase: skerryv1.Phase_PHASE_RUNNING, Revision: 1, Started: timestamppb.Now(), Address: "10.88.0.2",
				}
				n.begun[p.GetName()] = report.GetStatus()
			}
		} else {
			delete(n.begun, p.GetName())
			report.Gone = true
		}
		reports = append(reports, report)
	}
	return reports
}

// runs tells whether it runs a placement.
func (n *zoneNode) runs(placement string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.begun[placement] != nil
}

// told tells how many placements its orders name, and whether all of them are to run.
func (n *zoneNode) told() (placements int, all bool) {
	orders := n.ledger.Current().GetPlacements()
	for _, p := range orders {
		if p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
			return 0, false
		}
	}
	return len(orders), true
}
