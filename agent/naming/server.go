package naming

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/env"
	"skerry.dev/shared/throttle"
)

const (
	// again is the pause before it is tried again to listen, and how often it is
	// looked whether anything can arrive.
	again = 2 * time.Second
	// readers of packets at one at.
	readers = 2
	// maxForwarded questions wait for somebody else.
	maxForwarded = 64
)

// limits of one container.
var limits = throttle.Limits{PerSecond: 2000, Burst: 4000, Running: 16, Callers: 4096}

// Config of a server. All fields are required but Forward.
type Config struct {
	Zone *Zone
	// Listen opens the places where questions come in, each by itself.
	Listen []func(context.Context) (runtime.DNSListener, error)
	// Forward asks somebody else; nil for never.
	Forward Forward
	Clock   env.Clock
	Logger  *slog.Logger
}

// Server answers packets.
type Server struct {
	Config
	throttle *throttle.Throttle
	slots    chan struct{}

	mu sync.Mutex
	// troubles of each place; empty where there is none.
	troubles []string
	changed  chan struct{}
}

// New returns a server; Run makes it listen.
func New(config Config) *Server {
	return &Server{
		Config: config, throttle: throttle.New(limits, config.Clock),
		slots: make(chan struct{}, maxForwarded), changed: make(chan struct{}),
		troubles: make([]string, len(config.Listen)),
	}
}

// Trouble says why the server does not listen; empty when it does. The channel
// is closed when that changes.
func (s *Server) Trouble() (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	told := slices.DeleteFunc(slices.Clone(s.troubles), func(t string) bool { return t == "" })
	return strings.Join(told, "; "), s.changed
}

func (s *Server) say(place int, trouble string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if trouble == s.troubles[place] {
		return
	}
	if trouble != "" {
		s.Logger.Warn("the node's DNS does not listen; it is tried again", "error", trouble)
	}
	s.troubles[place] = trouble
	close(s.changed)
	s.changed = make(chan struct{})
}

// Run listens and answers until ctx ends. What keeps it from listening is a
// condition of the node, not the end of it.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for place := range s.Listen {
		group.Go(func() error { return s.run(ctx, place) })
	}
	return group.Wait()
}

func (s *Server) run(ctx context.Context, place int) error {
	for {
		listener, err := s.Listen[place](ctx)
		if err != nil {
			s.say(place, err.Error())
		} else {
			s.say(place, "")
			s.serve(ctx, listener)
		}
		if err := env.Sleep(ctx, s.Clock, again); err != nil {
			return err
		}
	}
}

// errGone ends the work at a place where nothing can arrive any more.
var errGone = errors.New("the network that it listens on is gone")

// serve until ctx ends or nothing can arrive any more.
func (s *Server) serve(ctx context.Context, at runtime.DNSListener) {
	group, ctx := errgroup.WithContext(ctx)
	var conns sync.WaitGroup
	for range readers {
		group.Go(func() error { return s.packets(ctx, at) })
	}
	group.Go(func() error { return s.accept(ctx, at, &conns) })
	group.Go(func() error { return s.watch(ctx, at) })
	if err := group.Wait(); err != nil {
		s.Logger.Debug("the node's DNS listens anew", "reason", err)
	}
	conns.Wait()
}

// watch closes both sockets when ctx ends, or when nothing can arrive any more.
func (s *Server) watch(ctx context.Context, at runtime.DNSListener) error {
	defer func() {
		_ = at.Packets.Close() // both were only to be ended
		_ = at.Streams.Close()
	}()
	for {
		if err := env.Sleep(ctx, s.Clock, again); err != nil {
			return err
		}
		if at.Gone() {
			return errGone
		}
	}
}

// packets answers what comes over UDP.
func (s *Server) packets(ctx context.Context, at runtime.DNSListener) error {
	var waiting sync.WaitGroup
	defer waiting.Wait()
	buffer := make([]byte, maxQuestion)
	for {
		n, from, err := at.Packets.ReadFrom(buffer)
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return ctx.Err()
		}
		if err != nil {
			if err := env.Sleep(ctx, s.Clock, 10*time.Millisecond); err != nil {
				return err
			}
			continue // such as of a packet that could not be delivered
		}
		leave := s.enter(at, from)
		if leave == nil {
			continue // an answer would only be more load
		}
		packet := append([]byte(nil), buffer[:n]...)
		answer, later := s.answer(packet, false)
		if later == nil {
			s.send(at, answer, from)
			leave()
			continue
		}
		select {
		case s.slots <- struct{}{}:
			waiting.Go(func() {
				defer leave()
				defer func() { <-s.slots }()
				s.send(at, later(ctx), from)
			})
		default:
			leave()
		}
	}
}

func (s *Server) send(at runtime.DNSListener, answer []byte, to net.Addr) {
	if answer != nil {
		_, _ = at.Packets.WriteTo(answer, to) // who does not get it asks again
	}
}

// enter counts a question of a container; nil when it is one too many, or comes
// from elsewhere.
func (s *Server) enter(at runtime.DNSListener, from net.Addr) func() {
	port, err := netip.ParseAddrPort(from.String())
	if err != nil || !at.From.Contains(port.Addr().Unmap()) {
		return nil
	}
	leave, _, err := s.throttle.Enter(port.Addr().Unmap().String())
	if err != nil {
		return nil
	}
	return leave
}

// answer one packet at once, or say how to get the answer from somebody else.
// Whatever a packet holds, it cannot end the agent.
func (s *Server) answer(packet []byte, tcp bool) (answer []byte, later func(context.Context) []byte) {
	defer func() {
		if broken := recover(); broken != nil {
			s.Logger.Error("a question broke the node's DNS; it is not answered", "panic", broken)
			answer, later = nil, nil
		}
	}()
	reply, elsewhere := s.Zone.reply(packet, tcp)
	if reply == nil {
		return nil, nil
	}
	if !elsewhere || s.Forward == nil {
		return pack(reply, packet, tcp), nil
	}
	return nil, func(ctx context.Context) []byte {
		return pack(merge(reply, s.Forward(ctx, reply.Question[0], tcp)), packet, tcp)
	}
}
