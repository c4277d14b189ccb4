// Package consensus replicates the site's log over etcd raft.
//
// Replica is the core: a state machine without clock, goroutines or network,
// the same in production and in the simulator. Node is its shell: one
// goroutine that ticks it, feeds it and tells the callers what became of their
// proposals. The log itself is behind the Log interface: pebblelog on disk,
// modellog in the simulator.
package consensus

import "go.etcd.io/raft/v3/raftpb"

// Message is what replicas send each other.
type Message = raftpb.Message
