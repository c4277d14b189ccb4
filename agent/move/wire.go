package move

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"sync"
	"time"

	"skerry.dev/shared/problem"
)

const (
	// maxMessage between the two ends, in bytes.
	maxMessage = 4 << 20
	// stuckTime is how long a stream may take to pass on what it has, and helloTime
	// how long one may take to say what it is.
	stuckTime = 10 * time.Second
	helloTime = 10 * time.Second
	chunk     = 256 << 10
)

// Kinds of streams.
const (
	// begin is the stream on which a move is spoken of: hello with an offer, its
	// answer, finish, and what came of that.
	begin = "begin"
	// status asks what became of an attempt.
	status = "status"
	// memory and disks carry what QEMU sends.
	memory = "memory"
	disks  = "disks"
)

// hello is the first message of every stream.
type hello struct {
	Kind      string `json:"kind"`
	Project   string `json:"project"`
	Placement string `json:"placement"`
	Attempt   uint64 `json:"attempt"`
	Offer     []byte `json:"offer,omitempty"`
}

// reply to a hello or a finish.
type reply struct {
	Answer []byte `json:"answer,omitempty"`
	// Here: it runs at the target. Gone: it does not, and never will in this attempt.
	Here bool `json:"here,omitempty"`
	Gone bool `json:"gone,omitempty"`
	// Why not.
	Why string `json:"why,omitempty"`
}

// finish asks the target to let it run.
type finish struct {
	Rest []byte `json:"rest"`
}

func send(conn net.Conn, message any) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	_, err = conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(text))), text...))
	return err
}

func receive(conn net.Conn, message any) error {
	var length [4]byte
	if _, err := io.ReadFull(conn, length[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint32(length[:])
	if n > maxMessage {
		return problem.New(problem.Invalid, "move", "a message of %d bytes is too long", n)
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(conn, text); err != nil {
		return err
	}
	return json.Unmarshal(text, message)
}

// join two connections until one of them ends, or nothing gets through any more.
func join(ctx context.Context, now func() time.Time, a, b net.Conn) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { _, _ = a.Close(), b.Close() })
	defer stop()
	var both sync.WaitGroup
	both.Go(func() { defer cancel(); pass(now, a, b) })
	both.Go(func() { defer cancel(); pass(now, b, a) })
	both.Wait()
	_, _ = a.Close(), b.Close()
}

func pass(now func() time.Time, to, from net.Conn) {
	buffer := make([]byte, chunk)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if to.SetWriteDeadline(now().Add(stuckTime)) != nil {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
