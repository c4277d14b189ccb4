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

// A coordinator says one word and then nothing more, while its machine goes on
// acknowledging what is sent.
func TestSilentCoordinatorIsLeft(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	system := env.NewSystem()
	s := New(Config{
		Name: "n1", Ledger: quiet{}, Node: quiet{}, Names: quiet{}, Env: system, Logger: slog.New(slog.DiscardHandler), Refused: quiet{}.refused, Lead: quiet{}.lead,
		SiteTime: sitetime.NewKeeper(system.Clock, sitetime.Stamp{}, time.Time{}),
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		},
	})
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
