package hosts

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Witness stands outside of the site: what runs in it (chaos/hosts/beater) tells
// it again and again that it lives.
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
		w.sign(lines.Text(), time.Now())
	}
	_ = conn.Close() // it has ended
}

func (w *Witness) sign(name string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.lives, func(l *Life) bool { return l.Name == name })
	if i < 0 {
		w.lives = append(w.lives, &Life{Name: name, First: now})
		i = len(w.lives) - 1
	}
	w.lives[i].Last = now
}

// Lives that were seen so far, in the order of their first signs.
func (w *Witness) Lives() []Life {
	w.mu.Lock()
	defer w.mu.Unlock()
	var lives []Life
	for _, l := range w.lives {
		lives = append(lives, *l)
	}
	return lives
}

// Overlaps are the pairs that lived at the same time.
func (w *Witness) Overlaps() []string {
	lives := w.Lives()
	var found []string
	for i, a := range lives {
		for _, b := range lives[i+1:] {
			if both := minTime(a.Last, b.Last).Sub(b.First); both > 0 {
				found = append(found, fmt.Sprintf("%s and %s lived together for %s", a.Name, b.Name, both))
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
		fmt.Fprintf(&text, "%s from %s to %s\n", l.Name, l.First.Format("15:04:05.000"), l.Last.Format("15:04:05.000"))
	}
	return text.String()
}
