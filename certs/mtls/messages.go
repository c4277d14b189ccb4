package mtls

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/shared/problem"
)

const (
	// piece of a message that is written at once: each has writeTimeout.
	piece = 64 << 10
	// maxKept is the largest buffer that is kept for other messages: that of the
	// peers of a large site.
	maxKept = 512 << 10
	// lengthBytes before each message.
	lengthBytes = 4
	// partTime is how long the other end has to hang up, after it was told why.
	partTime = time.Second
)

// Messages are protobuf messages over a bare connection, each after its length.
// One goroutine may receive; any number send. While nothing comes it holds no
// buffer, and it needs no goroutine of its own.
type Messages struct {
	conn   net.Conn
	most   int
	length [lengthBytes]byte // of what comes
	// silence after which the connection has ended; 0 for no bound.
	silence atomic.Int64

	// mu is held while something is sent.
	mu sync.Mutex
}

// NewMessages takes and sends messages of at most so many bytes. A connection on
// which nothing comes for the time of silence has ended; 0 for no bound.
func NewMessages(conn net.Conn, most int, silence time.Duration) *Messages {
	m := &Messages{conn: conn, most: most}
	m.silence.Store(int64(silence))
	return m
}

// buffers are shared by all connections.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// keep a buffer for other messages, unless it is large.
func keep(buffer *[]byte, used []byte) {
	if cap(used) <= maxKept {
		*buffer = used[:0]
		buffers.Put(buffer)
	}
}

// Send a message.
func (m *Messages) Send(message proto.Message) error {
	buffer := buffers.Get().(*[]byte)
	encoded, err := proto.MarshalOptions{}.MarshalAppend(append((*buffer)[:0], make([]byte, lengthBytes)...), message)
	if err != nil {
		return problem.New(problem.Internal, "message", "it cannot be encoded: %w", err)
	}
	defer keep(buffer, encoded)
	length := len(encoded) - lengthBytes
	if length > m.most {
		return problem.New(problem.Exhausted, "message", "%d bytes, at most %d are sent", length, m.most)
	}
	binary.BigEndian.PutUint32(encoded, uint32(length))
	return m.write(encoded)
}

func (m *Messages) write(encoded []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(encoded) > 0 {
		if err := m.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		n, err := m.conn.Write(encoded[:min(len(encoded), piece)])
		if err != nil {
			return err
		}
		encoded = encoded[n:]
	}
	return nil
}

// Receive the next message; io.EOF when the other end has hung up between two.
func (m *Messages) Receive(into proto.Message) error {
	if silence := time.Duration(m.silence.Load()); silence > 0 {
		if err := m.conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return err
		}
	}
	if _, err := io.ReadFull(m.conn, m.length[:]); err != nil {
		return err
	}
	length := binary.BigEndian.Uint32(m.length[:])
	if int64(length) > int64(m.most) {
		return problem.New(problem.Exhausted, m.conn.RemoteAddr().String(), "its message has %d bytes, at most %d are taken", length, m.most)
	}
	buffer := buffers.Get().(*[]byte)
	encoded, err := m.read((*buffer)[:0], int(length))
	defer keep(buffer, encoded)
	if err != nil {
		return fmt.Errorf("in a message of %d bytes: %w", length, noEnd(err))
	}
	if err := proto.Unmarshal(encoded, into); err != nil {
		return problem.New(problem.Invalid, m.conn.RemoteAddr().String(), "its message does not parse: %w", err)
	}
	return nil
}

// read so many bytes. The buffer grows with what comes: a length alone costs
// nothing.
func (m *Messages) read(into []byte, length int) ([]byte, error) {
	for len(into) < length {
		next := min(length-len(into), piece)
		into = slices.Grow(into, next)
		n, err := io.ReadFull(m.conn, into[len(into):len(into)+next])
		if into = into[:len(into)+n]; err != nil {
			return into, err
		}
	}
	return into, nil
}

func noEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Part says that nothing more is sent. What still comes is received for a moment:
// a connection that is closed with something unread may take what was sent last
// with it.
func (m *Messages) Part() {
	m.silence.Store(0)
	// Whatever these say, the connection is given up.
	_ = m.conn.SetDeadline(time.Now().Add(partTime))
	if half, ok := m.conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// Drain reads what still comes after Part, and forgets it.
func (m *Messages) Drain() { _, _ = io.Copy(io.Discard, m.conn) }
