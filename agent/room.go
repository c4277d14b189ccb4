package agent

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"skerry.dev/agent/probe"
	"skerry.dev/shared/env"
)

const (
	// A replica needs room for its log. Below diskFloor it steps down before
	// writes fail (SAFETY, rule 8); it comes back above diskRoom.
	diskFloor = 64 << 20
	diskRoom  = 128 << 20
	// The ballast takes its size of the disk while there is room. It is thrown
	// off when the disk is full, so that the ledger can still be written however
	// fast the disk filled up.
	ballastFile = "ballast"
	ballastSize = 32 << 20
	// roomEvery is how often the disk is looked at: a fast writer fills what is
	// below the floor in less than a second.
	roomEvery = 100 * time.Millisecond
)

// room watches whether the disk of the state directory has room.
type room struct {
	*Agent

	mu      sync.Mutex
	full    string // why nothing more may be written; empty when there is room
	changed chan struct{}
	// ballast is on board; only look changes it.
	ballast bool
}

func newRoom(a *Agent) *room {
	files, err := a.Env.FS.ReadDir(a.Config.StateDir)
	// Unknown is as if there were some: throwing off what is not there is no harm.
	return &room{Agent: a, changed: make(chan struct{}), ballast: err != nil || slices.Contains(files, ballastFile)}
}

// trouble says that the disk is full; empty when there is room. changed is
// closed when that is no longer so.
func (r *room) trouble() (why string, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.full, r.changed
}

// run looks at the disk until ctx ends.
func (r *room) run(ctx context.Context) error {
	for {
		r.look()
		if err := env.Sleep(ctx, r.Env.Clock, roomEvery); err != nil {
			return err
		}
	}
}

// trim throws the ballast off when the disk is full, and takes it on when there
// is room for it.
func (r *room) trim(free uint64) {
	full, _ := r.trouble()
	path := filepath.Join(r.Config.StateDir, ballastFile)
	var err error
	switch {
	case full != "" && r.ballast:
		err = r.Env.FS.Remove(path)
	case full == "" && !r.ballast && free > diskRoom+ballastSize:
		err = probe.Reserve(path, ballastSize)
	default:
		return
	}
	if err != nil {
		r.Logger.Warn("the ballast on the disk could not be changed", "file", path, "error", err)
		return
	}
	r.ballast = !r.ballast
}

func (r *room) look() {
	free, err := probe.FreeSpace(r.Config.StateDir)
	if err != nil {
		r.Logger.Warn("the room on the disk is not known", "error", err)
		return
	}
	defer r.trim(free)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.full == "" && free < diskFloor:
		r.full = fmt.Sprintf("less than %d MiB are free on the disk of %s: make room", diskFloor>>20, r.Config.StateDir)
		r.Logger.Error("the disk is full; the replica of the log steps down, what runs goes on running", "dir", r.Config.StateDir, "free", free)
	case r.full != "" && free > diskRoom:
		r.full = ""
		r.Logger.Info("there is room on the disk again", "dir", r.Config.StateDir, "free", free)
	default:
		return
	}
	close(r.changed)
	r.changed = make(chan struct{})
}
