package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// voterHalted is the condition of a node whose replica must never run again,
	// diskFullCondition of one whose replica has stepped down until there is room.
	voterHalted       = "VoterHalted"
	diskFullCondition = "DiskFull"
)

// ofDisks are the nemeses for which all hosts have disks that can fail.
var ofDisks = []string{"fsync-eio", "disk-full", "slow-disk", "lost-writes"}

// aVoter is the coordinator's host or another voter's.
func aVoter(ctx context.Context, s *site, rng *rand.Rand) (*hosts.Host, error) {
	if rng.IntN(2) == 0 {
		return leader(ctx, s, rng)
	}
	return follower(ctx, s, rng)
}

// syncFails: fsync of a voter's disk fails. The voter must halt, and at times its
// agent is started again and again while the disk still fails.
func syncFails(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	h, err := aVoter(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	before, err := s.node(ctx, h)
	if err != nil {
		return fault{}, err
	}
	f := fault{on: h.Name, touched: []*hosts.Host{h}, ended: []*hosts.Host{h}, lasts: seconds(rng, 1, 4)}
	restarts := rng.IntN(2) == 0
	if restarts {
		f.on += ", started again on it"
	}
	f.end = func(ctx context.Context) error {
		if restarts {
			if err := s.nursed(ctx, h, 4*restartPause); err != nil {
				return err
			}
		}
		return errors.Join(h.Disk("ok"), s.onItsFeet(ctx, h), s.mended(ctx, h), s.without(ctx, h, before.GetRaftId()))
	}
	return f, h.Disk("eio")
}

// diskFull: from one write to the next there is no room on a disk, for a while. What
// ends by that is started again, and its node must say what it lacks.
func diskFull(ctx context.Context, s *site, rng *rand.Rand) (fault, error) {
	h, err := aVoter(ctx, s, rng)
	if err != nil {
		return fault{}, err
	}
	f := fault{on: h.Name, touched: []*hosts.Host{h}, lasts: seconds(rng, 0, 1)}
	f.sign = &sign{h, diskFullCondition, saysCondition(diskFullCondition)}
	full := seconds(rng, 4, 8) // conditions are told every two seconds
	f.end = func(ctx context.Context) error {
		return errors.Join(s.nursed(ctx, h, full), h.Disk("ok"), s.onItsFeet(ctx, h), s.mended(ctx, h))
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
	before, err := s.node(ctx, h)
	if err != nil {
		return fault{}, err
	}
	f := fault{on: h.Name, touched: []*hosts.Host{h}, ended: []*hosts.Host{h}, lasts: seconds(rng, 0, 2)}
	// Beside it may lie what is left of replicas that nobody reads any more.
	replica := filepath.Join(h.StateDir(), "raft", strconv.FormatUint(before.GetRaftId(), 10))
	f.sign = &sign{h, "that it had read a bit that had flipped", givesUp(replica)}
	f.end = func(ctx context.Context) error {
		return errors.Join(h.StartAgent(), s.onItsFeet(ctx, h), s.mended(ctx, h))
	}
	if err := h.KillAgent(); err != nil {
		return f, err
	}
	return f, flip(replica, rng)
}

// sureBytes at the beginning of the newest file are read when the log is opened: under load
// they are written at once. It may be written over an older one, of which the rest is then.
const sureBytes = 4 << 10

// flip one bit in each of a few files below a directory, one of which is the newest that
// the log is written ahead to: it is read when the log is opened. Of the others much is
// of entries that are no longer wanted.
func flip(dir string, rng *rand.Rand) error {
	var files []string
	newest := -1
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil && info.Mode().IsRegular() && info.Size() > 0 {
			if filepath.Ext(path) == ".log" {
				newest = len(files) // they are numbered
			}
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	chosen := rng.Perm(len(files))[:min(len(files), 1+rng.IntN(3))]
	if newest >= 0 && !slices.Contains(chosen, newest) {
		chosen[0] = newest
	}
	for _, i := range chosen {
		content, err := os.ReadFile(files[i])
		if err != nil {
			return err
		}
		length := len(content)
		if i == newest {
			length = min(length, sureBytes)
		}
		content[rng.IntN(length)] ^= 1 << rng.IntN(8)
		if err := os.WriteFile(files[i], content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// stays is how long an agent that does not end by itself runs: most of what it finds
// on its disk it finds at once, on a busy machine a little later.
const stays = 4 * time.Second

// restartPause is how long systemd waits before it starts an agent again.
const restartPause = time.Second

// nursed: for so long an agent that ends is started again, as systemd would.
func (s *site) nursed(ctx context.Context, h *hosts.Host, length time.Duration) error {
	for range length / restartPause {
		if err := hosts.Sleep(ctx, restartPause); err != nil {
			return err
		}
		if _, err := revive(h); err != nil {
			return err
		}
	}
	return nil
}

// revive an agent that has ended by itself, as systemd would, and tell whether it
// had.
func revive(h *hosts.Host) (bool, error) {
	select {
	case <-h.AgentEnded():
		return true, h.StartAgent()
	default:
		return false, nil
	}
}

// onItsFeet starts an agent that has ended, as systemd would, until it stays.
func (s *site) onItsFeet(ctx context.Context, h *hosts.Host) error {
	since := time.Now()
	return s.Until(ctx, h.Name+" to be ready", wholeTime/2, func(ctx context.Context) error {
		ended, err := revive(h)
		if err != nil {
			return err
		}
		if ended {
			since = time.Now()
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

// mended replaces a machine that says that its voter has halted, as an operator
// does. Often the site was faster and has given the node another replica.
func (s *site) mended(ctx context.Context, h *hosts.Host) error {
	node, err := s.node(ctx, h)
	if err != nil {
		return err
	}
	if !saysCondition(voterHalted)(node) {
		return nil
	}
	s.log.Info("a voter has halted", "host", h.Name)
	return errors.Join(s.evict(ctx, h), s.anew(ctx, h))
}

// without a replica that must have halted.
func (s *site) without(ctx context.Context, h *hosts.Host, replica uint64) error {
	node, err := s.node(ctx, h)
	if err == nil && node.GetRaftId() == replica {
		err = fmt.Errorf("fsync failed on %s, and its replica %d has not halted", h.Name, replica)
	}
	return err
}
