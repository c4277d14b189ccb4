package coordinator

import (
	"skerry.dev/coordinator/audit"
	"skerry.dev/coordinator/audit/leafstore"
)

// keptLeaves takes the leaves of the audit log from apply to this voter's disk.
// It belongs to the goroutine that applies.
type keptLeaves struct {
	store   *leafstore.Store
	pending []audit.Leaf
}

func (k *keptLeaves) take(leaf audit.Leaf) { k.pending = append(k.pending, leaf) }

// Flush implements consensus.Kept.
func (k *keptLeaves) Flush() error {
	err := k.store.Append(k.pending)
	clear(k.pending)
	k.pending = k.pending[:0]
	return err
}

// Sync implements consensus.Kept.
func (k *keptLeaves) Sync() error { return k.store.Sync() }
