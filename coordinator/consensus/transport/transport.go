// Package transport carries raft's messages between voters: one connection per
// peer and direction, length-prefixed protobuf messages, snapshots on a
// connection of their own so that heartbeats pass them.
//
// It loses messages rather than block; raft repeats them. Who the peer is, the
// connections that it is given have settled.
package transport

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"skerry.dev/shared/env"
)

const (
	// maxQueued messages wait for one peer.
	maxQueued = 1024
	// maxFrame bounds one message in bytes; only snapshots come near.
	maxFrame     = 256 << 20
	dialTimeout  = time.Second
	writeTimeout = 5 * time.Second
	// snapshotTimeout bounds the sending of one snapshot.
	snapshotTimeout = 2 * time.Minute
	// redialAfter a failure.
	redialAfter = 100 * time.Millisecond
	// idleAfter a connection without messages is closed; voters exchange
	// heartbeats all the time.
	idleAfter  = 30 * time.Second
	bufferSize = 64 << 10
)

// Config of a transport. All fields are required.
type Config struct {
	// Dial connects to the replica with the raft ID.
	Dial func(ctx context.Context, id uint64) (net.Conn, error)
	// Receive takes in a message; it must not block.
	Receive func(*raftpb.Message)
	// Unreachable and Snapshot tell raft how sending went.
	Unreachable func(ctx context.Context, id uint64)
	Snapshot    func(ctx context.Context, id uint64, ok bool)
	Clock       env.Clock
	Logger      *slog.Logger
}

// Transport sends while Run runs.
type Transport struct {
	config Config

	mu    sync.Mutex
	ctx   context.Context // of Run; nil when it does not run
	work  sync.WaitGroup
	peers map[uint64]*peer
}

type peer struct {
	id        uint64
	queue     chan *raftpb.Message
	snapshots chan *raftpb.Message
}

// New returns a transport.
func New(config Config) *Transport {
	return &Transport{config: config, peers: map[uint64]*peer{}}
}

// Run lets messages flow until ctx ends, and waits for all its connections.
func (t *Transport) Run(ctx context.Context) error {
	t.mu.Lock()
	t.ctx = ctx
	t.mu.Unlock()
	<-ctx.Done()
	t.mu.Lock()
	t.ctx = nil
	t.mu.Unlock()
	t.work.Wait()
	return ctx.Err()
}

// Send queues messages; those for a peer whose queue is full are lost.
func (t *Transport) Send(messages []*raftpb.Message) {
	for _, message := range messages {
		p := t.peer(message.GetTo())
		if p == nil {
			continue
		}
		queue := p.queue
		if message.GetType() == raftpb.MsgSnap {
			queue = p.snapshots
		}
		select {
		case queue <- message:
		default:
			t.config.Logger.Debug("a raft message was dropped: the peer is slow", "to", message.GetTo())
		}
	}
}

// peer returns the queues to a replica, and starts their senders.
func (t *Transport) peer(id uint64) *peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ctx == nil || id == 0 {
		return nil
	}
	p := t.peers[id]
	if p == nil {
		p = &peer{id: id, queue: make(chan *raftpb.Message, maxQueued), snapshots: make(chan *raftpb.Message, 1)}
		t.peers[id] = p
		ctx := t.ctx
		t.work.Go(func() { t.sendQueue(ctx, p) })
		t.work.Go(func() { t.sendSnapshots(ctx, p) })
	}
	return p
}

// sendQueue dials when there is something to send, and again after failures.
func (t *Transport) sendQueue(ctx context.Context, p *peer) {
	for ctx.Err() == nil {
		select {
		case message := <-p.queue:
			if err := t.sendOn(ctx, p, message); err != nil {
				t.config.Logger.Debug("messages to a voter were lost", "to", p.id, "error", err)
				t.config.Unreachable(ctx, p.id)
				drop(p.queue)
				if env.Sleep(ctx, t.config.Clock, redialAfter) != nil {
					return
				}
			}
		case <-ctx.Done():
		}
	}
}

// sendOn sends on one connection until it fails or falls idle.
func (t *Transport) sendOn(ctx context.Context, p *peer, first *raftpb.Message) error {
	conn, err := t.dial(ctx, p.id)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing is owed to the peer any more
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	writer := bufio.NewWriterSize(conn, bufferSize)
	idle := t.config.Clock.NewTimer(idleAfter)
	defer idle.Stop()
	for message := first; ; {
		if err := conn.SetWriteDeadline(t.config.Clock.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if err := writeFrame(writer, message); err != nil {
			return err
		}
		if len(p.queue) == 0 {
			if err := writer.Flush(); err != nil {
				return err
			}
		}
		idle.Reset(idleAfter)
		select {
		case message = <-p.queue:
		case <-idle.C():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

func (t *Transport) dial(ctx context.Context, id uint64) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return t.config.Dial(ctx, id)
}

func (t *Transport) sendSnapshots(ctx context.Context, p *peer) {
	for {
		select {
		case message := <-p.snapshots:
			err := t.sendSnapshot(ctx, p.id, message)
			if err != nil {
				t.config.Logger.Warn("a snapshot did not get to a voter; it is sent again", "to", p.id, "error", err)
			}
			t.config.Snapshot(ctx, p.id, err == nil)
		case <-ctx.Done():
			return
		}
	}
}

func (t *Transport) sendSnapshot(ctx context.Context, id uint64, message *raftpb.Message) error {
	conn, err := t.dial(ctx, id)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // the frame is flushed, or lost
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	if err := conn.SetDeadline(t.config.Clock.Now().Add(snapshotTimeout)); err != nil {
		return err
	}
	writer := bufio.NewWriterSize(conn, bufferSize)
	if err := writeFrame(writer, message); err != nil {
		return err
	}
	return writer.Flush()
}

func drop(queue chan *raftpb.Message) {
	for {
		select {
		case <-queue:
		default:
			return
		}
	}
}

// Serve receives what a peer sends until the connection ends. isFrom tells
// whether a raft ID is that of the peer: nobody speaks for another.
func (t *Transport) Serve(ctx context.Context, conn net.Conn, isFrom func(id uint64) bool) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	reader := bufio.NewReaderSize(conn, bufferSize)
	for {
		message, err := readFrame(reader)
		if err != nil {
			return err
		}
		if !isFrom(message.GetFrom()) {
			return fmt.Errorf("a message claims to be from replica %d, which the peer is not", message.GetFrom())
		}
		t.config.Receive(message)
	}
}

func writeFrame(w io.Writer, message *raftpb.Message) error {
	frame, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, 4, 512), message)
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	_, err = w.Write(frame)
	return err
}

func readFrame(r io.Reader) (*raftpb.Message, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxFrame {
		return nil, fmt.Errorf("a message of %d bytes is larger than %d", size, maxFrame)
	}
	// It grows with what really comes: a size alone costs nothing.
	body := bytes.NewBuffer(make([]byte, 0, min(size, bufferSize)))
	if _, err := io.CopyN(body, r, int64(size)); err != nil {
		return nil, err
	}
	message := &raftpb.Message{}
	return message, proto.Unmarshal(body.Bytes(), message)
}
