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
	"net"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/chaos/hosts"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/orders"
	"skerry.dev/shared/problem"
)

// lightAgent is a node without a runtime: its own key, SVID and connection, the
// agents' protocol, and word that whatever it is told to run runs.
type lightAgent struct {
	name  string
	cert  *tls.Certificate
	trust *certs.Bundle
	// peers are the nodes that the site told of when it joined.
	peers []*sitev1.Peer

	fleet  *fleet
	index  int
	dialer *mtls.Dialer

	// mu is held while something is sent.
	mu     sync.Mutex
	conn   net.Conn
	stream *mtls.Messages
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
	again     atomic.Int64 // joins that were tried again
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
	request := &sitev1.JoinRequest{Secret: parsed.Secret, Csr: csr, Node: lightNode(name, number)}
	for begun := time.Now(); ; {
		bundle, answer, err := f.ask(ctx, parsed.SiteID, request)
		if err == nil {
			return f.joined(bundle, answer, key, number)
		}
		if ctx.Err() != nil || time.Since(begun) > placePatience {
			return nil, err
		}
		// The same key may ask again.
		if f.again.Add(1) == 1 {
			progress("a node did not join, %s: %v", name, err)
		}
		if err := hosts.Sleep(ctx, openAgain); err != nil {
			return nil, err
		}
	}
}

// ask to join, once.
func (f *fleet) ask(ctx context.Context, siteID string, request *sitev1.JoinRequest) (*certs.Bundle, *sitev1.JoinResponse, error) {
	joiner := mtls.NewJoiner(f.net, f.address)
	defer joiner.Client.CloseIdleConnections()
	_, bundle, err := joiner.Trust(ctx, siteID, nil)
	if err != nil {
		return nil, nil, err
	}
	if _, err := joiner.Verify(bundle, time.Time{}); err != nil {
		return nil, nil, err
	}
	answer, err := joiner.Service().Join(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, nil, problem.FromConnect(err)
	}
	return bundle, answer.Msg, nil
}

func (f *fleet) joined(bundle *certs.Bundle, answer *sitev1.JoinResponse, key *ecdsa.PrivateKey, number int) (*lightAgent, error) {
	leaf, err := x509.ParseCertificate(answer.GetSvid()[0])
	if err != nil {
		return nil, err
	}
	a := &lightAgent{
		name: answer.GetName(), trust: bundle, peers: answer.GetPeers(), fleet: f, index: number, running: map[string]*sitev1.PlacementReport{},
		cert: &tls.Certificate{Certificate: answer.GetSvid(), PrivateKey: key, Leaf: leaf},
	}
	a.dialer = &mtls.Dialer{Net: f.net, Source: a}
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
		if err := hosts.Sleep(ctx, openAgain); err != nil {
			return nil, err
		}
	}
}

func (a *lightAgent) dial(ctx context.Context) (*sitev1.SyncResponse, error) {
	conn, err := a.dialer.Dial(ctx, a.fleet.address, mtls.Stream, mtls.ExpectNode(""))
	if err != nil {
		return nil, err
	}
	stream := mtls.NewMessages(conn, 64<<20, 0)
	report := &sitev1.NodeReport{Node: a.name, Facts: a.facts()}
	for _, running := range a.running {
		report.Placements = append(report.Placements, running)
	}
	err = stream.Send(&sitev1.SyncRequest{ReportNumber: 1, Message: &sitev1.SyncRequest_Hello{Hello: &sitev1.SyncHello{
		Node: a.name, Report: report,
	}}})
	first := &sitev1.SyncResponse{}
	if err == nil {
		err = receive(stream, first)
	}
	if err != nil {
		_ = conn.Close() // the other error is the one to tell
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.conn, a.stream, a.number, a.told = conn, stream, 1, 1
	return first, nil
}

// facts of the node.
func (a *lightAgent) facts() *sitev1.NodeFacts {
	node := lightNode(a.name, a.index)
	return &sitev1.NodeFacts{
		Address: node.GetAddress(), GossipAddress: node.GetGossipAddress(), Capacity: node.GetCapacity(), Version: node.GetVersion(),
		SvidExpires: timestamppb.New(a.cert.Leaf.NotAfter),
	}
}

// receive a message, or why there is none.
func receive(stream *mtls.Messages, into *sitev1.SyncResponse) error {
	if err := stream.Receive(into); err != nil {
		return err
	}
	if into.GetRedirect() != nil {
		return errors.New("the voter does not coordinate")
	}
	if end := into.GetEnd(); end != nil {
		return orders.Reason(end)
	}
	return nil
}

// run follows orders until ctx ends, on one stream after the other.
func (a *lightAgent) run(ctx context.Context, message *sitev1.SyncResponse) error {
	for {
		conn := a.conn
		stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
		err := a.receive(message)
		stop()
		_ = conn.Close() // it is over whatever this says
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
		if assigned := message.GetAssignments(); assigned != nil {
			if err := a.follow(assigned); err != nil {
				return err
			}
		}
		message = &sitev1.SyncResponse{}
		if err := receive(a.stream, message); err != nil {
			return err
		}
	}
}

// follow reports that what is new runs, and that of what is to stop nothing is
// left.
func (a *lightAgent) follow(assigned *sitev1.Assignments) error {
	report := &sitev1.NodeReport{Node: a.name}
	for _, p := range assigned.GetPlacements() {
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
	if a.stream == nil {
		return // it has not opened its first one
	}
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
		if err := hosts.Sleep(ctx, beatEvery-time.Since(begun)); err != nil {
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
		if err := hosts.Sleep(ctx, 2*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}
