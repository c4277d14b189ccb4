package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// voterHalted is the condition of a node whose replica must never run again.
const voterHalted = "VoterHalted"

// ofDisks are the nemeses for which all hosts have disks that can fail.
var ofDisks = []string{"fsync-eio", "disk-full", "slow-disk", "lost-writes"}

// aVoter is the coordinator's host or another voter's.
func aVoter(ctx context.Context, s *site, rng *rand.Rand) (*hosts.Host, error) {
	if rng.IntN(2) == 0 {
		return leader(ctx, s, rng)
	}
	return follower(ctx, s, rng)
}

// syncFails: fsync of a voter's disk fails. The voter must halt; its machine gets
// another disk.
func syncFails(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	h, err := aVoter(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	f := fault{on: h.Name, touched: []*hosts.Host{h}, ended: []*hosts.Host{h}, lasts: seconds(rng, 1, 4)}
	f.end = func(ctx context.Context) error {
		return errors.Join(h.Disk("ok"), s.onItsFeet(ctx, h), s.mended(ctx, h, true))
	}
	return f, h.Disk("eio")
}

// diskFull: there is no room on a disk, for a while.
func diskFull(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	h, err := aVoter(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	f := fault{on: h.Name, touched: []*hosts.Host{h}, lasts: seconds(rng, 1, 8)}
	f.end = func(ctx context.Context) error {
		return errors.Join(h.Disk("ok"), s.onItsFeet(ctx, h), s.mended(ctx, h, false))
	}
	return f, h.Disk("full")
}

// slowDisk: each fsync of a voter takes long.
func slowDisk(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	h, err := aVoter(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	takes := seconds(rng, 0.02, 1.5)
	f := fault{on: fmt.Sprintf("%s, %d ms", h.Name, takes.Milliseconds()), touched: []*hosts.Host{h}, lasts: seconds(rng, 2, 8)}
	f.end = func(context.Context) error { return h.Disk("ok") }
	return f, h.Disk("slow " + takes.String())
}

// lostWrites: the power goes, on one host or on all, and what no fsync has brought
// to the disk is gone.
func lostWrites(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	off := s.Hosts
	if rng.IntN(3) > 0 {
		h, err := aVoter(ctx, s, rng)
		if err != nil {
			return fault{}, err
		}
		off = []*hosts.Host{h}
	}
	return powerOff(ctx, s, rng, off, true)
}

// corrupt flips bits in the log of a voter while its agent does not run.
func corrupt(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	h, err := aVoter(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	f := fault{on: h.Name, touched: []*hosts.Host{h}, ended: []*hosts.Host{h}, lasts: seconds(rng, 0, 2)}
	f.end = func(ctx context.Context) error {
		return errors.Join(h.StartAgent(), s.onItsFeet(ctx, h), s.mended(ctx, h, false))
	}
	if err := h.KillAgent(); err != nil {
		return f, err
	}
	return f, flip(filepath.Join(h.StateDir(), "raft"), rng)
}

// flip one bit in each of a few files below a directory.
func flip(dir string, rng *rand.Rand) error {
	var files []string
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if info, infoErr := entry.Info(); err == nil && infoErr == nil && entry.Type().IsRegular() && info.Size() > 0 {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, i := range rng.Perm(len(files))[:min(len(files), 1+rng.IntN(3))] {
		content, err := os.ReadFile(files[i])
		if err != nil {
			return err
		}
		content[rng.IntN(len(content))] ^= 1 << rng.IntN(8)
		if err := os.WriteFile(files[i], content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// stays is how long an agent that does not end by itself runs: what it finds on
// its disk it finds at once, on a busy machine a little later.
const stays = 4 * time.Second

// onItsFeet starts an agent that has ended, as systemd would, until it stays.
func (s *site) onItsFeet(ctx context.Context, h *hosts.Host) error {
	since := time.Now()
	return s.Until(ctx, h.Name+" to be ready", wholeTime/2, func(ctx context.Context) error {
		select {
		case <-h.AgentEnded():
			since = time.Now()
			if err := h.StartAgent(); err != nil {
				return err
			}
		default:
		}
		if time.Since(since) < stays {
			return errors.New("it has just been started")
		}
		node, err := s.node(ctx, h)
		if err == nil && node.GetState() != skerryv1.NodeState_NODE_STATE_READY {
			err = fmt.Errorf("it is %s", node.GetState())
		}
		return err
	})
}

func (s *site) node(ctx context.Context, h *hosts.Host) (*skerryv1.Node, error) {
	status, err := s.Status(ctx)
	if err != nil {
		return nil, err
	}
	for _, node := range status.GetNodes() {
		if node.GetName() == h.Name {
			return node, nil
		}
	}
	return nil, fmt.Errorf("%s is no node", h.Name)
}

// mended replaces a machine whose voter has halted, as an operator does. With
// must, it must have halted.
func (s *site) mended(ctx context.Context, h *hosts.Host, must bool) error {
	node, err := s.node(ctx, h)
	if err != nil {
		return err
	}
	halted := false
	for _, c := range node.GetConditions() {
		halted = halted || c.GetType() == voterHalted
	}
	if !halted {
		if must {
			return fmt.Errorf("fsync failed on %s, and its voter has not halted", h.Name)
		}
		return nil
	}
	s.log.Info("a voter has halted", "host", h.Name)
	return errors.Join(s.evict(ctx, h), s.anew(ctx, h))
}
