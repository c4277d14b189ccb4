package state

import "slices"

// Fork is a state of its own that begins as this one is now, for trying out
// what would become of it. It remembers no requests.
func (s *Store) Fork() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &Store{rows: s.rows, meta: s.meta, events: slices.Clip(s.events), requests: newRequests()}
}
