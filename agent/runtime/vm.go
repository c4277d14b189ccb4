package runtime

import (
	"cmp"
	"context"
	"io"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Pauser is a driver whose instances can be halted and go on where they were.
type Pauser interface {
	// Pause a running instance. Nothing happens when it is paused.
	Pause(ctx context.Context, id string) error
	// Resume a paused instance. Nothing happens when it is not paused.
	Resume(ctx context.Context, id string) error
}

// AgentPinger is a driver whose instances may have an agent inside.
type AgentPinger interface {
	// PingAgent asks the agent inside whether it is there.
	PingAgent(ctx context.Context, id string) error
}

// Volume is a disk or a directory that outlives the instance.
type Volume struct {
	SizeBytes int64
	// Made: there is data of it, so it is never made anew.
	Made bool
	// Path of a directory of the node that it is; empty: the driver has its own.
	Path string
}

// HeldVolume is a volume of which this node holds data.
type HeldVolume struct {
	Project, Name string
	// Used bytes of the disk.
	Used int64
	// Snapshots of it, oldest first.
	Snapshots []Snapshot
	// Directory: containers mount it. Otherwise it is a disk of virtual machines.
	Directory bool
}

// CompareVolumes by project and name.
func CompareVolumes(a, b HeldVolume) int {
	return cmp.Or(cmp.Compare(a.Project, b.Project), cmp.Compare(a.Name, b.Name))
}

// VolumeKeeper is a driver that keeps volumes.
type VolumeKeeper interface {
	// HeldVolumes are those with data here, sorted by project and name.
	HeldVolumes() ([]HeldVolume, error)
	// DeleteVolume deletes a volume's data. Nothing happens when there is none; an
	// error of kind Conflict: an instance uses it.
	DeleteVolume(ctx context.Context, project, name string) error
}

// PausedStarter is a driver that can start an instance so that it does nothing
// until it is resumed: between the two somebody can look whether it still may.
type PausedStarter interface {
	// StartPaused is Start, but for that. paused: it must be resumed.
	StartPaused(ctx context.Context, id string) (paused bool, err error)
}

// Snapshot is a copy of the disks of an instance, as they were at one moment.
type Snapshot struct {
	Name    string
	Created time.Time
	// Used bytes of the node's disk.
	Used int64
	// Quiet: the guest had written all it had, or was off.
	Quiet bool
}

// Export says which disk is copied out.
type Export struct {
	// Disk by its name; empty: the root disk.
	Disk string
	// Snapshot to take it from; empty: as it is now.
	Snapshot string
}

// DiskCopier is a driver that copies the disks of instances. Progress is told how
// many bytes are done, of how many, from one goroutine.
type DiskCopier interface {
	// Snapshot keeps all disks as they are now. One that failed leaves nothing.
	Snapshot(ctx context.Context, id, name string, progress func(done, total int64)) error
	// RestoreSnapshot puts all disks back as they were, or changes nothing. An
	// error of kind Conflict: the instance runs.
	RestoreSnapshot(ctx context.Context, id, name string, progress func(done, total int64)) error
	DeleteSnapshot(ctx context.Context, id, name string) error
	// Export opens a disk as one qcow2 file that names no other, and tells its
	// size.
	Export(ctx context.Context, id string, what Export, progress func(done, total int64)) (io.ReadCloser, int64, error)
}

// Photographer is a driver whose instances have a screen.
type Photographer interface {
	// Screenshot of a running instance, as PNG.
	Screenshot(ctx context.Context, id string) ([]byte, error)
}

// Adjuster is a driver whose instances can get and give up devices while they run.
type Adjuster interface {
	// Adjust gives a running instance the disks and network cards of the spec, and
	// takes the others away. Nothing else of the spec may have changed.
	Adjust(ctx context.Context, spec Spec) error
}

// Addresser is a driver that finds out how guests are reached from their node.
type Addresser interface {
	GuestAddress(ctx context.Context, id string, vm *skerryv1.VirtualMachine) (string, error)
}

// VolumeCopier is a driver that copies volumes which nothing uses; one in use is an
// error of kind Conflict.
type VolumeCopier interface {
	SnapshotVolume(ctx context.Context, project, name, as string, progress func(done, total int64)) error
	RestoreVolume(ctx context.Context, project, name, as string, progress func(done, total int64)) error
	DeleteVolumeSnapshot(ctx context.Context, project, name, as string) error
	// ExportVolume opens it, or a snapshot of it, as one qcow2 file.
	ExportVolume(ctx context.Context, project, name, from string, progress func(done, total int64)) (io.ReadCloser, int64, error)
	// ImportVolume fills it with an image of a disk, whole or not at all. What it
	// held is replaced only when that was said.
	ImportVolume(ctx context.Context, project, name string, v Volume, replace bool, content io.Reader) error
}
