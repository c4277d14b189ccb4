package check

import (
	"fmt"
	"maps"
	"slices"
)

// Copy of a volume on one node.
type Copy struct {
	// Written is what a guest wrote last.
	Written uint64
	// Coming: it is not that node's yet.
	Coming bool
}

// Volume is one as it really is, and as the site knows it.
type Volume struct {
	Name string
	// Newest is what its guest wrote last, wherever it ran; 0 for nothing yet.
	Newest uint64
	// Copies by node.
	Copies map[string]Copy
	// Node that has it, by the newest committed state, and the one to which it is on
	// its way, of which the site waits to hear; empty for none.
	Node, ComingTo string
	// LeftOn is the node that has yet to delete an old copy; empty for none.
	LeftOn string
}

// WritesAlone tells which machines that use a volume act at this moment, with their
// nodes.
func WritesAlone(volume string, acting []string) *Violation {
	if len(acting) > 1 {
		return violated(OneWriter, "%s is written by %v", volume, acting)
	}
	return nil
}

// Kept looks where what was written last is: where the site says that the volume is,
// or where it waits for word from.
func (v Volume) Kept() *Violation {
	if v.Newest == 0 || v.has(v.Node) || v.has(v.ComingTo) {
		return nil
	}
	return violated(NewestKept, "%d was written last to %s, which is on %q, on its way to %q; the copies are %v", v.Newest, v.Name, v.Node, v.ComingTo, v.Copies)
}

func (v Volume) has(node string) bool {
	c, there := v.Copies[node]
	return there && c.Written == v.Newest
}

// Deletes tells that a node deletes its copy now.
func (v Volume) Deletes(node string) *Violation {
	if v.Newest == 0 || !v.has(node) {
		return nil
	}
	for other, c := range v.Copies {
		if other != node && c.Written == v.Newest && !c.Coming {
			return nil
		}
	}
	return violated(CopyStays, "%s deletes its copy of %s with what was written last, %d; the copies are %v", node, v.Name, v.Newest, v.Copies)
}

// Unsettled lists what is not in order of a volume.
func (v Volume) Unsettled() []string {
	var out []string
	if v.ComingTo != "" || v.LeftOn != "" {
		out = append(out, fmt.Sprintf("volume %s is on %s, on its way to %q, left on %q", v.Name, v.Node, v.ComingTo, v.LeftOn))
	}
	if there := slices.Sorted(maps.Keys(v.Copies)); v.Newest != 0 && !slices.Equal(there, []string{v.Node}) {
		out = append(out, fmt.Sprintf("volume %s is on %s, and %v have copies", v.Name, v.Node, there))
	}
	return out
}
