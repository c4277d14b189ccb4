package containerd

import (
	"context"
	"io"
	"os"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/continuity/fs"
	"github.com/moby/sys/user"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

// maxAccounts bounds what is read of an image's passwd and group, in bytes.
const maxAccounts = 1 << 20

// withUser runs the process as `USER[:GROUP]`, each a number or a name that the
// image knows. (oci.WithUser does the same, but through a file system of its own
// that costs the binary eight megabytes: it links text/template, which keeps
// every method of every type.)
func withUser(spec runtime.Spec, wanted string) oci.SpecOpts {
	return func(ctx context.Context, client oci.Client, record *containers.Container, s *oci.Spec) error {
		mounts, err := client.SnapshotService(record.Snapshotter).Mounts(ctx, record.SnapshotKey)
		if err != nil {
			return err
		}
		var found *user.ExecUser
		err = mount.WithReadonlyTempMount(ctx, mounts, func(root string) error {
			found, err = lookUp(root, wanted)
			return err
		})
		if err != nil {
			return problem.New(problem.Invalid, spec.ID, "the image does not know the user %s: %w", wanted, err).WithField("container.user")
		}
		s.Process.User.UID, s.Process.User.GID = uint32(found.Uid), uint32(found.Gid)
		return nil
	}
}

// lookUp a user in the passwd and group below root, if there are such files.
func lookUp(root, wanted string) (*user.ExecUser, error) {
	passwd, err := openBelow(root, "/etc/passwd")
	if err != nil {
		return nil, err
	}
	defer func() { _ = passwd.Close() }() // opened for reading only
	group, err := openBelow(root, "/etc/group")
	if err != nil {
		return nil, err
	}
	defer func() { _ = group.Close() }() // opened for reading only
	return user.GetExecUser(wanted, &user.ExecUser{}, io.LimitReader(passwd, maxAccounts), io.LimitReader(group, maxAccounts))
}

// openBelow opens a file of an image, whose links must not lead out of it. A
// file that is not there is empty.
func openBelow(root, name string) (*os.File, error) {
	path, err := fs.RootPath(root, name)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if os.IsNotExist(err) || (err == nil && !info.Mode().IsRegular()) {
		return os.Open(os.DevNull)
	}
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}
