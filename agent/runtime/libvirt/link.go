package libvirt

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	golibvirt "github.com/digitalocean/go-libvirt"

	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// How long libvirt may take. Its calls have no context and may block for ever:
// past the deadline the connection is closed, and the truth is looked at again.
const (
	connectTime = 5 * time.Second
	callTime    = 5 * time.Second
	// slowTime is for what starts or ends a QEMU.
	slowTime = 60 * time.Second
)

// link is the connection to libvirtd, made when it is needed.
type link struct {
	address string
	env     env.System

	mu   sync.Mutex
	open *session
	// calls whose caller has gone; they end with their limit.
	calls sync.WaitGroup
}

// session is one connection.
type session struct {
	*golibvirt.Libvirt
	conn net.Conn
}

func newLink(address string, system env.System) *link {
	return &link{address: address, env: system}
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != nil {
		_ = l.open.conn.Close() // whatever it says, it is closed
		l.open = nil
	}
	l.calls.Wait()
}

// do makes a call, which gets as long as limit.
func (l *link) do(ctx context.Context, limit time.Duration, call func(*golibvirt.Libvirt) error) error {
	s, err := l.session(ctx)
	if err != nil {
		return err
	}
	return l.bounded(ctx, limit, s, func() error { return call(s.Libvirt) })
}

// errSilent: libvirtd did not answer in time.
var errSilent = errors.New("libvirtd did not answer in time")

// bounded runs a call to its end, which comes at the latest when the connection
// is closed under it.
func (l *link) bounded(ctx context.Context, limit time.Duration, s *session, call func() error) error {
	done := make(chan error, 1)
	go func() { done <- call() }()
	timer := l.env.Clock.NewTimer(limit)
	select {
	case err := <-done:
		timer.Stop()
		return err
	case <-timer.C():
		l.giveUp(s, done)
		return errSilent
	case <-ctx.Done():
		// Others may be on the same connection: only what is silent closes it.
		l.calls.Go(func() {
			defer timer.Stop()
			select {
			case <-done:
			case <-timer.C():
				l.giveUp(s, done)
			}
		})
		return ctx.Err()
	}
}

// giveUp a call: without its connection it ends.
func (l *link) giveUp(s *session, done <-chan error) {
	_ = s.conn.Close() // whatever it says, it is closed
	<-done
}

// session returns the open connection, or makes one.
func (l *link) session(ctx context.Context) (*session, error) {
	l.mu.Lock()
	open := l.open
	l.mu.Unlock()
	if open != nil && open.IsConnected() {
		return open, nil
	}
	fresh, err := l.connect(ctx)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open != nil && l.open.IsConnected() { // another call was faster
		_ = fresh.conn.Close()
		return l.open, nil
	}
	l.open = fresh
	return fresh, nil
}

// dialed hands a connection that is open already to the library.
type dialed struct{ net.Conn }

func (d dialed) Dial() (net.Conn, error) { return d.Conn, nil }

func (l *link) connect(ctx context.Context) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	conn, err := l.env.Net.Dial(ctx, "unix", l.address)
	if err != nil {
		return nil, problem.New(problem.Unavailable, "", "libvirt does not answer at %s: %w", l.address, err).
			WithHint("is it running? systemctl status libvirtd")
	}
	s := &session{Libvirt: golibvirt.NewWithDialer(dialed{conn}), conn: conn}
	if err := l.bounded(ctx, connectTime, s, s.Connect); err != nil {
		_ = conn.Close() // it was of no use
		return nil, problem.New(problem.Unavailable, "", "libvirt at %s takes no calls: %w", l.address, err).
			WithHint("journalctl -u libvirtd tells more")
	}
	return s, nil
}
