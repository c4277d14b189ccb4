package sim

import (
	"strings"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// watched is the state of one replica, with the rules looking over its
// shoulder.
type watched struct {
	*state.Store
	world *world
	host  *host
	node  string
	// running: the replica does not begin any more.
	running func() bool
}

// machine is what the replica applies entries to.
func (v *voter) machine() watched {
	return watched{Store: v.store, world: v.world, host: v.host, node: v.host.name, running: func() bool { return v.replica != nil }}
}

func (m watched) Apply(index uint64, entry *sitev1.Entry) *sitev1.Outcome {
	what := m.world.print(entry)
	id := entry.GetRequestId()
	first := index > m.world.log.Newest()
	if m.world.has(WallClock) {
		entry = proto.CloneOf(entry)
		entry.Time = timestamppb.New(m.host.now())
	}
	plan, before := entry.GetPlan(), m.Store.View()
	m.host.earlier = before
	outcome := m.Store.Apply(index, entry)
	if first && plan != nil {
		m.world.judgePlan(before, m.Store.View(), plan)
	}
	if first {
		m.world.judgeEntry(entry, outcome, before, m.Store.View())
	}
	if first {
		m.world.trace.note("log", "%d %s -> %s%d rejected", index, describe(entry), outcome.GetErrorKind(), outcome.GetRejected())
	}
	m.applied(index, what, id)
	if first && strings.HasPrefix(id, clientPrefix) {
		m.world.violate(m.world.log.Decided(id, outcome.GetIndex()))
	}
	return outcome
}

func (m watched) ApplyVoterChange(index uint64, change *sitev1.VoterChange) {
	what := m.world.print(change)
	m.Store.ApplyVoterChange(index, change)
	m.applied(index, what, "")
}

func (m watched) applied(index, what uint64, id string) {
	m.world.violate(check.BoundedLog(len(m.host.raft.now.entries), mostEntries))
	newest := index > m.world.log.Newest()
	m.world.violate(m.world.log.Applied(m.node, index, what, m.Store.Hash(), id))
	if newest {
		m.world.advanced(m.Store.View())
	}
}

func (m watched) Restore(data []byte) error {
	if err := m.Store.Restore(data); err != nil {
		return err
	}
	if m.running() {
		// What came before is fetched from the others.
		m.host.leaves.first = m.Store.View().Audit().Size
	}
	if index := m.Store.View().Index(); index > 0 {
		m.world.violate(m.world.log.Restored(m.node, index, m.Store.Hash()))
	}
	return nil
}

// advanced looks at the newest state that any replica has reached.
func (w *world) advanced(view *state.View) {
	w.newest = view
	w.stats.Applied = view.Index()
	w.revoked.applied(view)
	if w.rehearsals != nil {
		w.rehearsals.applied(view)
	}
	w.judgeQuota(view)
	w.violate(w.time.Stamped(view.Time().AsTime(), view.Stamp().Era))
	nodes, placements := view.Nodes(), view.Placements()
	w.violate(w.decisions.Observe(nodes, view.Workloads(), placements))
	w.prove(view)
	w.noteAway(view)
	w.turns.Observe(view.Index(), nodes, view.Workloads(), placements)
	w.violate(check.Fits(w.real, w.bound(placements)))
}

// wanted is what the newest committed state wants of an instance.
func (w *world) wanted(id string) skerryv1.DesiredState {
	project, name, _ := strings.Cut(id, ".")
	return w.newest.Placement(project, name).GetDesired()
}

// Marshal is asked for when the log is to forget what came before.
func (m watched) Marshal() ([]byte, error) {
	data, err := m.snapshot()
	m.world.violate(check.BoundedState(len(data), mostState))
	m.world.stats.State = max(m.world.stats.State, len(data))
	return data, err
}

// ownSnapshots: of so many snapshots one is made by each replica for itself, and must
// be that of the first to the byte. The others are made once for one state: the same
// all over again is a large part of what a run costs.
const ownSnapshots = 4

// lastSnapshot that was made, of the state with this hash.
type lastSnapshot struct {
	index, hash uint64
	data        []byte
}

func (m watched) snapshot() ([]byte, error) {
	last, index, hash := &m.world.snapshot, m.Store.View().Index(), m.Store.Hash()
	made := last.data != nil && last.index == index && last.hash == hash
	if made && index%ownSnapshots != 0 {
		return last.data, nil
	}
	data, err := m.Store.Marshal()
	if err != nil {
		return nil, err
	}
	if made {
		m.world.violate(check.SameSnapshot(m.node, index, data, last.data))
	}
	*last = lastSnapshot{index: index, hash: hash, data: data}
	return data, nil
}

// print of a message: equal ones have equal prints.
func (w *world) print(m proto.Message) uint64 {
	w.buffer = appendTo(w.buffer[:0], m)
	return xxhash.Sum64(w.buffer)
}
