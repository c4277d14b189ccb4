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
	// Below descriptorFloor a replica gives its own back while it still can; above
	// descriptorRoom it takes them again.
	descriptorFloor = 16
	descriptorRoom  = 128
	// roomEvery is how often the disk is looked at: a fast writer fills what is
	// below the floor in less than a second.
	roomEvery = 100 * time.Millisecond
	// In so many looks descriptors are counted once, and the disk is touched once,
	// for it may take no more than it must.
	countEvery, touchEvery = 10, 100
)

// Conditions of a node without room for a replica.
const (
	diskFull        = "DiskFull"
	diskReadOnly    = "DiskReadOnly"
	descriptorsGone = "DescriptorsGone"
)

// diskHangs is the condition of a node whose disk does not answer for so long. It is no
// lack: a replica that waits for its disk cannot be ended.
const (
	diskHangs  = "DiskHangs"
	hangsAfter = 3 * time.Second
)

// lack is what a replica needs and there is none of; the zero lack when nothing
// is missing.
type lack struct{ kind, why string }

// supply is what was found in one look.
type supply struct {
	dir         string
	free        uint64 // bytes
	readOnly    bool
	descriptors int
}

// lack of a supply, after another one: what has run out must be back amply.
func (s supply) lack(before lack) lack {
	bytes, descriptors := uint64(diskFloor), descriptorFloor
	switch before.kind {
	case diskFull:
		bytes = diskRoom + 1
	case descriptorsGone:
		descriptors = descriptorRoom
	}
	switch {
	case s.readOnly:
		return lack{diskReadOnly, fmt.Sprintf("the disk of %s takes no writes, as when the kernel has found it damaged: check it, and mount it again", s.dir)}
	case s.free < bytes:
		return lack{diskFull, fmt.Sprintf("less than %d MiB are free on the disk of %s: make room", diskFloor>>20, s.dir)}
	case s.descriptors < descriptors:
		return lack{descriptorsGone, "the agent may hardly open another file: raise its limit (LimitNOFILE), and see who opens so many connections to it"}
	}
	return lack{}
}

// room watches whether there is what a replica needs: room on the disk of the
// state directory, which takes writes, and descriptors.
type room struct {
	*Agent

	// Only look changes these.
	looks int
	seen  supply

	mu      sync.Mutex
	lack    lack
	changed chan struct{}
	// ballast is on board; only look changes it.
	ballast bool
}

func newRoom(a *Agent) *room {
	files, err := a.Env.FS.ReadDir(a.Config.StateDir)
	// Unknown is as if there were some: throwing off what is not there is no harm.
	return &room{Agent: a, changed: make(chan struct{}), ballast: err != nil || slices.Contains(files, ballastFile)}
}

// trouble is what is missing. changed is closed when that is no longer so.
func (r *room) trouble() (missing lack, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lack, r.changed
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
	missing, _ := r.trouble()
	path := filepath.Join(r.Config.StateDir, ballastFile)
	var err error
	switch {
	case missing.kind == diskFull && r.ballast:
		err = r.Env.FS.Remove(path)
	case missing == (lack{}) && !r.ballast && free > diskRoom+ballastSize:
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
	r.seen.dir, r.seen.free = r.Config.StateDir, free
	if r.seen.readOnly || r.looks%touchEvery == 0 {
		r.seen.readOnly = probe.ReadOnly(r.Config.StateDir)
	}
	if r.looks%countEvery == 0 {
		r.seen.descriptors = probe.FreeDescriptors()
	}
	r.looks++
	defer r.trim(free)
	r.mu.Lock()
	defer r.mu.Unlock()
	missing := r.seen.lack(r.lack)
	if missing == r.lack {
		return
	}
	r.lack = missing
	if missing.kind != "" {
		r.Logger.Error("the replica of the log steps down, what runs goes on running", "condition", missing.kind, "reason", missing.why, "free", free)
	} else {
		r.Logger.Info("there is what a replica of the log needs again", "dir", r.Config.StateDir, "free", free)
	}
	close(r.changed)
	r.changed = make(chan struct{})
}
