package libvirt

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"

	golibvirt "github.com/digitalocean/go-libvirt"

	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// maxShot bounds a picture, in bytes.
	maxShot  = 32 << 20
	shotTime = 4 * callTime
)

// Screenshot of an instance, as PNG.
func (d *Driver) Screenshot(ctx context.Context, id string) ([]byte, error) {
	if err := d.runningNow(ctx, id); err != nil {
		return nil, err
	}
	shot, err := d.shoot(ctx, id)
	switch {
	case err != nil:
		return nil, d.problem(id, "there is no screenshot", err)
	case !bytes.HasPrefix(shot, []byte("\x89PNG\r\n")):
		return nil, problem.New(problem.Unavailable, id, "there is no screenshot: this node's QEMU makes no PNG").WithHint("QEMU 7.1 or later does")
	}
	return shot, nil
}

// shoot has a connection of its own, and takes the picture off it itself: libvirt may
// send it before it answers the call, and then the library takes it for the answer.
func (d *Driver) shoot(ctx context.Context, id string) ([]byte, error) {
	conn, err := d.Env.Net.Dial(ctx, "unix", d.Address)
	if err != nil {
		return nil, problem.New(problem.Unavailable, id, "libvirt does not answer at %s: %w", d.Address, err)
	}
	defer func() { _ = conn.Close() }() // whatever it says, it is closed
	picture := &streamed{Conn: conn, over: make(chan struct{})}
	s := &session{Libvirt: golibvirt.NewWithDialer(dialed{picture}), conn: conn}
	if err := d.link.bounded(ctx, connectTime, s, s.Connect); err != nil {
		return nil, err
	}
	err = d.link.bounded(ctx, shotTime, s, func() error {
		_, err := s.DomainScreenshot(d.domainOf(id), nil, 0, 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return picture.whole(ctx, d.Env.Clock)
}

// streamed is a connection without what libvirt sends over it as a stream, which it
// gathers. Messages begin with their length, program, version, procedure, type,
// serial and status.
type streamed struct {
	net.Conn
	// got from libvirt, and left for the library.
	got, left, data []byte
	failed          bool
	over            chan struct{}
}

const (
	headBytes  = 28
	typeAt     = 16
	typeStream = 3
	readBytes  = 64 << 10
)

func (s *streamed) Read(p []byte) (int, error) {
	buffer := make([]byte, readBytes)
	for len(s.left) == 0 {
		n, err := s.Conn.Read(buffer)
		if err != nil {
			s.end(true)
			return 0, err
		}
		s.got = append(s.got, buffer[:n]...)
		if err := s.sort(); err != nil {
			s.end(true)
			return 0, err
		}
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}

// sort the messages that came.
func (s *streamed) sort() error {
	for len(s.got) >= headBytes {
		size := int(binary.BigEndian.Uint32(s.got))
		if size < headBytes || size > maxShot {
			return errors.New("libvirt sends a message of an impossible length")
		}
		if len(s.got) < size {
			return nil
		}
		if !s.take(s.got[:size]) {
			s.left = append(s.left, s.got[:size]...)
		}
		s.got = s.got[size:]
	}
	return nil
}

// take a message of the stream; false: it is none.
func (s *streamed) take(message []byte) bool {
	if binary.BigEndian.Uint32(message[typeAt:]) != typeStream {
		return false
	}
	s.data = append(s.data, message[headBytes:]...)
	switch {
	case len(s.data) > maxShot:
		s.end(true)
		s.data = nil
	case len(message) == headBytes:
		s.end(false)
	}
	return true
}

func (s *streamed) ended() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// end is called by the one goroutine that reads.
func (s *streamed) end(failed bool) {
	if !s.ended() {
		s.failed = failed
		close(s.over)
	}
}

// whole is what came, when all has.
func (s *streamed) whole(ctx context.Context, clock env.Clock) ([]byte, error) {
	timer := clock.NewTimer(shotTime)
	defer timer.Stop()
	select {
	case <-s.over:
	case <-timer.C():
		return nil, errSilent
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.failed {
		return nil, errors.New("the picture ended early")
	}
	return s.data, nil
}
