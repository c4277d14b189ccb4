package image

import (
	"context"
	"io"
	"sync"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

// Shelf is a store from which images are removed as well. While something is put
// into it nothing is removed, and the other way round.
type Shelf struct {
	runtime.ImageStore

	// using is held for reading by who puts in.
	using sync.RWMutex
	mu    sync.Mutex
	// fresh were put in since they were last asked for.
	fresh   map[string]bool
	removed uint64
}

// NewShelf over a store.
func NewShelf(store runtime.ImageStore) *Shelf {
	return &Shelf{ImageStore: store, fresh: map[string]bool{}}
}

// Import implements runtime.ImageStore.
func (s *Shelf) Import(ctx context.Context, content io.Reader, name string) ([]runtime.StoredImage, error) {
	s.using.RLock()
	defer s.using.RUnlock()
	stored, err := s.ImageStore.Import(ctx, content, name)
	for _, i := range stored {
		s.refresh(i.Digest)
	}
	return stored, err
}

// Complete implements runtime.ImageStore.
func (s *Shelf) Complete(ctx context.Context, name, digest string) error {
	s.refresh(digest)
	return s.ImageStore.Complete(ctx, name, digest)
}

func (s *Shelf) refresh(digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fresh[digest] = true
}

// TakeFresh returns what was put in since the last call.
func (s *Shelf) TakeFresh() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := s.fresh
	s.fresh = map[string]bool{}
	return fresh
}

// Removed rises with each image that is removed, or might have been.
func (s *Shelf) Removed() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.removed
}

// Remove an image, if may says so at a moment at which nobody puts anything in, and
// it was not put in again. Somebody who puts something in is an error of kind
// Conflict: then nothing waits.
func (s *Shelf) Remove(ctx context.Context, digest string, may func() bool) error {
	if !s.using.TryLock() {
		return problem.New(problem.Conflict, "Image/"+digest, "images are loaded or fetched now")
	}
	defer s.using.Unlock()
	s.mu.Lock()
	fresh := s.fresh[digest]
	s.removed++ // before may: orders that come after it find the count changed
	s.mu.Unlock()
	if fresh || !may() {
		return problem.New(problem.Conflict, "Image/"+digest, "it is needed again")
	}
	return s.RemoveImage(ctx, digest)
}
