package supervisor

// Hold an instance for a move; false when something is done to it.
func (s *Supervisor) Hold(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.Hold(id)
}

// Release it.
func (s *Supervisor) Release(id string) {
	s.mu.Lock()
	s.core.Release(id)
	s.announce()
	s.mu.Unlock()
	poke(s.look)
	poke(s.wake)
}

// Tell people of an instance that moves.
func (s *Supervisor) Tell(id, message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.core.Tell(id, message)
	s.announce()
}

// Failed notes that an attempt was not handed over.
func (s *Supervisor) Failed(id string, attempt uint64, why string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.core.MoveFailed(id, attempt, why)
	s.announce()
}

// HasFailed tells whether that was noted.
func (s *Supervisor) HasFailed(id string, attempt uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.HasFailed(id, attempt)
}

// IsHere: what moves was not handed over, or has come.
func (s *Supervisor) IsHere(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.IsHere(id)
}

// IsLeaving: another node may run it.
func (s *Supervisor) IsLeaving(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.core.IsLeaving(id)
}
