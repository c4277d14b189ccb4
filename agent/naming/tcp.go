package naming

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/env"
)

const (
	// maxConns are open at one place, at most maxConnsOfOne of them by one host,
	// each for so many questions and so long.
	maxConns      = 64
	maxConnsOfOne = 8
	maxQuestions  = 100
	idle          = 5 * time.Second
)

// accept answers what comes over TCP.
func (s *Server) accept(ctx context.Context, at runtime.DNSListener, conns *sync.WaitGroup) error {
	places := &places{of: map[netip.Addr]int{}}
	for {
		conn, err := at.Streams.Accept()
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return ctx.Err()
		}
		if err != nil {
			if err := env.Sleep(ctx, s.Clock, 10*time.Millisecond); err != nil {
				return err
			}
			continue
		}
		host := hostOf(conn.RemoteAddr())
		if !places.take(host) {
			_ = conn.Close() // one too many
			continue
		}
		conns.Go(func() {
			defer places.leave(host)
			s.converse(ctx, at, conn)
		})
	}
}

// places for connections: no container takes those of the others.
type places struct {
	mu  sync.Mutex
	all int
	of  map[netip.Addr]int
}

func (p *places) take(host netip.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.all == maxConns || p.of[host] == maxConnsOfOne {
		return false
	}
	p.all++
	p.of[host]++
	return true
}

func (p *places) leave(host netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all--
	if p.of[host]--; p.of[host] == 0 {
		delete(p.of, host)
	}
}

func hostOf(remote net.Addr) netip.Addr {
	addr, err := netip.ParseAddrPort(remote.String())
	if err != nil {
		return netip.Addr{} // all of these are one
	}
	return addr.Addr().Unmap()
}

// converse answers one connection.
func (s *Server) converse(ctx context.Context, at runtime.DNSListener, conn net.Conn) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // it ends the read
	defer stop()
	defer func() { _ = conn.Close() }()
	for range maxQuestions {
		if err := conn.SetDeadline(s.Clock.Now().Add(idle)); err != nil {
			return
		}
		if !s.exchange(ctx, at, conn) {
			return
		}
	}
}

// exchange one question and its answer; false when the connection is over.
func (s *Server) exchange(ctx context.Context, at runtime.DNSListener, conn net.Conn) bool {
	var length [2]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return false
	}
	size := int(binary.BigEndian.Uint16(length[:]))
	if size < minSize || size > maxQuestion {
		return false
	}
	packet := make([]byte, size)
	if _, err := io.ReadFull(conn, packet); err != nil {
		return false
	}
	leave := s.enter(at, conn.RemoteAddr())
	if leave == nil {
		return false
	}
	defer leave()
	answer, later := s.answer(packet, true)
	if later != nil {
		select {
		case s.slots <- struct{}{}:
			answer = later(ctx)
			<-s.slots
		default:
		}
	}
	if answer == nil {
		return false
	}
	_, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...))
	return err == nil
}
