package check

import "bytes"

// Log is the one history that all replicas must follow. It is written by
// whoever applies an index first.
type Log struct {
	applied map[uint64]applied
	// acknowledged index of each request that a client was told about.
	acknowledged map[uint64]string
	// outcomes is the index that the outcome of each request names.
	outcomes map[string]uint64
	// highest index that was acknowledged.
	highest uint64
	newest  uint64
}

// applied is what became of one index.
type applied struct {
	node      string
	entry     uint64
	requestID string
	// state hash after it; 0 when it was not seen.
	state uint64
}

// NewLog returns an empty history.
func NewLog() *Log {
	return &Log{applied: map[uint64]applied{}, acknowledged: map[uint64]string{}, outcomes: map[string]uint64{}}
}

// Applied tells that a node applied an entry, with a digest of the entry and
// the hash of the state after it.
func (l *Log) Applied(node string, index, entry, state uint64, requestID string) *Violation {
	l.newest = max(l.newest, index)
	first, known := l.applied[index]
	if !known {
		l.applied[index] = applied{node: node, entry: entry, requestID: requestID, state: state}
		return l.checkAcknowledged(index, requestID, node)
	}
	if first.entry != entry {
		if index <= l.highest {
			return violated(NothingLost, "%s applied another entry at %d than %s, and %d was acknowledged",
				node, index, first.node, l.highest)
		}
		return violated(SameLog, "%s and %s applied different entries at %d", first.node, node, index)
	}
	if first.state != state {
		return violated(SameState, "after %d %s has state %x, %s has %x", index, first.node, first.state, node, state)
	}
	return nil
}

func (l *Log) checkAcknowledged(index uint64, requestID, node string) *Violation {
	if told, ok := l.acknowledged[index]; ok && told != requestID {
		return violated(NothingLost, "%s applied %q at %d, where %q was acknowledged", node, requestID, index, told)
	}
	return nil
}

// Restored tells that a node took over a whole state.
func (l *Log) Restored(node string, index, state uint64) *Violation {
	first, known := l.applied[index]
	if known && first.state != state {
		return violated(SameState, "%s restored state %x at %d, %s had %x", node, state, index, first.node, first.state)
	}
	return nil
}

// SameSnapshot holds the snapshot that a node has made against that of another one of
// the same state.
func SameSnapshot(node string, index uint64, made, other []byte) *Violation {
	if !bytes.Equal(made, other) {
		return violated(SameState, "the snapshot of %s at %d is not that of another replica with the same state", node, index)
	}
	return nil
}

// Acknowledged tells that a client was told that its request is in the log.
func (l *Log) Acknowledged(requestID string, index uint64) *Violation {
	l.highest = max(l.highest, index)
	l.acknowledged[index] = requestID
	first, known := l.applied[index]
	if !known {
		return violated(NothingLost, "%q was acknowledged at %d, which nobody applied", requestID, index)
	}
	if first.requestID != requestID {
		return violated(NothingLost, "%q was acknowledged at %d, where %q is", requestID, index, first.requestID)
	}
	return nil
}

// Decided tells that the state gave an outcome to a request, with the index at
// which it says that the request happened.
func (l *Log) Decided(requestID string, index uint64) *Violation {
	if first, known := l.outcomes[requestID]; known && first != index {
		return violated(Once, "%q happened at %d, and once more at %d", requestID, first, index)
	}
	l.outcomes[requestID] = index
	return nil
}

// Highest index that was acknowledged.
func (l *Log) Highest() uint64 { return l.highest }

// Newest index that any replica applied.
func (l *Log) Newest() uint64 { return l.newest }

// Read tells that a linearizable read was answered from the state at index; at
// its beginning, before was the highest acknowledged index.
func (l *Log) Read(node string, before, index uint64) *Violation {
	if index < before {
		return violated(FreshReads, "%s answered from %d, though %d was acknowledged before the read began", node, index, before)
	}
	return nil
}

// BoundedLog tells whether a log holds more entries than it may.
func BoundedLog(entries, most int) *Violation {
	if entries > most {
		return violated(Bounded, "a log holds %d entries, %d at most", entries, most)
	}
	return nil
}

// BoundedState tells whether a state takes more bytes than it may.
func BoundedState(bytes, most int) *Violation {
	if bytes > most {
		return violated(Bounded, "a state takes %d bytes, %d at most", bytes, most)
	}
	return nil
}

// Leaders remembers who led each term.
type Leaders struct{ terms map[uint64]string }

// NewLeaders returns an empty record.
func NewLeaders() *Leaders { return &Leaders{terms: map[uint64]string{}} }

// Leads tells that a node is leader of a term.
func (l *Leaders) Leads(node string, term uint64) *Violation {
	other, known := l.terms[term]
	if known && other != node {
		return violated(OneLeader, "both %s and %s lead term %d", other, node, term)
	}
	l.terms[term] = node
	return nil
}

// Terms that had a leader.
func (l *Leaders) Terms() int { return len(l.terms) }
