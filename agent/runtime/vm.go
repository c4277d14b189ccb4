package runtime

import "context"

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

// Volume is a disk that outlives the instance.
type Volume struct {
	SizeBytes int64
	// Made: there is data of it, so it is never made anew.
	Made bool
}

// HeldVolume is a volume of which this node holds data.
type HeldVolume struct {
	Project, Name string
	// Used bytes of the disk.
	Used int64
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
