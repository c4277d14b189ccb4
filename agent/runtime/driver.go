// Package runtime owns the interface between a node and what runs on it.
// runtime/containerd implements it for containers; virtual machines follow.
// runtime/conformance is the suite that every driver must pass, the model in
// runtime/model included, on which the simulator runs.
//
// A driver holds no desired state and makes no decisions: it carries out small
// idempotent verbs. Crash anywhere, call again.
package runtime

import (
	"context"
	"io"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Driver runs instances. All methods are safe for concurrent use on different
// instances, return when ctx ends, and give problems that name the instance.
type Driver interface {
	// List returns everything on this node that this driver ever made and has
	// not removed, also what an earlier agent left behind, sorted by ID.
	List(ctx context.Context) ([]Instance, error)
	// Prepare makes everything that Start needs: file system, network,
	// configuration. Nothing happens when the instance exists already with the
	// same spec; one with another spec is an error of kind Conflict. A failed
	// Prepare leaves nothing behind.
	Prepare(ctx context.Context, spec Spec) error
	// Start starts a prepared instance. Nothing happens when it runs already.
	// One that has exited is an error of kind Conflict: remove it first.
	Start(ctx context.Context, id string) error
	// Stop asks the instance to end, kills it when grace has passed, and
	// returns when it has ended. Nothing happens when it does not run, or does
	// not exist.
	Stop(ctx context.Context, id string, grace time.Duration) error
	// Remove removes every trace of the instance but its logs and, of a virtual
	// machine, its root disk; it kills what runs. Nothing happens when there is
	// none.
	Remove(ctx context.Context, id string) error
	// Forget removes what outlives Remove: nobody wants the instance any more.
	Forget(ctx context.Context, id string) error
	// Logs opens what the instance wrote, over all its runs, oldest first.
	Logs(ctx context.Context, id string, opts LogOptions) (io.ReadCloser, error)
	// Exec runs a command inside a running instance and returns its exit code.
	Exec(ctx context.Context, id string, exec Exec) (int, error)
	// Watch sends the ID of every instance whose state changed by itself, until
	// ctx ends or the connection to the runtime is lost (then it returns an
	// error). It is a hint: List tells the truth.
	Watch(ctx context.Context, changed func(id string)) error
}

// Attester is what a driver may be able to do beside.
type Attester interface {
	// InstanceOf returns the ID of the running instance that a process of this
	// machine is inside of, by the machine's own process numbers. An error of
	// kind NotFound: it is in none of this driver's.
	InstanceOf(ctx context.Context, pid int) (string, error)
}

// Guarded is what a driver must be able to do beside to run what is exclusive.
type Guarded interface {
	// GuardTarget says what the guard kills to end an instance, also when this
	// driver, and whatever it uses, does not answer any more. It is known before
	// the instance is prepared and the same for all its runs. vm: it is a virtual
	// machine. See agent/guard.
	GuardTarget(id string, vm bool) string
}

// Spec is all that a driver needs to run one instance. Equal specs give equal
// instances; their hash is kept with the instance.
type Spec struct {
	// ID is unique on the node: `PROJECT.PLACEMENT`.
	ID string
	// Project, Placement and Workload are for labels and names.
	Project, Placement, Workload string
	// ImageDigest of the manifest to run, `sha256:...`, present in the store.
	ImageDigest string
	// Container is the template, defaults filled in and validated.
	Container *skerryv1.Container
	// VM is the template of a virtual machine, in place of a container.
	VM *skerryv1.VirtualMachine
	// Cycle of its power: restarts that were asked for. No part of the hash.
	Cycle uint64
	// Volumes that the template names, by their names. No part of the hash.
	Volumes map[string]Volume
	// CPUMilli in thousandths of a core; MemoryBytes is the hard limit.
	CPUMilli    int64
	MemoryBytes int64
	// Identity: it reaches the node's Workload API at manifest.IdentityDir, and
	// manifest.IdentityVariable tells it where.
	Identity bool
	// Secrets that the instance gets to see: no part of the hash.
	Secrets Secrets
}

// State of an instance.
type State int

// The states.
const (
	// Prepared: made, never started.
	Prepared State = iota + 1
	Running
	// Exited: ran and ended.
	Exited
	// Broken: a leftover that can only be removed.
	Broken
	// Unknown: it is there, and what runs it does not answer.
	Unknown
	// Leaving: it was handed to another node, and may run there.
	Leaving
)

// Instance is what a driver knows of one instance.
type Instance struct {
	ID string
	// SpecHash is Spec.Hash of what it was prepared with.
	SpecHash string
	State    State
	// Address of its own in the node's network; empty with host networking.
	Address string
	// StartedAt is when the present or last run began, by the node's clock.
	StartedAt time.Time
	// Exit of the last run, when Exited.
	Exit *skerryv1.Exit
	// Paused virtual machines are Running, and do nothing.
	Paused bool
	// Cycle of its power with which it was prepared.
	Cycle uint64
	// Accel is how a virtual machine runs: `kvm` or `tcg`.
	Accel string
	// Devices is Spec.DevicesHash of what it has now; empty: nobody knows.
	Devices string
	// Snapshots of its disks, oldest first.
	Snapshots []Snapshot
}

// LogOptions choose what Logs returns.
type LogOptions struct {
	// Tail: only the last lines. 0: all.
	Tail int
	// Follow: go on with what comes, until ctx ends.
	Follow bool
}

// Exec is a command to run inside an instance.
type Exec struct {
	Command []string
	// Stdin may be nil. With a terminal, Stderr is not used.
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Terminal       bool
	// Resize carries new sizes of the terminal; may be nil.
	Resize <-chan TerminalSize
	// Console: in place of a command, the serial console of a virtual machine.
	Console bool
}

// TerminalSize in characters.
type TerminalSize struct{ Columns, Rows uint32 }

// ImageStore holds images of this node, content-addressed.
type ImageStore interface {
	// Import takes a docker-archive or OCI-layout tar. name, if set, names its
	// only image. A damaged or truncated tar changes nothing. The images count
	// as present only when they would survive a power cut.
	Import(ctx context.Context, tar io.Reader, name string) ([]StoredImage, error)
	// Images returns those that are wholly present, sorted by digest.
	Images(ctx context.Context) ([]StoredImage, error)
	// Missing returns the blobs that are still needed for an image: the
	// manifest itself first, then, once that is present, what it names. Empty
	// when the image is whole.
	Missing(ctx context.Context, digest string) ([]Blob, error)
	// OpenBlob opens one blob and tells its size; an error of kind NotFound
	// when it is not here.
	OpenBlob(ctx context.Context, digest string) (io.ReadCloser, int64, error)
	// WriteBlob stores one blob; refused unless its content has the digest.
	WriteBlob(ctx context.Context, blob Blob, content io.Reader) error
	// Complete names an image whose blobs are all present and makes it ready
	// to run.
	Complete(ctx context.Context, name, digest string) error
	// RemoveImage removes an image under all its names, and what only it needs.
	// Nothing happens when there is none; an error of kind Conflict: something on
	// this node uses it. Nobody may import or complete it meanwhile.
	RemoveImage(ctx context.Context, digest string) error
}

// Blob is one part of an image. Size is 0 when it is not known.
type Blob struct {
	Digest string
	Size   int64
}

// StoredImage is an image that is wholly present.
type StoredImage struct {
	Name, Digest string
	Size         int64
	// DiskBytes of the disk that it is an image of; 0: it is one of a container.
	DiskBytes int64
}
