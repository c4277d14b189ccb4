package check

import "time"

// Following watches that nodes come to the coordinator that they reach, when they had
// one until a moment before.
type Following struct {
	recent, limit time.Duration
	nodes         map[string]reach
}

// reach of a node to a coordinator.
type reach struct {
	coordinator string
	// since when it reaches this one without a break and does not follow it.
	since time.Duration
}

// NewFollowing allows each node so long that has heard of a coordinator as recently as
// that: who was alone for longer looks around more and more rarely.
func NewFollowing(recent, limit time.Duration) *Following {
	return &Following{recent: recent, limit: limit, nodes: map[string]reach{}}
}

// Look at a node: the coordinator, with its term, that it reaches while nothing is
// wrong on either side, empty when there is none; when it last heard of any; and whether
// it has come to this one.
func (f *Following) Look(now time.Duration, node, coordinator string, heard time.Duration, follows bool) *Violation {
	if coordinator == "" || follows {
		delete(f.nodes, node)
		return nil
	}
	last, known := f.nodes[node]
	if !known || last.coordinator != coordinator {
		if now-heard > f.recent {
			delete(f.nodes, node)
			return nil
		}
		last = reach{coordinator, now}
		f.nodes[node] = last
	}
	if took := now - last.since; took > f.limit {
		return violated(Followed, "%s reaches %s, and has not come to it for %s", node, coordinator, took)
	}
	return nil
}
