package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// former are the IDs of the replicas before one that have left something on this disk,
// in their order. Those of an earlier site epoch are not among them.
func (r *replicas) former(id uint64) ([]uint64, error) {
	names, err := r.Env.FS.ReadDir(r.dir)
	if err != nil {
		return nil, err
	}
	var before []uint64
	for _, name := range names {
		if other, err := strconv.ParseUint(name, 10, 64); err == nil && other < id {
			before = append(before, other)
		}
	}
	slices.Sort(before)
	return before, nil
}

// removeFormer removes what the replicas before one have left but for the last of them,
// and what they began with: none may ever run again, and a node that often loses its
// replica would fill its disk with them.
func (r *replicas) removeFormer(id uint64, init *sitev1.InitSite) error {
	before, err := r.former(id)
	if err != nil {
		return err
	}
	var last uint64
	if n := len(before); n > 0 {
		last, before = before[n-1], before[:n-1]
	}
	if err := r.forgetBeginnings(init, id, last); err != nil {
		return err
	}
	for _, other := range before {
		if err := os.RemoveAll(filepath.Join(r.dir, strconv.FormatUint(other, 10))); err != nil {
			return err
		}
	}
	return nil
}

// forgetBeginnings removes what the replicas before one began with, but for another one, 0
// for none. It goes before their logs do: a replica that finds it, and no log, begins the
// site anew.
func (r *replicas) forgetBeginnings(init *sitev1.InitSite, id, but uint64) error {
	for name, node := range map[string]*skerryv1.Node{initFile: init.GetNode(), againFile: r.again.GetRecover().GetNode()} {
		if began := node.GetRaftId(); began != 0 && began < id && began != but {
			if err := r.Env.FS.Remove(filepath.Join(r.dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// setReplicaAside keeps what the last replica of an earlier site epoch has left: it may
// hold what the site went on without.
func (r *replicas) setReplicaAside(id, epoch uint64, init *sitev1.InitSite) error {
	before, err := r.former(id)
	if err != nil || len(before) == 0 {
		return err
	}
	if err := r.forgetBeginnings(init, id, 0); err != nil {
		return err
	}
	dir := filepath.Join(r.dir, strconv.FormatUint(before[len(before)-1], 10))
	return r.Env.FS.Rename(dir, fmt.Sprintf("%s-of-epoch-%d", dir, epoch))
}
