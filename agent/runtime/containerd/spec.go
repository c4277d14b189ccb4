package containerd

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/cap"
	"github.com/containerd/containerd/v2/pkg/oci"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	cpuPeriod   = 100_000 // microseconds
	minCPUQuota = 1_000   // the kernel takes no less
	minShares   = 2
)

// ociSpec is what runc is told: nothing is allowed that the manifest does not
// ask for.
func (d *Driver) ociSpec(ctx context.Context, spec runtime.Spec, image *runnable, record *containers.Container) (*oci.Spec, error) {
	capabilities, err := capabilities(spec)
	if err != nil {
		return nil, err
	}
	mounts, err := d.mounts(spec)
	if err != nil {
		return nil, err
	}
	args, err := arguments(spec, image.config.Config)
	if err != nil {
		return nil, err
	}
	options := []oci.SpecOpts{
		oci.WithEnv(environment(spec, image.config.Config)),
		oci.WithProcessArgs(launched(spec, args)...),
		oci.WithProcessCwd(cmp.Or(spec.Container.GetWorkingDir(), image.config.Config.WorkingDir, "/")),
		oci.WithHostname(hostname(spec.Placement)),
		oci.WithCgroup(d.cgroup(record.ID)),
		oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.CgroupNamespace}),
		oci.WithoutRunMount,
		oci.WithMounts(mounts),
		withCapabilities(capabilities),
		withResources(spec),
		d.withNetwork(spec, record.ID),
	}
	if spec.Container.GetReadOnlyRoot() {
		options = append(options, oci.WithRootFSReadonly())
	}
	if user := cmp.Or(spec.Container.GetUser(), image.config.Config.User); user != "" {
		options = append(options, withUser(spec, user))
	}
	// Last: the profile depends on the capabilities.
	options = append(options, seccomp.WithDefaultProfile())
	return oci.GenerateSpec(ctx, d.client, record, options...)
}

// environment of the image under that of the manifest.
func environment(spec runtime.Spec, image ocispec.ImageConfig) []string {
	env := slices.Clone(image.Env)
	if !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "PATH=") }) {
		env = append(env, defaultPath)
	}
	given := spec.Container.GetEnv()
	env = slices.DeleteFunc(env, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		_, replaced := given[name]
		return replaced || (spec.Identity && name == manifest.IdentityVariable)
	})
	for _, name := range slices.Sorted(maps.Keys(given)) {
		env = append(env, name+"="+given[name])
	}
	if spec.Identity {
		env = append(env, manifest.IdentityVariable+"="+manifest.IdentityAddress)
	}
	return env
}

// arguments: a command replaces all that the image says, arguments alone
// replace only the image's.
func arguments(spec runtime.Spec, image ocispec.ImageConfig) ([]string, error) {
	command, args := spec.Container.GetCommand(), spec.Container.GetArgs()
	if len(command) == 0 {
		command = image.Entrypoint
		if len(args) == 0 {
			args = image.Cmd
		}
	}
	if len(command)+len(args) == 0 {
		return nil, problem.New(problem.Invalid, spec.ID, "the image does not say what to run").WithField("container.command")
	}
	return slices.Concat(command, args), nil
}

func capabilities(spec runtime.Spec) ([]string, error) {
	var names []string
	for i, name := range spec.Container.GetAddCapabilities() {
		name = "CAP_" + name
		if !slices.Contains(cap.Known(), name) {
			return nil, problem.New(problem.Invalid, spec.ID, "Linux has no capability %s", name).
				WithField(fmt.Sprintf("container.addCapabilities[%d]", i))
		}
		names = append(names, name)
	}
	return names, nil
}

// withCapabilities drops all others, and gives these also to a process that is
// not root.
func withCapabilities(names []string) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		s.Process.Capabilities = &specs.LinuxCapabilities{
			Bounding: names, Effective: names, Permitted: names, Inheritable: names, Ambient: names,
		}
		s.Process.NoNewPrivileges = true
		s.Process.Rlimits = nil // as containerd's own
		return nil
	}
}

func withResources(spec runtime.Spec) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		if spec.CPUMilli > 0 {
			period, quota := uint64(cpuPeriod), max(minCPUQuota, spec.CPUMilli*cpuPeriod/1000)
			shares := max(minShares, uint64(spec.CPUMilli)*1024/1000)
			s.Linux.Resources.CPU = &specs.LinuxCPU{Period: &period, Quota: &quota, Shares: &shares}
		}
		if limit := spec.MemoryBytes; limit > 0 {
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &limit}
			if limitsSwap() {
				s.Linux.Resources.Memory.Swap = &limit // memory and swap together: no swap
			}
		}
		return nil
	}
}

func (d *Driver) withNetwork(spec runtime.Spec, container string) oci.SpecOpts {
	switch spec.Container.GetNetwork() {
	case networkHost:
		return oci.WithHostNamespace(specs.NetworkNamespace)
	case networkBridge:
		return oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: d.network.netns(container)})
	default:
		return oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace})
	}
}

// mounts, those nearer to the root first.
func (d *Driver) mounts(spec runtime.Spec) ([]specs.Mount, error) {
	mounts := []specs.Mount{
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}},
		{Destination: "/etc/hosts", Type: "bind", Source: d.hostsFile(spec.ID), Options: []string{"bind", "ro"}},
		{Destination: "/etc/resolv.conf", Type: "bind", Source: d.resolvFile(spec.ID), Options: []string{"bind", "ro"}},
	}
	if spec.Identity {
		mounts = append(mounts, specs.Mount{
			Destination: manifest.IdentityDir, Type: "bind", Source: d.WorkloadAPIDir,
			Options: []string{"bind", "rprivate", "nosuid", "nodev", "noexec", "ro"},
		})
	}
	given := slices.Clone(spec.Container.GetMounts())
	for i, m := range given {
		if m.GetHostPath() == "" {
			continue
		}
		if info, err := os.Stat(m.GetHostPath()); err != nil || !info.IsDir() {
			return nil, problem.New(problem.Conflict, spec.ID, "%s is not a directory on this node", m.GetHostPath()).
				WithField(fmt.Sprintf("container.mounts[%d].hostPath", i)).WithHint("make it, or let the workload require a node that has it")
		}
	}
	slices.SortStableFunc(given, func(a, b *skerryv1.Mount) int {
		return cmp.Compare(strings.Count(path.Clean(a.GetTarget()), "/"), strings.Count(path.Clean(b.GetTarget()), "/"))
	})
	for _, m := range given {
		mode := "rw"
		if m.GetReadOnly() {
			mode = "ro"
		}
		source := m.GetHostPath()
		if m.GetVolume() != "" {
			source = cmp.Or(spec.Volumes[m.GetVolume()].Path, d.volumes.Path(spec.Project, m.GetVolume()))
		}
		if source != "" {
			mounts = append(mounts, specs.Mount{
				Destination: m.GetTarget(), Type: "bind", Source: source,
				Options: []string{"rbind", "rprivate", "nosuid", "nodev", mode},
			})
			continue
		}
		size, err := manifest.Memory(m.GetTmpfs())
		if err != nil {
			return nil, problem.New(problem.Invalid, spec.ID, "the tmpfs at %s: %w", m.GetTarget(), err)
		}
		mounts = append(mounts, specs.Mount{
			Destination: m.GetTarget(), Type: "tmpfs", Source: "tmpfs",
			Options: []string{"nosuid", "nodev", "mode=1777", "size=" + strconv.FormatInt(size, 10), mode},
		})
	}
	launcher, err := d.launchMounts(spec)
	return slices.Concat(mounts, d.secretMounts(spec), launcher), err
}
