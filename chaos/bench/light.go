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
	"net/http"
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

	fleet  *fleet
	index  int
	client *http.Client

	// mu is held while something is sent.
	mu     sync.Mutex
	stream *connect.BidiStreamForClient[sitev1.SyncRequest, sitev1.SyncResponse]
	number uint64

	// What follows belongs to the goroutine that reads the stream.

	// revision counts what it reported of its placements.
	revision uint64
	running  map[string]*sitev1.PlacementReport
	// news is how many placements it told of since the site last acknowledged what
	// it tells, the last of them in the report of number told.
	news int
	told uint64
	// heard: its first report was acknowledged.
	heard bool
}

// fleet is all light agents of a site.
type fleet struct {
	net       env.Net
	address   string
	agents    []*lightAgent
	acked     atomic.Int64
	placed    atomic.Int64
	known     atomic.Int64 // placements of which the log has that they run
	delivered atomic.Int64 // when the last placement came, in nanoseconds
	ended     atomic.Int64
	refused   atomic.Int64
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
	_, bundle, err := joiner.Trust(ctx, parsed.SiteID, nil)
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
	a := &lightAgent{
		name: answer.Msg.GetName(), trust: bundle, fleet: f, index: number, running: map[string]*sitev1.PlacementReport{},
		cert: &tls.Certificate{Certificate: answer.Msg.GetSvid(), PrivateKey: key, Leaf: leaf},
	}
	a.client = (&mtls.Dialer{Net: f.net, Source: a}).HTTPClient(mtls.Sync, mtls.ExpectNode(""))
	return a, nil
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

// open a stream, as agents do: again and again, and begin with all there is. It
// returns the first answer.
func (a *lightAgent) open(ctx context.Context) (*sitev1.SyncResponse, error) {
	for begun := time.Now(); ; {
		first, err := a.dial(ctx)
		if err == nil || ctx.Err() != nil || time.Since(begun) > placePatience {
			return first, err
		}
		if a.fleet.refused.Add(1) == 1 {
			progress("a stream did not open, that of %s: %v", a.name, err)
		}
		if err := sleep(ctx, openAgain); err != nil {
			return nil, err
		}
	}
}

func (a *lightAgent) dial(ctx context.Context) (*sitev1.SyncResponse, error) {
	client := sitev1connect.NewSyncServiceClient(a.client, "https://"+a.fleet.address, connect.WithReadMaxBytes(64<<20))
	stream := client.Sync(ctx)
	node := lightNode(a.name, a.index)
	report := &sitev1.NodeReport{Node: a.name, Facts: &sitev1.NodeFacts{
		Address: node.GetAddress(), GossipAddress: node.GetGossipAddress(), Capacity: node.GetCapacity(), Version: node.GetVersion(),
		SvidExpires: timestamppb.New(a.cert.Leaf.NotAfter),
	}}
	for _, running := range a.running {
		report.Placements = append(report.Placements, running)
	}
	if err := stream.Send(&sitev1.SyncRequest{ReportNumber: 1, Message: &sitev1.SyncRequest_Hello{Hello: &sitev1.SyncHello{
		Node: a.name, Report: report,
	}}}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	first, err := stream.Receive() // says why, if it ended
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stream, a.number, a.told = stream, 1, 1
	return first, nil
}

// run follows orders until ctx ends, on one stream after the other.
func (a *lightAgent) run(ctx context.Context, message *sitev1.SyncResponse) error {
	for {
		err := a.receive(message)
		if ctx.Err() != nil {
			return nil
		}
		if a.fleet.ended.Add(1) == 1 {
			progress("a stream ended, that of %s: %v", a.name, err)
		}
		if message, err = a.open(ctx); err != nil {
			return err
		}
	}
}

func (a *lightAgent) receive(message *sitev1.SyncResponse) error {
	for {
		if !a.heard && message.GetAcknowledged() > 0 {
			a.heard = true
			a.fleet.acked.Add(1)
		}
		if a.news > 0 && message.GetAcknowledged() >= a.told {
			a.fleet.known.Add(int64(a.news))
			a.news = 0
		}
		if pace := message.GetPace(); pace != nil {
			a.fleet.pace.Store(int64(pace.AsDuration()))
		}
		if orders := message.GetAssignments(); orders != nil {
			if err := a.follow(orders); err != nil {
				return err
			}
		}
		var err error
		if message, err = a.stream.Receive(); err != nil {
			return err
		}
	}
}

// follow reports that what is new runs, and that of what is to stop nothing is
// left.
func (a *lightAgent) follow(orders *sitev1.Assignments) error {
	report := &sitev1.NodeReport{Node: a.name}
	for _, p := range orders.GetPlacements() {
		key := p.GetProject() + "/" + p.GetName()
		wanted, running := p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN, a.running[key] != nil
		switch {
		case wanted && !running:
			a.revision++
			a.running[key] = &sitev1.PlacementReport{Project: p.GetProject(), Placement: p.GetName(), Status: &skerryv1.PlacementStatus{
				Phase: skerryv1.Phase_PHASE_RUNNING, Revision: a.revision, Started: timestamppb.Now(), Address: "10.88.0.2",
			}}
			a.fleet.placed.Add(1)
			a.news++
			a.fleet.delivered.Store(time.Now().UnixNano())
			report.Placements = append(report.Placements, a.running[key])
		case !wanted && running:
			delete(a.running, key)
			report.Placements = append(report.Placements, &sitev1.PlacementReport{Project: p.GetProject(), Placement: p.GetName(), Gone: true})
		}
	}
	if len(report.GetPlacements()) == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.number++
	a.told = a.number
	return a.stream.Send(&sitev1.SyncRequest{ReportNumber: a.number, Message: &sitev1.SyncRequest_Report{Report: report}})
}

// beat is heard. Whether the stream has ended shows where it is read.
func (a *lightAgent) beat() {
	a.mu.Lock()
	defer a.mu.Unlock()
	_ = a.stream.Send(&sitev1.SyncRequest{Message: &sitev1.SyncRequest_Heartbeat{
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
			f.agents[next].beat()
			next = (next + 1) % len(f.agents)
		}
		if err := sleep(ctx, beatEvery-time.Since(begun)); err != nil {
			return err
		}
	}
}

const (
	// beatEvery is how often some agents are heard.
	beatEvery = 10 * time.Millisecond
	// openAgain is how long an agent waits after a stream that did not open.
	openAgain = time.Second
)

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
