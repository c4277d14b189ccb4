package session

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/sitetime"
)

// office is a site of voters of which one coordinates, and one may be silent: it takes
// connections, and says nothing.
type office struct {
	quiet // what the agent itself is asked for

	mu          sync.Mutex
	term        uint64
	coordinator string
	silent      string
	since       time.Time
	changed     chan struct{}
	// replica: there is one beside the agent, which hears of elections.
	replica bool
	voters  sync.WaitGroup
}

func newOffice(coordinator string) *office {
	return &office{term: 1, coordinator: coordinator, changed: make(chan struct{})}
}

func (o *office) Current() *sitev1.Assignments {
	return &sitev1.Assignments{Peers: []*sitev1.Peer{voter("n1"), voter("n2"), voter("n3")}}
}

func (o *office) lead() (Lead, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.replica {
		return Lead{}, nil
	}
	return Lead{Term: o.term, Address: o.coordinator}, o.changed
}

func (o *office) elect(coordinator string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.term++
	o.coordinator = coordinator
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *office) silence(voter string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.silent = voter
	o.since = time.Now()
}

func (o *office) says(voter string) *sitev1.SyncResponse {
	o.mu.Lock()
	defer o.mu.Unlock()
	redirect := &sitev1.SyncRedirect{Address: o.coordinator}
	if o.silent == o.coordinator && time.Since(o.since) > time.Second {
		redirect.Address = "" // they have noticed
	}
	switch voter {
	case o.silent:
		return nil
	case o.coordinator:
		return &sitev1.SyncResponse{Message: &sitev1.SyncResponse_Heartbeat{Heartbeat: &sitev1.SyncHeartbeat{}}}
	default:
		return &sitev1.SyncResponse{Message: &sitev1.SyncResponse_Redirect{Redirect: redirect}}
	}
}

// dial a voter. To one that is silent the handshake hangs.
func (o *office) dial(ctx context.Context, address string) (net.Conn, error) {
	if o.says(address) == nil {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	here, there := net.Pipe()
	o.voters.Go(func() { o.serve(address, there) })
	return here, nil
}

func (o *office) serve(voter string, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	messages := mtls.NewMessages(conn, MaxMessage, 0)
	o.voters.Go(func() { // until the agent hangs up
		for messages.Receive(&sitev1.SyncRequest{}) == nil {
		}
		_ = conn.Close()
	})
	for {
		said := o.says(voter)
		if said != nil && messages.Send(said) != nil {
			return
		}
		if said.GetRedirect() != nil {
			return
		}
		if said == nil { // as long as the agent waits
			if _, err := conn.Write(nil); err != nil {
				return
			}
		}
		time.Sleep(heartbeatEvery)
	}
}

// TestAnotherCoordinatorIsFollowed: how long it takes from an election until the agent
// follows, when the coordinator before falls silent at 10 s, and does not say why.
func TestAnotherCoordinatorIsFollowed(t *testing.T) {
	for _, test := range []struct {
		name string
		// elected so long after the silence has begun.
		elected time.Duration
		replica bool
		within  time.Duration
	}{
		{"the replica here hears of it at once", 700 * time.Millisecond, true, 10 * time.Millisecond},
		{"the replica here hears of it later", 5 * time.Second, true, 10 * time.Millisecond},
		{"voters are asked while nothing comes", 700 * time.Millisecond, false, 300 * time.Millisecond},
		{"it was elected before anything was missed", 300 * time.Millisecond, false, 600 * time.Millisecond},
		{"it is elected after the silence was noticed", 2500 * time.Millisecond, false, 1500 * time.Millisecond},
		{"it is elected late", 7 * time.Second, false, 3 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOffice("n1:7600")
				o.replica = test.replica
				system := env.NewSystem()
				s := New(Config{
					Name: "n9", Ledger: o, Node: o, Names: o, Env: system, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})), Dial: o.dial, Lead: o.lead,
					// Who is silent does not say why.
					Refused:  func(ctx context.Context, _ string) { _ = env.Sleep(ctx, system.Clock, 2*time.Second) },
					SiteTime: sitetime.NewKeeper(system.Clock, sitetime.Stamp{}, time.Time{}),
				})
				ctx, cancel := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() { ended <- s.Run(ctx) }()
				time.Sleep(10 * time.Second)
				if at, _ := s.Contact(); at != "n1:7600" {
					t.Errorf("the coordinator is at %q", at)
				}
				o.silence("n1:7600")
				time.Sleep(test.elected)
				o.elect("n3:7600")
				elected := time.Now()
				for at, moved := s.Contact(); at != "n3:7600"; at, moved = s.Contact() {
					select {
					case <-moved:
					case <-time.After(time.Minute):
						t.Fatal("it is not followed")
					}
				}
				took := time.Since(elected)
				t.Logf("after %s", took)
				if took > test.within {
					t.Errorf("it is followed after %s, want %s at most", took, test.within)
				}
				cancel()
				if err := <-ended; !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				o.voters.Wait()
			})
		})
	}
}

// TestWhoIsSilentIsNotAskedWhy: that would keep those that have a reason from their turn.
func TestWhoIsSilentIsNotAskedWhy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		system := env.NewSystem()
		var asked []string
		s := New(Config{
			Name: "n9", Ledger: newOffice(""), Node: quiet{}, Names: quiet{}, Env: system, Logger: slog.New(slog.DiscardHandler), Lead: quiet{}.lead,
			Dial: func(ctx context.Context, address string) (net.Conn, error) {
				if address == "n3:7600" {
					return nil, errors.New("it refuses this node")
				}
				<-ctx.Done()
				return nil, ctx.Err()
			},
			Refused:  func(ctx context.Context, address string) { asked = append(asked, address) },
			SiteTime: sitetime.NewKeeper(system.Clock, sitetime.Stamp{}, time.Time{}),
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := s.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if len(asked) == 0 || slices.ContainsFunc(asked, func(a string) bool { return a != "n3:7600" }) {
			t.Errorf("asked were %v, want n3 alone", asked)
		}
	})
}

// TestACoordinatorInOfficeIsKept: that it says nothing for a moment, while nobody else
// was elected, ends no stream.
func TestACoordinatorInOfficeIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice("n1:7600")
		system := env.NewSystem()
		s := New(Config{
			Name: "n9", Ledger: o, Node: o, Names: o, Env: system, Logger: slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})), Dial: o.dial, Lead: o.lead,
			Refused:  func(context.Context, string) { t.Error("it was asked why there is no stream") },
			SiteTime: sitetime.NewKeeper(system.Clock, sitetime.Stamp{}, time.Time{}),
		})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		time.Sleep(time.Second)
		_, moved := s.Contact()
		for range 10 {
			o.silence("n1:7600")
			time.Sleep(1500 * time.Millisecond)
			o.silence("")
			time.Sleep(time.Second)
		}
		select {
		case <-moved:
			t.Error("the stream has ended")
		default:
		}
		cancel()
		<-ended
		o.voters.Wait()
	})
}
