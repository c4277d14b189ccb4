package state

import (
	"maps"
	"slices"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// maxTouched changes of nodes are remembered; who is further behind looks at
// all of them.
const maxTouched = 1 << 16

// touched remembers which nodes the last entries changed: their records, or
// what is bound to them. It only saves work, and is no part of the state.
type touched struct {
	// after this index nothing is missing.
	after   uint64
	changes []touch
}

type touch struct {
	index uint64
	node  string
}

// with the nodes of one more entry. Older values stay as they are.
func (t touched) with(index uint64, nodes map[string]bool) touched {
	for _, node := range slices.Sorted(maps.Keys(nodes)) {
		t.changes = append(t.changes, touch{index: index, node: node})
	}
	if excess := len(t.changes) - maxTouched; excess > 0 {
		t.after = t.changes[excess-1].index
		t.changes = t.changes[excess:]
	}
	return t
}

// TouchedAfter are the nodes whose records, or what is bound to them, have
// changed since an index; false when that is too long ago to be known.
func (v *View) TouchedAfter(index uint64) ([]string, bool) {
	if index < v.touched.after {
		return nil, false
	}
	from, _ := slices.BinarySearchFunc(v.touched.changes, index, func(t touch, index uint64) int {
		if t.index <= index {
			return -1
		}
		return 1
	})
	nodes := map[string]bool{}
	for _, t := range v.touched.changes[from:] {
		nodes[t.node] = true
	}
	return slices.Sorted(maps.Keys(nodes)), true
}

// CommonIndex is the last index at which something changed that concerns all
// nodes alike: images, secrets, settings, access, keys of gossip
// and of images. The chain of trust
// it does not count.
func (v *View) CommonIndex() uint64 { return v.meta.common }

// NodesIndex is the last index at which a record of a node changed.
func (v *View) NodesIndex() uint64 { return v.meta.nodesAt }

// noteTouched takes in a change of one object, nil when there was or is none.
func (x *tx) noteTouched(ordinal int, before, after any) {
	switch ordinal {
	case imagesOrdinal, settingsOrdinal, secretsOrdinal, secretKeysOrdinal, operatorsOrdinal, policiesOrdinal:
		x.common = x.index
	case nodesOrdinal:
		x.nodesAt = x.index
		for _, object := range []any{before, after} {
			n, _ := object.(*skerryv1.Node)
			x.touch(n.GetName())
		}
	case volumesOrdinal:
		for _, object := range []any{before, after} {
			v, _ := object.(*skerryv1.Volume)
			x.touch(v.GetNode())
			x.touch(v.GetStatus().GetLeftOn())
			x.touch(v.GetStatus().GetComingTo())
		}
	case placementsOrdinal:
		for _, object := range []any{before, after} {
			p, _ := object.(*skerryv1.Placement)
			x.touch(p.GetNode())
			x.touch(otherOf(p))
		}
	}
}

func (x *tx) touch(node string) {
	if node == "" {
		return
	}
	if x.nodesTouched == nil {
		x.nodesTouched = map[string]bool{}
	}
	x.nodesTouched[node] = true
}
