// Package libvirt runs instances as virtual machines of libvirt and QEMU.
//
// What the driver knows is kept where a restart of the agent finds it: one
// directory an instance, and metadata in the XML of each domain. A domain is
// this driver's when its metadata says so; names say nothing, and a domain
// without that metadata is never touched. DESIGN.md tells how an instance is
// made, step by step, and what each kind of crash leaves.
package libvirt

import (
	"context"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/runlog"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// Config of a driver. All fields but Emulation are required.
type Config struct {
	// Address is the path of libvirtd's socket.
	Address string
	// Dir holds images, disks and records. QEMU's own user passes through it.
	Dir string
	// RunDir holds what a reboot may forget.
	RunDir string
	// Emulation of the CPU is allowed where KVM does not work.
	Emulation bool
	Env       env.System
	Logger    *slog.Logger
}

// Driver runs virtual machines and holds their images. It is safe for
// concurrent use.
type Driver struct {
	Config
	link  *link
	logs  *runlog.Logs
	disks *disks
	// owner tells this driver's domains from those of another agent.
	owner string
	// site is for people who read a domain's XML.
	site atomic.Pointer[string]
	// host is what the machine can do, as last looked at.
	host host

	// marking is held while a record is read, changed and written.
	marking sync.Mutex

	mu sync.Mutex
	// consoles that are open, by instance.
	consoles map[string]bool
	// uses of disks, by instance or volume.
	uses map[string]*use
}

var (
	_ runtime.Driver        = (*Driver)(nil)
	_ runtime.ImageStore    = (*Driver)(nil)
	_ runtime.Pauser        = (*Driver)(nil)
	_ runtime.AgentPinger   = (*Driver)(nil)
	_ runtime.VolumeKeeper  = (*Driver)(nil)
	_ runtime.Guarded       = (*Driver)(nil)
	_ runtime.PausedStarter = (*Driver)(nil)
	_ runtime.DiskCopier    = (*Driver)(nil)
	_ runtime.Adjuster      = (*Driver)(nil)
	_ runtime.VolumeCopier  = (*Driver)(nil)
	_ runtime.Photographer  = (*Driver)(nil)
	_ runtime.Mover         = (*Driver)(nil)
)

// QEMU may run as a user of its own: it passes through directories, and sees
// what libvirt gives it.
const passable = 0o711

// New returns a driver. libvirtd need not run yet, or be installed at all: it is
// asked for only when something is wanted of it.
func New(config Config) (*Driver, error) {
	d := &Driver{
		Config: config, logs: runlog.New(filepath.Join(config.Dir, "logs"), config.Env.Clock),
		link: newLink(config.Address, config.Env), consoles: map[string]bool{}, uses: map[string]*use{},
	}
	if err := os.RemoveAll(d.exportsDir()); err != nil { // what an earlier agent left
		return nil, problem.New(problem.Internal, d.exportsDir(), "the directory cannot be emptied: %w", err)
	}
	for _, dir := range []string{config.Dir, d.instancesDir(), d.disksDir(), d.volumesDir(), d.consolesDir(), d.exportsDir()} {
		if err := openToAll(dir); err != nil {
			return nil, problem.New(problem.Internal, dir, "the directory cannot be made: %w", err)
		}
	}
	var err error
	if d.disks, err = openDisks(filepath.Join(config.Dir, "images"), config.Env, config.Logger); err != nil {
		return nil, err
	}
	if d.owner, err = d.readOwner(); err != nil {
		return nil, err
	}
	return d, nil
}

// readOwner returns what marks the domains of this directory, and makes it once.
func (d *Driver) readOwner() (string, error) {
	file := filepath.Join(d.Dir, "owner")
	known, err := d.Env.FS.ReadFile(file)
	if err == nil && len(known) > 0 {
		return string(known), nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", problem.New(problem.Internal, file, "it cannot be read: %w", err)
	}
	var random [16]byte
	if _, err := d.Env.Rand.Read(random[:]); err != nil {
		return "", err
	}
	owner := hex.EncodeToString(random[:])
	if err := d.Env.FS.WriteFile(file, []byte(owner), 0o600); err != nil {
		return "", problem.New(problem.Internal, file, "it cannot be written: %w", err)
	}
	return owner, nil
}

// Belong tells the driver of which site the node is.
func (d *Driver) Belong(site string) { d.site.Store(&site) }

// Run does what must be done now and then: logs are kept within their bounds,
// and the machine is looked at.
func (d *Driver) Run(ctx context.Context) error {
	for {
		if err := d.logs.Rotate(); err != nil {
			d.Logger.Warn("logs of virtual machines could not be rotated", "error", err)
		}
		d.thawAll(ctx)
		d.look(ctx)
		if err := env.Sleep(ctx, d.Env.Clock, runlog.RotateEvery); err != nil {
			return err
		}
	}
}

// Close ends the connection. What runs goes on running.
func (d *Driver) Close() error {
	d.link.close()
	return nil
}

func (d *Driver) instancesDir() string { return filepath.Join(d.Dir, "instances") }
func (d *Driver) disksDir() string     { return filepath.Join(d.Dir, "disks") }
func (d *Driver) volumesDir() string   { return filepath.Join(d.Dir, "volumes") }
func (d *Driver) consolesDir() string  { return filepath.Join(d.RunDir, "consoles") }

// instanceDir exists exactly as long as anything of the instance does: it is
// made first and removed last.
func (d *Driver) instanceDir(id string) string { return filepath.Join(d.instancesDir(), id) }

// diskDir holds the root disk, which outlives Remove.
func (d *Driver) diskDir(id string) string { return filepath.Join(d.disksDir(), id) }

// Has tells whether there is anything of an instance here, without asking
// libvirt.
func (d *Driver) Has(id string) bool {
	return runtime.CheckID(id) == nil && (exists(d.instanceDir(id)) || exists(d.diskDir(id)) || d.logs.Has(id))
}

// openToAll makes a directory through which every user may pass.
func openToAll(dir string) error {
	if err := os.MkdirAll(dir, passable); err != nil {
		return err
	}
	return os.Chmod(dir, passable)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
