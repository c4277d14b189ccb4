package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// lightAgent is a node without a runtime: its own key, SVID and connection, the
// agents' protocol, and word that whatever it is told to run runs.
type lightAgent struct {
	name  string
	cert  *tls.Certificate
	trust *certs.Bundle

	mu     sync.Mutex
	stream *connect.BidiStreamForClient[sitev1.SyncRequest, sitev1.SyncResponse]
	number uint64
	// revision counts its reports.
	revision uint64
	running  map[string]bool

	fleet *fleet
}

// fleet is all light agents of a site.
type fleet struct {
	net       env.Net
	address   string
	agents    []*lightAgent
	acked     atomic.Int64
	placed    atomic.Int64
	delivered atomic.Int64 // when the last placement came, in nanoseconds
	ended     atomic.Int64
	// pace is how often the site wants to hear each node.
	pace atomic.Int64
}

func newFleet(net env.Net, address string) *fleet {
	f := &fleet{net: net, address: address}
	f.pace.Store(int64(200 * time.Millisecond))
	return f
}

// Certificate implements mtls.Source.
func (a *lightAgent) Certificate() *tls.Certificate { return a.cert }

// Bundle implements mtls.Source.
func (a *lightAgent) Bundle() *certs.Bundle { return a.trust }

// Now implements mtls.Source.
func (a *lightAgent) Now() time.Time { return time.Now() }

// join lets one node into the site, as skerry join does: over a connection of
// its own, on which the site proves itself first.
func (f *fleet) join(ctx context.Context, token, name string, number int) (*lightAgent, error) {
	parsed, err := certs.ParseToken(token)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := certs.NewJoinRequest(rand.Reader, key)
	if err != nil {
		return nil, err
	}
	joiner := mtls.NewJoiner(f.net, f.address)
	defer joiner.Client.CloseIdleConnections()
	chain, err := joiner.Trust(ctx)
	if err != nil {
		return nil, err
	}
	bundle, err := certs.VerifyTrust(parsed.SiteID, chain)
	if err != nil {
		return nil, err
	}
	if _, err := joiner.Verify(bundle, time.Time{}); err != nil {
		return nil, err
	}
	answer, err := joiner.Service().Join(ctx, connect.NewRequest(&sitev1.JoinRequest{
		Secret: parsed.Secret, Csr: csr, Node: lightNode(name, number),
	}))
	if err != nil {
		return nil, problem.FromConnect(err)
	}
	leaf, err := x509.ParseCertificate(answer.Msg.GetSvid()[0])
	if err != nil {
		return nil, err
	}
	return &lightAgent{
		name: answer.Msg.GetName(), trust: bundle, fleet: f, running: map[string]bool{},
		cert: &tls.Certificate{Certificate: answer.Msg.GetSvid(), PrivateKey: key, Leaf: leaf},
	}, nil
}

// lightNode describes a machine at an address that nobody has.
func lightNode(name string, number int) *skerryv1.Node {
	host := fmt.Sprintf("10.%d.%d.%d", 100+number>>16, number>>8&0xff, number&0xff)
	return &skerryv1.Node{
		Name: name, Address: host + ":7600", GossipAddress: host + ":7601", Version: "bench",
		Capacity: lightCapacity(),
	}
}

func lightCapacity() *skerryv1.Capacity {
	return &skerryv1.Capacity{CpuMilli: 8000, MemoryBytes: 32 << 30, DiskBytes: 1 << 40}
}

// open the stream and say what there is.
func (a *lightAgent) open(ctx context.Context, number int) error {
	dialer := &mtls.Dialer{Net: a.fleet.net, Source: a}
	client := sitev1connect.NewSyncServiceClient(dialer.HTTPClient(mtls.Sync, mtls.ExpectNode("")), "https://"+a.fleet.address,
		connect.WithReadMaxBytes(64<<20))
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stream = client.Sync(ctx)
	node := lightNode(a.name, number)
	a.number = 1
	if err := a.stream.Send(&sitev1.SyncRequest{ReportNumber: 1, Message: &sitev1.SyncRequest_Hello{Hello: &sitev1.SyncHello{
		Node: a.name, Report: &sitev1.NodeReport{Node: a.name, Facts: &sitev1.NodeFacts{
			Address: node.GetAddress(), GossipAddress: node.GetGossipAddress(), Capacity: node.GetCapacity(), Version: node.GetVersion(),
			SvidExpires: timestamppb.New(a.cert.Leaf.NotAfter),
		}},
	}}}); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	_, err := a.stream.Receive() // says why, if it ended
	return err
}

