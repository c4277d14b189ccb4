package session

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/sitetime"
)

type quiet struct{}

func (quiet) Current() *sitev1.Assignments       { return nil }
func (quiet) Accept(*sitev1.Assignments) error   { return nil }
func (quiet) Holdings() *sitev1.Holdings         { return nil }
func (quiet) Reports() []*sitev1.PlacementReport { return nil }
func (quiet) Facts() *sitev1.NodeFacts           { return nil }
func (quiet) Changed() <-chan struct{}           { return nil }
func (quiet) refused(context.Context, string)    {}
func (quiet) lead() (Lead, <-chan struct{})      { return Lead{}, nil }

func (quiet) Digest() uint64                       { return 0 }
func (quiet) Take(*sitev1.EndpointsResponse) error { return nil }

// unsecured is a session without TLS.
func unsecured(ledger Ledger) *Session {
	system := env.NewSystem()
	return New(Config{
		Name: "n1", Ledger: ledger, Node: quiet{}, Names: quiet{}, Env: system, Logger: slog.New(slog.DiscardHandler), Refused: quiet{}.refused, Lead: quiet{}.lead,
		SiteTime: sitetime.NewKeeper(system.Clock, sitetime.Stamp{}, time.Time{}),
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		},
	})
}

// A coordinator says one word and then nothing more, while its machine goes on
// acknowledging what is sent.
func TestSilentCoordinatorIsLeft(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	s := unsecured(quiet{})
	left := make(chan error, 1)
	go func() { left <- s.sync(t.Context(), listener.Addr().String()) }()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	word := &sitev1.SyncResponse{Message: &sitev1.SyncResponse_Heartbeat{Heartbeat: &sitev1.SyncHeartbeat{}}}
	if err := mtls.NewMessages(conn, MaxMessage, 0).Send(word); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-left:
		if err == nil {
			t.Error("it was left without a reason")
		}
	case <-time.After(time.Minute):
		t.Error("it is not left")
	}
}

// slow is a ledger on a disk that takes its time.
type slow struct {
	quiet
	kept chan struct{}
}

func (s slow) Accept(*sitev1.Assignments) error {
	time.Sleep(silence + time.Second)
	close(s.kept)
	return nil
}

// While the disk takes what it said nobody hears it, though it goes on speaking. A node
// that left it would begin with the same orders again, and never get a lease.
func TestACoordinatorIsNotLeftBecauseOfASlowDisk(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	ledger := slow{kept: make(chan struct{})}
	s := unsecured(ledger)
	left := make(chan error, 1)
	go func() { left <- s.sync(t.Context(), listener.Addr().String()) }()
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	messages := mtls.NewMessages(conn, MaxMessage, 0)
	word := &sitev1.SyncResponse{Message: &sitev1.SyncResponse_Assignments{Assignments: &sitev1.Assignments{}}, Common: &sitev1.CommonOrders{}}
	for begun := time.Now(); time.Since(begun) < silence+2*time.Second; time.Sleep(heartbeatEvery) {
		if err := messages.Send(word); err != nil {
			t.Fatal(err)
		}
		word = &sitev1.SyncResponse{Message: &sitev1.SyncResponse_Heartbeat{Heartbeat: &sitev1.SyncHeartbeat{}}}
	}
	select {
	case err := <-left:
		t.Fatalf("it is left: %v", err)
	case <-ledger.kept:
	}
	if s.Coordinator() == "" {
		t.Error("it is not known as coordinator")
	}
	_ = conn.Close()
	if err := <-left; err == nil {
		t.Error("it was left without a reason")
	}
}
