package mtls

import (
	"crypto/tls"
	"net"
	"sync"
	"time"
)

const (
	// headWait is how long the head of a call or of an answer waits for its body.
	headWait = time.Millisecond
	// maxHeld bytes wait at most; whatever is longer goes out by itself.
	maxHeld = 4 << 10
)

// shielded is a connection after its handshake.
type shielded interface {
	net.Conn
	ConnectionState() tls.ConnectionState
}

// heads is a connection of HTTP/2 on which the head of a message goes out
// together with the body that follows. http2 sends the head of each call, and of
// each answer, on its own: a record, a packet and a wake-up more at both ends,
// for bodies that come microseconds later.
type heads struct {
	shielded
	timer *time.Timer

	// mu is held while bytes go out, so that they stay in order.
	mu   sync.Mutex
	held []byte
	err  error
}

func withHeads(conn shielded) *heads {
	h := &heads{shielded: conn}
	h.timer = time.AfterFunc(time.Hour, h.overdue)
	h.timer.Stop()
	return h
}

// Write implements net.Conn. What is held counts as written; an error of it is
// that of the next Write.
func (h *heads) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return 0, h.err
	}
	if len(h.held)+len(p) <= maxHeld && endsWithHead(p) {
		h.held = append(h.held, p...)
		h.timer.Reset(headWait)
		return len(p), nil
	}
	before := len(h.held)
	if before == 0 {
		return h.shielded.Write(p)
	}
	h.timer.Stop()
	if before+len(p) > maxHeld {
		if h.release(); h.err != nil {
			return 0, h.err
		}
		return h.shielded.Write(p)
	}
	h.held = append(h.held, p...)
	n := h.release()
	return max(0, n-before), h.err
}

// release what is held; it needs mu.
func (h *heads) release() int {
	n, err := h.shielded.Write(h.held)
	h.held, h.err = h.held[:0], err
	return n
}

// overdue lets a head go whose body has not come.
func (h *heads) overdue() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.held) == 0 || h.err != nil {
		return
	}
	if h.err = h.shielded.SetWriteDeadline(time.Now().Add(writeTimeout)); h.err != nil {
		return
	}
	if h.release(); h.err == nil {
		h.err = h.shielded.SetWriteDeadline(time.Time{})
	}
}

// SetWriteDeadline implements net.Conn. It waits until a head that is overdue is
// out, which has a deadline of its own.
func (h *heads) SetWriteDeadline(t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.shielded.SetWriteDeadline(t)
}

// Close implements net.Conn. A head without a body is of use to nobody.
func (h *heads) Close() error {
	h.timer.Stop()
	return h.shielded.Close()
}

// What of a frame of HTTP/2 (RFC 9113, section 4.1) tells a head.
const (
	frameHeader = 9
	typeHeaders = 0x1
	endStream   = 0x1
	endHeaders  = 0x4
)

// endsWithHead tells whether the last of some whole frames is a head that is
// complete, and after which a body is to come.
func endsWithHead(p []byte) bool {
	for len(p) >= frameHeader {
		length := frameHeader + int(p[0])<<16 + int(p[1])<<8 + int(p[2])
		if length >= len(p) {
			return length == len(p) && p[3] == typeHeaders && p[4]&(endStream|endHeaders) == endHeaders
		}
		p = p[length:]
	}
	return false
}
