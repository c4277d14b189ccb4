package agent

import (
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/agent/probe"
	"skerry.dev/agent/prune"
	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// shortOfRoom is the part of the disk that is free when room is short for images:
	// one of ten.
	shortOfRoom = 10
	// roomStep is the part of the disk by which something must change to be told.
	roomStep = 64
)

// newPruner removes images that nothing needs here.
func (a *Agent) newPruner() *prune.Pruner {
	return prune.New(prune.Config{
		Age: a.Config.Images.KeepUnused, Ledger: a.ledger, Store: a.shelf, Env: a.Env, Logger: a.Logger,
		Contact:  func() bool { return a.session.Coordinator() != "" && !a.identity.Evicted() },
		Short:    a.isShortOfRoom,
		SiteTime: func() time.Time { return a.identity.SiteTime().Read().Time },
	})
}

// isShortOfRoom tells whether a disk that images are on is nearly full.
func (a *Agent) isShortOfRoom() bool {
	for _, dir := range []string{a.Config.StateDir, a.Config.VMDir()} {
		if total, free, known := roomOn(dir); known && free < total/shortOfRoom {
			return true
		}
	}
	return false
}

// roomOn the disk of a directory, in bytes.
func roomOn(dir string) (total, free uint64, known bool) {
	total, err := probe.DiskSize(dir)
	free, unknown := probe.FreeSpace(dir)
	return total, free, err == nil && unknown == nil
}

// diskRoom says what the disk holds. It stays as it was while little has changed:
// each change is an entry of the site's log.
func (f *facts) diskRoom(before *skerryv1.DiskRoom, images []runtime.StoredImage) *skerryv1.DiskRoom {
	now := &skerryv1.DiskRoom{Removed: f.pruner.Last()}
	seen := map[string]bool{}
	for _, i := range images {
		if !seen[i.Digest] {
			seen[i.Digest] = true
			now.Images, now.ImageBytes = now.GetImages()+1, now.GetImageBytes()+i.Size
		}
	}
	if vms, ok := f.Runtime.(machines); ok {
		now.RootDisks, now.RootDiskBytes = vms.RootDisks()
	}
	if total, free, known := roomOn(f.Config.StateDir); known {
		now.TotalBytes, now.FreeBytes = int64(total), int64(free)
	}
	if sameRoom(before, now) {
		return before
	}
	return now
}

func sameRoom(a, b *skerryv1.DiskRoom) bool {
	step := b.GetTotalBytes() / roomStep
	near := func(a, b int64) bool { return max(a-b, b-a) <= step }
	return a != nil && a.GetTotalBytes() == b.GetTotalBytes() && near(a.GetFreeBytes(), b.GetFreeBytes()) &&
		a.GetImages() == b.GetImages() && a.GetImageBytes() == b.GetImageBytes() &&
		a.GetRootDisks() == b.GetRootDisks() && near(a.GetRootDiskBytes(), b.GetRootDiskBytes()) &&
		proto.Equal(a.GetRemoved(), b.GetRemoved())
}
