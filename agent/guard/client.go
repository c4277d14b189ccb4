package guard

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// answerTime is how long a guard may take for an answer; one that takes longer is
// as good as none.
const answerTime = time.Second

// Client asks the guard of this machine. It is safe for concurrent use.
type Client struct {
	// Dir is the agent's run directory.
	Dir string
	// Run of the machine.
	Run string
	Net env.Net
	// Now is the machine's wall clock.
	Now func() time.Time

	mu   sync.Mutex
	conn net.Conn
}

// Check tells whether a guard is there and understands this agent. Unlike an
// error, old says that there is one that does not.
func (c *Client) Check(ctx context.Context) (old bool, err error) {
	answer, err := c.ask(ctx, "hello")
	if err != nil {
		return false, err
	}
	if answer != version+" "+c.Run {
		return true, problem.New(problem.Conflict, "guard", "it is of another version, or of another run of this machine")
	}
	return false, nil
}

// Arm guards an instance until its lease ends. It returns when it is killed
// unless it is armed again.
func (c *Client) Arm(ctx context.Context, id, target string, until, lease time.Duration) (time.Duration, error) {
	return c.arm(ctx, "arm", id, target, until, lease)
}

// Anew guards what the guard ended before it began. What the guard keeps frozen is
// thawed first, so that it looks once more, and the runtime can start it.
func (c *Client) Anew(ctx context.Context, id, target string, until, lease time.Duration) (time.Duration, error) {
	if err := c.Thaw(ctx, id); err != nil {
		return 0, err
	}
	return c.arm(ctx, "anew", id, target, until, lease)
}

func (c *Client) arm(ctx context.Context, verb, id, target string, until, lease time.Duration) (time.Duration, error) {
	for _, word := range []string{id, target} {
		if err := checkWord(word); err != nil {
			return 0, err
		}
	}
	answer, err := c.ask(ctx, fmt.Sprintf("%s %s %s %d %d", verb, id, target, until, lease))
	if err != nil {
		return 0, err
	}
	return number(answer)
}

// Drop tells that nothing of an instance is left, nor will be.
func (c *Client) Drop(ctx context.Context, id string) error {
	_, err := c.ask(ctx, "drop "+id)
	return err
}

// Thaw lets the runtime remove what was killed.
func (c *Client) Thaw(ctx context.Context, id string) error {
	_, err := c.ask(ctx, "thaw "+id)
	return err
}

// List is what is guarded.
func (c *Client) List(ctx context.Context) ([]Entry, error) {
	var entries []Entry
	for i := range maxGuarded {
		answer, err := c.ask(ctx, fmt.Sprintf("list %d", i))
		if err != nil {
			return nil, err
		}
		entry, ok := parseEntry(answer)
		if !ok {
			break // the end
		}
		entries = append(entries, entry)
	}
	return entries, nil
}

// End the guard. What it holds, the next one takes over.
func (c *Client) End(ctx context.Context) error {
	_, err := c.ask(ctx, "end")
	return err
}

// Close the connection.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hangUp()
}

func (c *Client) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close() // nothing is on its way
		c.conn = nil
	}
}

// ask one question, on a new connection if there is none.
func (c *Client) ask(ctx context.Context, request string) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	answer, err := c.exchange(ctx, request)
	if err != nil {
		c.hangUp()
		return "", problem.New(problem.Unavailable, "guard", "no guard answers on this machine: %w", err).
			WithHint("skerry guard ends exclusive placements when their leases end; without it none is started here")
	}
	if refused, is := strings.CutPrefix(answer, "no "); is {
		return "", problem.New(problem.Conflict, "", "the guard refuses: %s", refused)
	}
	return strings.TrimPrefix(strings.TrimPrefix(answer, "ok"), " "), nil
}

func (c *Client) exchange(ctx context.Context, request string) (string, error) {
	if c.conn == nil {
		conn, err := c.Net.Dial(ctx, "unixpacket", filepath.Join(c.Dir, SocketName))
		if err != nil {
			return "", err
		}
		c.conn = conn
	}
	if err := c.conn.SetDeadline(c.Now().Add(answerTime)); err != nil {
		return "", err
	}
	if _, err := c.conn.Write([]byte(request)); err != nil {
		return "", err
	}
	packet := make([]byte, maxPacket)
	n, err := c.conn.Read(packet)
	if err != nil {
		return "", err
	}
	return string(packet[:n]), nil
}
