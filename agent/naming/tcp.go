package naming

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/env"
)

const (
	// maxConns are open at one place, each for so many questions and so long.
	maxConns     = 64
	maxQuestions = 100
	idle         = 5 * time.Second
)

// accept answers what comes over TCP.
func (s *Server) accept(ctx context.Context, at runtime.DNSListener, conns *sync.WaitGroup) error {
	places := make(chan struct{}, maxConns)
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
		select {
		case places <- struct{}{}:
			conns.Go(func() {
				defer func() { <-places }()
				s.converse(ctx, at, conn)
			})
		default:
			_ = conn.Close() // one too many
		}
	}
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
