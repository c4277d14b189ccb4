package sim

import (
	"maps"

	"skerry.dev/coordinator/audit"
)

// leafDisk is the part of a host's disk that holds the leaves of the audit log,
// by the rules of coordinator/audit/leafstore: what is not synced is lost in a
// crash.
type leafDisk struct {
	world   *world
	node    string
	pending []audit.Leaf
	now     map[uint64]bool
	synced  map[uint64]bool
	// first leaf that came with the log and not in a snapshot.
	first uint64
}

func newLeafDisk(w *world, node string) *leafDisk {
	return &leafDisk{world: w, node: node, now: map[uint64]bool{}, synced: map[uint64]bool{}}
}

func (d *leafDisk) take(leaf audit.Leaf) {
	if d.world.has(MuteAudit) && d.node == hostName(1) {
		leaf.Data = nil
		leaf.Hashes[0] = [32]byte{} // the leaf is not what was done
	}
	d.world.violate(d.world.leaves.Wrote(d.node, leaf.Number, string(leaf.Hashes[0][:])))
	d.pending = append(d.pending, leaf)
}

// Flush implements consensus.Kept.
func (d *leafDisk) Flush() error {
	for _, leaf := range d.pending {
		d.now[leaf.Number] = true
	}
	d.pending = nil
	return nil
}

// Sync implements consensus.Kept.
func (d *leafDisk) Sync() error {
	if !d.world.has(LoseLeaves) {
		d.synced = maps.Clone(d.now)
	}
	return nil
}

func (d *leafDisk) crash() { d.pending, d.now = nil, maps.Clone(d.synced) }
