// Package ledger is what a node must run, as the last orders said, kept on its
// own disk: with no coordinator in reach, also after a power cut, the node goes
// on from here. It also keeps the newest order ever seen, and the peer book.
package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const fileName = "assignments.pb"

// Ledger is safe for concurrent use.
type Ledger struct {
	files env.FS
	path  string

	mu      sync.RWMutex
	current *sitev1.Assignments
	changed chan struct{}
}

// Open reads the ledger below the agent's state directory.
func Open(files env.FS, stateDir string) (*Ledger, error) {
	dir := filepath.Join(stateDir, "ledger")
	if err := files.MkdirAll(dir, 0o700); err != nil {
		return nil, problem.New(problem.Internal, dir, "the ledger cannot be made: %w", err)
	}
	l := &Ledger{files: files, path: filepath.Join(dir, fileName), changed: make(chan struct{})}
	encoded, err := files.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	read := &sitev1.Assignments{}
	if err == nil {
		err = proto.Unmarshal(encoded, read)
	}
	if err != nil {
		return nil, problem.New(problem.Internal, l.path, "the ledger cannot be read: %w", err).
			WithHint("move the file away and start the agent again: it gets its orders from the coordinator; running work is not touched")
	}
	l.current = read
	return l, nil
}

// Current is what the node must run; nil before the first orders. It must not
// be changed.
func (l *Ledger) Current() *sitev1.Assignments {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.current
}

// Changed is closed at the next change.
func (l *Ledger) Changed() <-chan struct{} {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.changed
}

// Accept takes over new orders, durably; they may be acted upon when it
// returns. Orders lower than the newest ever seen are refused: they come from
// a coordinator that has been replaced (SAFETY, rule 1).
func (l *Ledger) Accept(orders *sitev1.Assignments) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seen := l.current.GetOrder(); Lower(orders.GetOrder(), seen) {
		return problem.New(problem.Conflict, "orders", "order %s is older than %s, which this node has seen",
			text(orders.GetOrder()), text(seen))
	}
	encoded, err := proto.Marshal(orders)
	if err != nil {
		return err
	}
	if err := l.files.WriteFile(l.path, encoded, 0o600); err != nil {
		return problem.New(problem.Internal, l.path, "the orders could not be kept: %w", err).
			WithHint("is the disk full? the node goes on with its last orders")
	}
	l.current = orders
	close(l.changed)
	l.changed = make(chan struct{})
	return nil
}

// Lower tells whether an order is older than another.
func Lower(a, b *sitev1.Order) bool {
	if a.GetSiteEpoch() != b.GetSiteEpoch() {
		return a.GetSiteEpoch() < b.GetSiteEpoch()
	}
	if a.GetTerm() != b.GetTerm() {
		return a.GetTerm() < b.GetTerm()
	}
	return a.GetIndex() < b.GetIndex()
}

func text(o *sitev1.Order) string {
	return fmt.Sprintf("%d.%d/%d", o.GetSiteEpoch(), o.GetTerm(), o.GetIndex())
}
