// Package queue keeps changes on this node's disk that operators made while no
// coordinator was in reach, each sealed in a file of its own, until they were sent.
//
// It believes nothing of what is in a change: the coordinator does, by the
// operator's signature.
package queue

import (
	"bytes"
	"cmp"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"

	"skerry.dev/agent/seal"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/deferred"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// maxWaiting changes, of maxBytes in all.
	maxWaiting = 64
	maxBytes   = 4 << 20
	suffix     = ".sealed"
)

// Queue is safe for concurrent use.
type Queue struct {
	node  string
	files env.FS
	seal  *seal.Sealer
	dir   string

	mu      sync.Mutex
	waiting []*item // oldest first
	size    int
}

// item is one change.
type item struct {
	signed *skerryv1.SignedChange
	shown  *skerryv1.QueuedChange
	size   int
	// sending: the coordinator may have it by now.
	sending bool
}

// Open reads what waits. damaged names files that do not open; they stay where
// they are.
func Open(files env.FS, sealer *seal.Sealer, dir, node string) (q *Queue, damaged []string, err error) {
	q = &Queue{node: node, files: files, seal: sealer, dir: dir}
	if err := files.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, problem.New(problem.Internal, dir, "what is queued cannot be kept: %w", err)
	}
	names, err := files.ReadDir(dir)
	if err != nil {
		return nil, nil, problem.New(problem.Internal, dir, "what is queued cannot be read: %w", err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		read, err := q.read(filepath.Join(dir, name))
		if err != nil {
			damaged = append(damaged, name)
			continue
		}
		q.waiting = append(q.waiting, read)
		q.size += read.size
	}
	slices.SortStableFunc(q.waiting, func(a, b *item) int {
		return cmp.Or(a.shown.GetQueued().AsTime().Compare(b.shown.GetQueued().AsTime()), cmp.Compare(a.shown.GetRequestId(), b.shown.GetRequestId()))
	})
	return q, damaged, nil
}

func (q *Queue) read(path string) (*item, error) {
	encoded, err := q.seal.ReadFile(q.files, path)
	if err != nil {
		return nil, err
	}
	signed := &skerryv1.SignedChange{}
	if err := proto.Unmarshal(encoded, signed); err != nil {
		return nil, err
	}
	change, _, err := deferred.Open(signed)
	if err != nil {
		return nil, err
	}
	return &item{signed: signed, shown: deferred.Shown(change, q.node), size: len(encoded)}, nil
}

func (q *Queue) path(id string) string { return filepath.Join(q.dir, id+suffix) }

// Add implements deferred.Queue.
func (q *Queue) Add(signed *skerryv1.SignedChange) error {
	change, _, err := deferred.Open(signed)
	if err != nil {
		return err
	}
	encoded, err := proto.Marshal(signed)
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if i := q.find(change.GetRequestId()); i >= 0 {
		if bytes.Equal(q.waiting[i].signed.GetChange(), signed.GetChange()) {
			return nil // it is repeated
		}
		return problem.New(problem.Conflict, "change", "its ID was used for another change").WithField("requestId")
	}
	shown := deferred.Shown(change, q.node)
	if err := q.free(shown); err != nil {
		return err
	}
	if len(q.waiting) >= maxWaiting || q.size+len(encoded) > maxBytes {
		return problem.New(problem.Exhausted, "queue", "%d changes wait on %s, which is all that it keeps", len(q.waiting), q.node).
			WithHint("withdraw some (skerry get queued, skerry delete queued ID), or bring it into reach of the coordinator")
	}
	if err := q.seal.WriteFile(q.files, q.path(change.GetRequestId()), encoded); err != nil {
		return problem.New(problem.Internal, "queue", "%s cannot keep it: %w", q.node, err).WithHint("is the disk full?")
	}
	q.waiting = append(q.waiting, &item{signed: signed, shown: shown, size: len(encoded)})
	q.size += len(encoded)
	return nil
}

// free refuses a second change of one thing: when the first is made, what the second
// knew is old, and it would be refused after its operator has gone home. It needs mu.
func (q *Queue) free(shown *skerryv1.QueuedChange) error {
	for _, waiting := range q.waiting {
		for _, resource := range waiting.shown.GetResources() {
			if slices.Contains(shown.GetResources(), resource) {
				return problem.New(problem.Conflict, resource, "a change of it waits on %s already, as %s: of two the older would be made and the newer refused",
					q.node, waiting.shown.GetRequestId()).
					WithHint("withdraw that one first (skerry delete queued %s), or wait until it is made", waiting.shown.GetRequestId())
			}
		}
	}
	return nil
}

// Waiting implements deferred.Queue.
func (q *Queue) Waiting() []*skerryv1.QueuedChange {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all []*skerryv1.QueuedChange
	for _, waiting := range q.waiting {
		all = append(all, waiting.shown)
	}
	return all
}

// Withdraw implements deferred.Queue.
func (q *Queue) Withdraw(id string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := q.find(id)
	if i < 0 {
		return nil
	}
	if q.waiting[i].sending {
		return problem.New(problem.Conflict, "queued/"+id, "it is being sent to the coordinator").
			WithHint("skerry get queued shows what became of it")
	}
	return q.remove(i)
}

// Next is the oldest change that waits, to be sent; nil when there is none. It
// cannot be withdrawn until Sent is called.
func (q *Queue) Next() *skerryv1.SignedChange {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil
	}
	q.waiting[0].sending = true
	return q.waiting[0].signed
}

// Sent ends what Next began: the oldest change was decided and is forgotten, or it
// waits on, and why.
func (q *Queue) Sent(decided bool, why string) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	first := q.waiting[0]
	if decided {
		return q.remove(0)
	}
	first.sending = false
	shown := proto.CloneOf(first.shown)
	shown.Reason = why
	first.shown = shown
	return nil
}

// find needs mu.
func (q *Queue) find(id string) int {
	return slices.IndexFunc(q.waiting, func(i *item) bool { return i.shown.GetRequestId() == id })
}

// remove needs mu.
func (q *Queue) remove(i int) error {
	gone := q.waiting[i]
	if err := q.files.Remove(q.path(gone.shown.GetRequestId())); err != nil {
		return problem.New(problem.Internal, "queue", "%s cannot forget it: %w", q.node, err)
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	q.size -= gone.size
	return nil
}
