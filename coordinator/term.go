package coordinator

import (
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/lifecycle"
)

// lifecycleConfig of the controllers on this node.
func (v *Voter) lifecycleConfig() lifecycle.Config { return lifecycle.Defaults(v.Node) }

// progressOf is what the controllers need of the replica's status.
func progressOf(status consensus.Status) lifecycle.Progress {
	progress := lifecycle.Progress{Commit: status.Commit}
	for _, peer := range status.Peers {
		progress.Replicas = append(progress.Replicas, lifecycle.Replica{
			ID: peer.ID, Match: peer.Match, Active: peer.RecentActive,
		})
	}
	return progress
}
