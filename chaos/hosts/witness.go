package hosts

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Witness stands outside of the site: what runs in it (chaos/hosts/beater) tells
// it again and again that it lives, and how often it has told so.
type Witness struct {
	// Address at which it listens, host:port.
	Address string

	listener net.Listener
	group    sync.WaitGroup
	mu       sync.Mutex
	lives    []*Life
	conns    []net.Conn
}

// Life of one process, from the first to the last sign of it.
type Life struct {
	Name        string
	First, Last time.Time
	// Counts that came by each connection, in the order in which they were opened.
	// A machine that moves goes on counting where it was, on another connection; two
	// copies of it count the same twice.
	Counts []Count
}

// Count is what a process had counted at the first and at the last sign by one
// connection.
type Count struct {
	First, Last uint64

	conn net.Conn
}

// NewWitness listens in the operators' namespace, which no cut concerns.
func (r *Rig) NewWitness(ctx context.Context) (*Witness, error) {
	w := &Witness{Address: net.JoinHostPort(r.address(1), "9900")}
	listener, err := namespaceNet{r.Namespace()}.Listen(ctx, "tcp", w.Address)
	if err != nil {
		return nil, err
	}
	w.listener = listener
	w.group.Go(w.accept)
	return w, nil
}

// Close ends it.
func (w *Witness) Close() error {
	err := w.listener.Close()
	w.mu.Lock()
	for _, conn := range w.conns {
		_ = conn.Close() // nobody listens any more
	}
	w.mu.Unlock()
	w.group.Wait()
	return err
}

func (w *Witness) accept() {
	for {
		conn, err := w.listener.Accept()
		if err != nil {
			return
		}
		w.mu.Lock()
		w.conns = append(w.conns, conn)
		w.mu.Unlock()
		w.group.Go(func() { w.listen(conn) })
	}
}

func (w *Witness) listen(conn net.Conn) {
	for lines := bufio.NewScanner(conn); lines.Scan(); {
		name, text, _ := strings.Cut(lines.Text(), " ")
		count, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			break // a line that was cut short, or no beater
		}
		w.sign(conn, name, count, time.Now())
	}
	_ = conn.Close() // it has ended
}

func (w *Witness) sign(conn net.Conn, name string, count uint64, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.lives, func(l *Life) bool { return l.Name == name })
	if i < 0 {
		w.lives = append(w.lives, &Life{Name: name, First: now})
		i = len(w.lives) - 1
	}
	l := w.lives[i]
	l.Last = now
	i = slices.IndexFunc(l.Counts, func(c Count) bool { return c.conn == conn })
	if i < 0 {
		l.Counts = append(l.Counts, Count{First: count, conn: conn})
		i = len(l.Counts) - 1
	}
	l.Counts[i].Last = count
}

// Lives that were seen so far, in the order of their first signs.
func (w *Witness) Lives() []Life {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lives []Life
	for _, l := range w.lives {
		copied := *l
		copied.Counts = slices.Clone(l.Counts)
		lives = append(lives, copied)
	}
	return lives
}

// Overlaps are the pairs that lived at the same time, and the copies of one that
// lived both.
func (w *Witness) Overlaps() []string {
	lives := w.Lives()
	var found []string
	for i, a := range lives {
		found = append(found, a.twice()...)
		for _, b := range lives[i+1:] {
			if both := minTime(a.Last, b.Last).Sub(b.First); both > 0 {
				found = append(found, fmt.Sprintf("%s and %s lived together for %s", a.Name, b.Name, both))
			}
		}
	}
	return found
}

// twice are the parts of a life that were lived by two copies. Their counts say
// so, whenever they came.
func (l Life) twice() (found []string) {
	for i, a := range l.Counts {
		for _, b := range l.Counts[i+1:] {
			if a.First <= b.Last && b.First <= a.Last {
				found = append(found, fmt.Sprintf("two copies of %s lived: one counted from %d to %d, the other one from %d to %d", l.Name, a.First, a.Last, b.First, b.Last))
			}
		}
	}
	return found
}

func minTime(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// Tell of the lives, for people.
func (w *Witness) Tell() string {
	var text strings.Builder
	for _, l := range w.Lives() {
		fmt.Fprintf(&text, "%s from %s to %s, %d connections\n", l.Name, l.First.Format("15:04:05.000"), l.Last.Format("15:04:05.000"), len(l.Counts))
	}
	return text.String()
}
