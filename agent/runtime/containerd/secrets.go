package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"skerry.dev/agent/runtime"
)

// The files of an instance's secrets are on a tmpfs of its own, below RunDir:
//
//	secrets/CONTAINER/0/..1/password    the values, as they are now
//	                    ..data -> ..1   renamed over when they change
//	                    password -> ..data/password
//
// One directory for each path in the container, mounted there read-only. The
// tmpfs is gone when the container has ended.
const (
	secretsPresent = "..data"
	secretsNext    = "..next"
	// secretsRoom is for two versions of a directory's files, and for pages that
	// are not full.
	secretsRoom = 2*64<<10 + 256<<10
)

var _ runtime.SecretKeeper = (*Driver)(nil)

func (d *Driver) secretsDir(container string) string {
	return filepath.Join(d.RunDir, "secrets", container)
}

// secretMounts are what runc mounts of it.
func (d *Driver) secretMounts(spec runtime.Spec) []specs.Mount {
	var mounts []specs.Mount
	for i, dir := range spec.Secrets.Dirs {
		mounts = append(mounts, specs.Mount{
			Destination: dir.Path, Type: "bind", Source: filepath.Join(d.secretsDir(containerID(spec.ID)), strconv.Itoa(i)),
			Options: []string{"bind", "rprivate", "ro", "nosuid", "nodev", "noexec"},
		})
	}
	return mounts
}

// makeSecrets mounts the tmpfs and fills it, for the user that the container
// runs as.
func (d *Driver) makeSecrets(spec runtime.Spec, user specs.User) error {
	if spec.Secrets.Empty() {
		return nil
	}
	d.secretsMu.Lock()
	defer d.secretsMu.Unlock()
	root := d.secretsDir(containerID(spec.ID))
	if err := os.MkdirAll(root, 0o700); err != nil {
		return err
	}
	if err := mountSecrets(root, (1+len(spec.Secrets.Dirs))*secretsRoom); err != nil {
		return fmt.Errorf("mount a tmpfs for secrets at %s: %w", root, err)
	}
	for i, dir := range spec.Secrets.Dirs {
		path := filepath.Join(root, strconv.Itoa(i))
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
		if err := writeSecrets(path, dir, int(user.UID), int(user.GID)); err != nil {
			return err
		}
	}
	return d.makeSecretEnv(root, spec.Secrets.Env, user)
}

// mountSecrets mounts a tmpfs that is never swapped out, where the kernel can
// (from 6.4 on).
func mountSecrets(root string, size int) error {
	if mounted(root) {
		return nil
	}
	options := fmt.Sprintf("size=%d,mode=0711", size)
	err := unix.Mount("tmpfs", root, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, options+",noswap")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount("tmpfs", root, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, options)
	}
	return err
}

// mounted tells whether something is mounted at a directory.
func mounted(path string) bool {
	var here, above unix.Stat_t
	return unix.Lstat(path, &here) == nil && unix.Lstat(filepath.Dir(path), &above) == nil && here.Dev != above.Dev
}

// writeSecrets puts files into a directory, all at once: they are written beside
// those that are there, and one rename makes them the present ones.
func writeSecrets(path string, dir runtime.SecretDir, uid, gid int) error {
	before, err := os.Readlink(filepath.Join(path, secretsPresent))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if before != "" && sameFiles(filepath.Join(path, before), dir.Files) {
		return nil
	}
	number, _ := strconv.Atoi(strings.TrimPrefix(before, "..")) // 0 when there is none
	next := ".." + strconv.Itoa(number+1)
	if err := os.RemoveAll(filepath.Join(path, next)); err != nil {
		return err
	}
	if err := writeVersion(filepath.Join(path, next), dir, uid, gid); err != nil {
		return err
	}
	link := filepath.Join(path, secretsNext)
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(next, link); err != nil {
		return err
	}
	if err := os.Rename(link, filepath.Join(path, secretsPresent)); err != nil {
		return err
	}
	if err := linkSecrets(path, dir.Files); err != nil || before == "" {
		return err
	}
	return os.RemoveAll(filepath.Join(path, before))
}

func writeVersion(path string, dir runtime.SecretDir, uid, gid int) error {
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(dir.Files)) {
		name := filepath.Join(path, key)
		if err := os.WriteFile(name, dir.Files[key], 0o400); err != nil {
			return err
		}
		if err := errors.Join(os.Chmod(name, dir.Mode), os.Lchown(name, uid, gid)); err != nil {
			return err
		}
	}
	return errors.Join(os.Chmod(path, 0o755), os.Lchown(path, uid, gid))
}

// linkSecrets makes the names under which the container finds the files.
func linkSecrets(path string, files map[string][]byte) error {
	there, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, entry := range there {
		if _, wanted := files[entry.Name()]; !wanted && !strings.HasPrefix(entry.Name(), "..") {
			if err := os.Remove(filepath.Join(path, entry.Name())); err != nil {
				return err
			}
		}
	}
	for key := range files {
		err := os.Symlink(filepath.Join(secretsPresent, key), filepath.Join(path, key))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func sameFiles(path string, files map[string][]byte) bool {
	there, err := os.ReadDir(path)
	if err != nil || len(there) != len(files) {
		return false
	}
	for _, entry := range there {
		wanted, ok := files[entry.Name()]
		content, err := os.ReadFile(filepath.Join(path, entry.Name()))
		if !ok || err != nil || !bytes.Equal(content, wanted) {
			return false
		}
	}
	return true
}

// UpdateSecrets implements runtime.SecretKeeper.
func (d *Driver) UpdateSecrets(_ context.Context, spec runtime.Spec) error {
	if err := runtime.CheckID(spec.ID); err != nil {
		return err
	}
	d.secretsMu.Lock()
	defer d.secretsMu.Unlock()
	root := d.secretsDir(containerID(spec.ID))
	if !mounted(root) {
		return nil
	}
	for i, dir := range spec.Secrets.Dirs {
		path := filepath.Join(root, strconv.Itoa(i))
		info, err := os.Stat(filepath.Join(path, secretsPresent))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it is being prepared, or of another template
		}
		if err != nil {
			return d.problem(spec.ID, "its secrets cannot be replaced", err)
		}
		owner := info.Sys().(*syscall.Stat_t)
		if err := writeSecrets(path, dir, int(owner.Uid), int(owner.Gid)); err != nil {
			return d.problem(spec.ID, "its secrets cannot be replaced", err)
		}
	}
	return nil
}

// dropSecrets forgets what a container was given. It may be gone already.
func (d *Driver) dropSecrets(container string) error {
	d.secretsMu.Lock()
	defer d.secretsMu.Unlock()
	root := d.secretsDir(container)
	if there, err := exists(root); err != nil || !there {
		return err
	}
	for mounted(root) {
		if err := unix.Unmount(root, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", root, err)
		}
	}
	return os.RemoveAll(root)
}
