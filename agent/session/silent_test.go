package session

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	"skerry.dev/shared/env"
	"skerry.dev/shared/sitetime"
)

// silent is a coordinator that says one word and then nothing more, while its
// machine goes on acknowledging what is sent.
type silent struct{ ended chan struct{} }

func (s silent) Sync(ctx context.Context, stream *connect.BidiStream[sitev1.SyncRequest, sitev1.SyncResponse]) error {
	err := stream.Send(&sitev1.SyncResponse{Message: &sitev1.SyncResponse_Heartbeat{Heartbeat: &sitev1.SyncHeartbeat{}}})
	select {
	case <-ctx.Done():
	case <-s.ended:
	}
	return err
}

type quiet struct{}

func (quiet) Current() *sitev1.Assignments       { return nil }
func (quiet) Accept(*sitev1.Assignments) error   { return nil }
func (quiet) Reports() []*sitev1.PlacementReport { return nil }
func (quiet) Facts() *sitev1.NodeFacts           { return nil }
func (quiet) Changed() <-chan struct{}           { return nil }
func (quiet) refused(context.Context, string)    {}

func TestSilentCoordinatorIsLeft(t *testing.T) {
	ended := make(chan struct{})
	mux := http.NewServeMux()
	mux.Handle(sitev1connect.NewSyncServiceHandler(silent{ended}))
	server := httptest.NewUnstartedServer(mux)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	defer close(ended)
	system := env.NewSystem()
	s := New(Config{
		Name: "n1", Ledger: quiet{}, Node: quiet{}, Env: system, Logger: slog.New(slog.DiscardHandler), Refused: quiet{}.refused,
		SiteTime: sitetime.NewKeeper(system.Clock, sitetime.Stamp{}, time.Time{}),
		HTTP:     func() connect.HTTPClient { return server.Client() },
	})
	left := make(chan error, 1)
	go func() { left <- s.sync(t.Context(), strings.TrimPrefix(server.URL, "https://")) }()
	select {
	case err := <-left:
		if err == nil {
			t.Error("it was left without a reason")
		}
	case <-time.After(30 * time.Second):
		t.Error("it is not left")
	}
}
