// Package containerd runs instances as containers of containerd, 1.6 or later.
//
// What the driver knows is kept where a restart of the agent finds it: labels
// of containerd's own records, one directory an instance, and the cgroups. It
// uses one namespace of containerd and never looks at another. DESIGN.md tells
// how an instance is made, step by step, and what each kind of crash leaves.
package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/platforms"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/directory"
	"skerry.dev/agent/runtime/runlog"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	runtimeName = "io.containerd.runc.v2"
	// cleanupTime bounds what is done after a failure, when the caller's
	// context may have ended.
	cleanupTime = 30 * time.Second
)

// Config of a driver. All fields are required.
type Config struct {
	// Address is the path of containerd's socket.
	Address   string
	Namespace string
	// StateDir holds logs and what containers mount; RunDir what a reboot may
	// forget.
	StateDir, RunDir string
	CNIPluginDir     string
	CNISubnet        string
	CgroupParent     string
	// WorkloadAPIDir holds the socket of the Workload API; it is mounted into
	// what has an identity.
	WorkloadAPIDir string
	Env            env.System
	Logger         *slog.Logger
}

// Driver runs containers and holds their images. It is safe for concurrent
// use.
type Driver struct {
	Config
	client  *client.Client
	network *network
	logs    *runlog.Logs
	repairs repairs
	// resolving is what Resolve was told; nil before.
	resolving atomic.Pointer[resolving]

	volumes *directory.Store
	// volumesMu guards volumesTaken: instances that take volumes just now, by volume.
	volumesMu    sync.Mutex
	volumesTaken map[string]string

	// secretsMu guards the directories of secrets.
	secretsMu sync.Mutex

	mu      sync.Mutex
	storage *storage // nil until containerd told
}

var (
	_ runtime.Driver     = (*Driver)(nil)
	_ runtime.ImageStore = (*Driver)(nil)
	_ runtime.Resolving  = (*Driver)(nil)

	_ runtime.VolumeKeeper = (*Driver)(nil)
)

// New returns a driver. containerd need not run yet: it is asked for only when
// something is wanted of it.
func New(config Config) (*Driver, error) {
	subnet, err := netip.ParsePrefix(config.CNISubnet)
	if err != nil {
		return nil, problem.New(problem.Invalid, "cni.subnet", "%q is not a subnet such as 10.88.0.0/16", config.CNISubnet)
	}
	d := &Driver{
		Config: config, logs: runlog.New(filepath.Join(config.StateDir, "logs"), config.Env.Clock),
		volumes:      &directory.Store{Dir: filepath.Join(config.StateDir, "volumes"), Clock: config.Env.Clock, FS: config.Env.FS},
		volumesTaken: map[string]string{},
	}
	for _, dir := range []string{d.instancesDir(), d.netnsDir(), d.execDir(), d.volumes.Dir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, problem.New(problem.Internal, dir, "the directory cannot be made: %w", err)
		}
	}
	if err := openToAll(config.WorkloadAPIDir); err != nil {
		return nil, problem.New(problem.Internal, config.WorkloadAPIDir, "the directory of the Workload API cannot be made: %w", err)
	}
	if d.network, err = newNetwork(config, subnet.Masked(), d.netnsDir()); err != nil {
		return nil, err
	}
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return config.Env.Net.Dial(ctx, "unix", config.Address)
	}
	d.client, err = client.New(config.Address,
		client.WithDefaultNamespace(config.Namespace),
		client.WithDefaultRuntime(runtimeName),
		client.WithDefaultPlatform(platforms.Default()),
		client.WithExtraDialOpts([]grpc.DialOption{
			grpc.WithContextDialer(dial),
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, Jitter: 0.2, MaxDelay: time.Second},
				MinConnectTimeout: 2 * time.Second,
			}),
		}))
	if err != nil {
		return nil, problem.New(problem.Invalid, config.Address, "it cannot be the address of containerd: %w", err)
	}
	return d, nil
}

// Run does what must be done now and then: logs are kept within their bounds, and
// volumes measured.
func (d *Driver) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.rotate(ctx) })
	group.Go(func() error { return d.volumes.Run(ctx) })
	return group.Wait()
}

func (d *Driver) rotate(ctx context.Context) error {
	for {
		if err := d.logs.Rotate(); err != nil {
			d.Logger.Warn("logs could not be rotated", "error", err)
		}
		if err := env.Sleep(ctx, d.Env.Clock, runlog.RotateEvery); err != nil {
			return err
		}
	}
}

// Close ends the connection. What runs goes on running.
func (d *Driver) Close() error { return d.client.Close() }

func (d *Driver) instancesDir() string { return filepath.Join(d.StateDir, "containers") }
func (d *Driver) netnsDir() string     { return filepath.Join(d.RunDir, "netns") }
func (d *Driver) execDir() string      { return filepath.Join(d.RunDir, "exec") }

// instanceDir exists exactly as long as anything of the instance does: it is
// made first and removed last.
func (d *Driver) instanceDir(id string) string { return filepath.Join(d.instancesDir(), id) }

func (d *Driver) in(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, d.Namespace)
}

// after returns a context for cleaning up, also when ctx has ended.
func (d *Driver) after(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(d.in(ctx)), cleanupTime)
}

// exists tells whether there is a file or directory.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", path, err)
	}
	return true, nil
}
