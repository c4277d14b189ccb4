package sim

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// coreMachine holds registers, the last request of each client with the index at
// which it happened, and how many changes of the voters there were.
type coreMachine struct {
	host  *coreHost
	state coreState
}

type coreState struct {
	Index     uint64
	Chain     uint64
	Registers map[string]string
	Last      map[string]coreOutcome
	Changes   uint64
}

type coreOutcome struct {
	RequestID string
	Index     uint64
}

// Apply implements consensus.Machine: an entry's principal is "client register
// value".
func (m *coreMachine) Apply(index uint64, entry *sitev1.Entry) *sitev1.Outcome {
	id := entry.GetRequestId()
	client, rest, _ := strings.Cut(entry.GetPrincipal(), " ")
	register, value, _ := strings.Cut(rest, " ")
	s := &m.state
	outcome := coreOutcome{id, index}
	if s.Last[client].RequestID == id {
		outcome = s.Last[client]
	} else {
		if s.Registers == nil {
			s.Registers, s.Last = map[string]string{}, map[string]coreOutcome{}
		}
		s.forget(register)
		s.Registers[register], s.Last[client] = value, outcome
	}
	m.applied(index, digest([]byte(id+entry.GetPrincipal())), id)
	if m.host != nil {
		m.host.core.violate(m.host.core.log.Decided(id, outcome.Index))
	}
	return &sitev1.Outcome{Index: outcome.Index}
}

// forget registers of earlier hours: nobody asks for them any more.
func (s *coreState) forget(now string) {
	for register := range s.Registers {
		if hourOf(register)+1 < hourOf(now) {
			delete(s.Registers, register)
		}
	}
}

// hourOf a register is the number before the dash.
func hourOf(register string) int {
	text, _, _ := strings.Cut(register, "-")
	hour, err := strconv.Atoi(text)
	if err != nil {
		return 0 // of a planted bug
	}
	return hour
}

// ApplyVoterChange implements consensus.Machine.
func (m *coreMachine) ApplyVoterChange(index uint64, change *sitev1.VoterChange) {
	m.state.Changes++
	m.applied(index, change.GetAddRaftId()<<32|change.GetRemoveRaftId(), "")
}

func (m *coreMachine) applied(index, what uint64, id string) {
	m.state.Index = index
	m.state.Chain = (m.state.Chain ^ what) * fnvPrime
	if m.host != nil {
		c := m.host.core
		c.stats.Applied = max(c.stats.Applied, index)
		c.violate(c.log.Applied(m.host.name(), index, what, m.Hash(), id))
	}
}

// Hash implements consensus.Machine.
func (m *coreMachine) Hash() uint64 {
	h := m.state.Chain ^ m.state.Changes*fnvPrime
	for register, value := range m.state.Registers {
		h += digest([]byte(register + " " + value)) // whatever the order
	}
	return h
}

// Marshal implements consensus.Machine; maps are written in order.
func (m *coreMachine) Marshal() ([]byte, error) { return json.Marshal(m.state) }

// Restore implements consensus.Machine.
func (m *coreMachine) Restore(data []byte) error {
	state := coreState{}
	if err := json.Unmarshal(data, &state); err != nil {
		return fmt.Errorf("the state does not parse: %w", err)
	}
	m.state = state
	if m.host == nil || state.Index == 0 {
		return nil
	}
	m.host.core.violate(m.host.core.log.Restored(m.host.name(), state.Index, m.Hash()))
	return nil
}