// run follows orders until the stream ends; one that ends too early is an error.
func (a *lightAgent) run(ctx context.Context) error {
	err := a.receive()
	if ctx.Err() == nil {
		if a.fleet.ended.Add(1) == 1 {
			progress("a stream ended, that of %s: %v", a.name, err)
		}
	}
	return err
}

func (a *lightAgent) receive() error {
	acked := uint64(0)
	for {
		message, err := a.stream.Receive()
		if err != nil {
			return err
		}
		if acked == 0 && message.GetAcknowledged() > 0 {
			a.fleet.acked.Add(1)
		}
		acked = message.GetAcknowledged()
		if pace := message.GetPace(); pace != nil {
			a.fleet.pace.Store(int64(pace.AsDuration()))
		}
		if orders := message.GetAssignments(); orders != nil {
			if err := a.follow(orders); err != nil {
				return err
			}
		}
	}
}

// follow reports that what is new runs, and that of what is to stop nothing is
// left.
func (a *lightAgent) follow(orders *sitev1.Assignments) error {
	report := &sitev1.NodeReport{Node: a.name}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range orders.GetPlacements() {
		key := p.GetProject() + "/" + p.GetName()
		a.revision++
		status := &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Revision: a.revision, Started: timestamppb.Now(),
			Address: "10.88.0.2"}
		switch {
		case p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && !a.running[key]:
			a.running[key] = true
			a.fleet.placed.Add(1)
			a.fleet.delivered.Store(time.Now().UnixNano())
			report.Placements = append(report.Placements, &sitev1.PlacementReport{Project: p.GetProject(), Placement: p.GetName(), Status: status})
		case p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN && a.running[key]:
			delete(a.running, key)
			report.Placements = append(report.Placements, &sitev1.PlacementReport{Project: p.GetProject(), Placement: p.GetName(), Gone: true})
		}
	}
	if len(report.GetPlacements()) == 0 {
		return nil
	}
	a.number++
	return a.stream.Send(&sitev1.SyncRequest{ReportNumber: a.number, Message: &sitev1.SyncRequest_Report{Report: report}})
}

// beat is heard.
func (a *lightAgent) beat() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stream.Send(&sitev1.SyncRequest{Message: &sitev1.SyncRequest_Heartbeat{
		Heartbeat: &sitev1.SyncHeartbeat{Clock: timestamppb.Now()},
	}})
}

// beat lets every agent be heard, one after the other, as often as the site asks
// for.
func (f *fleet) beat(ctx context.Context) error {
	for next := 0; ; {
		pace := time.Duration(f.pace.Load())
		begun := time.Now()
		for range max(1, int(int64(len(f.agents))*int64(beatEvery)/int64(pace))) {
			if err := f.agents[next].beat(); err != nil {
				return err
			}
			next = (next + 1) % len(f.agents)
		}
		if err := sleep(ctx, beatEvery-time.Since(begun)); err != nil {
			return err
		}
	}
}

// beatEvery is how often some agents are heard.
const beatEvery = 10 * time.Millisecond

func (s *placing) await(ctx context.Context, what string, reached func() bool) error {
	for begun := time.Now(); !reached(); {
		if time.Since(begun) > placePatience {
			return fmt.Errorf("waited %s for %s: %d placements came, %d nodes were heard, %d streams ended", placePatience, what,
				s.fleet.placed.Load(), s.fleet.acked.Load(), s.fleet.ended.Load())
		}
		if err := sleep(ctx, 2*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
