// Package ledger is what a node must run, as the last orders said, kept on its
// own disk: with no coordinator in reach, also after a power cut, the node goes
// on from here. It also keeps the newest order ever seen, and the peer book.
package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

const (
	ordersFile = "assignments.pb"
	// bookFile holds what is needed to find the site again without orders.
	bookFile = "book.pb"
	// timeFile holds the newest stamp of site time.
	timeFile = "time.pb"
	// endpointsFile holds what DNS answers from.
	endpointsFile = "endpoints.pb"
)

// Ledger is safe for concurrent use.
type Ledger struct {
	files env.FS
	dir   string

	// writing is held by whoever changes what is on disk, from reading what is believed
	// to believing something else. It is taken before mu.
	writing sync.Mutex
	book    *sitev1.Assignments // needs writing
	names   *sitev1.EndpointCopy

	// mu is never held over the disk: who runs by what is believed, leases first of all,
	// must not wait for it.
	mu      sync.RWMutex
	current *sitev1.Assignments
	stamp   sitetime.Stamp
	begun   []string
	changed chan struct{}
}

// Open reads the ledger below the agent's state directory.
func Open(files env.FS, stateDir string) (*Ledger, error) {
	dir := filepath.Join(stateDir, "ledger")
	if err := files.MkdirAll(dir, 0o700); err != nil {
		return nil, problem.New(problem.Internal, dir, "the ledger cannot be made: %w", err)
	}
	l := &Ledger{files: files, dir: dir, changed: make(chan struct{})}
	var err error
	if l.current, err = read(files, filepath.Join(dir, ordersFile)); err != nil {
		return nil, problem.New(problem.Internal, filepath.Join(dir, ordersFile), "the ledger cannot be read: %w", err).
			WithHint("move the file away and start the agent again: it gets its orders from the coordinator; running work is not touched")
	}
	if l.begun, err = readBegun(files, filepath.Join(dir, leasesFile)); err != nil {
		return nil, problem.New(problem.Internal, filepath.Join(dir, leasesFile), "the ledger cannot be read: %w", err).
			WithHint("what is exclusive on this node must be stopped; then move the file away and start the agent again")
	}
	// A book or a stamp that is lost is written again soon.
	l.book, _ = read(files, filepath.Join(dir, bookFile))
	l.names = readEndpoints(files, filepath.Join(dir, endpointsFile))
	l.stamp, _ = readStamp(files, filepath.Join(dir, timeFile))
	if l.current == nil {
		l.current = l.book
	}
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
	l.writing.Lock()
	defer l.writing.Unlock()
	current := l.Current()
	if seen := current.GetOrder(); Lower(orders.GetOrder(), seen) {
		return problem.New(problem.Conflict, "orders", "order %s is older than %s, which this node has seen",
			text(orders.GetOrder()), text(seen))
	}
	orders = keepSecrets(orders, current)
	if err := l.keep(orders); err != nil {
		return problem.New(problem.Internal, l.dir, "the orders could not be kept: %w", err).
			WithHint("is the disk full? the node goes on with its last orders")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = orders
	close(l.changed)
	l.changed = make(chan struct{})
	return nil
}

// keep writes the book, if it has changed, and the orders. It needs writing.
func (l *Ledger) keep(orders *sitev1.Assignments) error {
	book := &sitev1.Assignments{
		Peers: orders.GetPeers(), Trust: orders.GetTrust(), GossipKey: orders.GetGossipKey(), Gossip: orders.GetGossip(),
		Site: orders.GetSite(), SiteId: orders.GetSiteId(),
	}
	if !sameBook(book, l.book) {
		if err := write(l.files, filepath.Join(l.dir, bookFile), book); err != nil {
			return err
		}
		l.book = book
	}
	return write(l.files, filepath.Join(l.dir, ordersFile), orders)
}

// sameBook: orders that follow each other on a stream share peers and chain of trust
// while those stay as they are.
func sameBook(a, b *sitev1.Assignments) bool {
	shared := b != nil && slices.Equal(a.GetPeers(), b.GetPeers()) && slices.Equal(a.GetTrust(), b.GetTrust())
	if shared {
		return a.GetSite() == b.GetSite() && a.GetSiteId() == b.GetSiteId() && bytes.Equal(a.GetGossipKey(), b.GetGossipKey()) &&
			proto.Equal(a.GetGossip(), b.GetGossip())
	}
	return proto.Equal(a, b)
}

// Time is the newest stamp of site time that was kept; the zero stamp when there
// is none.
func (l *Ledger) Time() sitetime.Stamp {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.stamp
}

// KeepTime keeps a stamp of site time, durably. One that is not newer changes
// nothing.
func (l *Ledger) KeepTime(stamp sitetime.Stamp) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if !stamp.Newer(l.Time()) {
		return nil
	}
	if err := write(l.files, filepath.Join(l.dir, timeFile), stamp.Message()); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stamp = stamp
	return nil
}

// write stores a message behind its checksum.
func write(files env.FS, path string, message proto.Message) error {
	summed := make([]byte, sha256.Size, sha256.Size+proto.Size(message))
	summed, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(summed, message)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(summed[sha256.Size:])
	copy(summed, sum[:])
	return files.WriteFile(path, summed, 0o600)
}

// read is nil when there is no file.
func read(files env.FS, path string) (*sitev1.Assignments, error) {
	encoded, err := readSummed(files, path)
	if encoded == nil || err != nil {
		return nil, err
	}
	message := &sitev1.Assignments{}
	return message, proto.Unmarshal(encoded, message)
}

func readStamp(files env.FS, path string) (sitetime.Stamp, error) {
	encoded, err := readSummed(files, path)
	if encoded == nil || err != nil {
		return sitetime.Stamp{}, err
	}
	message := &sitev1.SiteClock{}
	if err := proto.Unmarshal(encoded, message); err != nil {
		return sitetime.Stamp{}, err
	}
	return sitetime.FromMessage(message), nil
}

// readSummed returns what a file holds behind its checksum; nil when there is
// no file.
func readSummed(files env.FS, path string) ([]byte, error) {
	stored, err := files.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if len(stored) < sha256.Size {
		return nil, errors.New("it is cut short")
	}
	encoded := stored[sha256.Size:]
	if sum := sha256.Sum256(encoded); !bytes.Equal(sum[:], stored[:sha256.Size]) {
		return nil, errors.New("its checksum does not match: it is damaged")
	}
	return encoded, nil
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
