package libvirt

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/diskimage"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// roomFloor is left free on the disk by an import.
	roomFloor = 256 << 20
)

var (
	digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	namePattern   = regexp.MustCompile(`^[A-Za-z0-9][-A-Za-z0-9._:/@+]{0,254}$`)
)

// disks holds images of disks, content-addressed: for each a small manifest,
// whose digest names the image, and the disk itself.
type disks struct {
	dir string
	env env.System
	log *slog.Logger
}

// stored is an image with the path of its file.
type stored struct {
	diskimage.Manifest
	path string
}

func openDisks(dir string, system env.System, log *slog.Logger) (*disks, error) {
	d := &disks{dir: dir, env: system, log: log}
	for _, dir := range []string{d.dir, d.blobDir(), d.namesDir(), d.temporary()} {
		if err := openToAll(dir); err != nil {
			return nil, problem.New(problem.Internal, dir, "the directory cannot be made: %w", err)
		}
	}
	return d, d.sweep()
}

func (d *disks) blobDir() string   { return filepath.Join(d.dir, "sha256") }
func (d *disks) namesDir() string  { return filepath.Join(d.dir, "names") }
func (d *disks) temporary() string { return filepath.Join(d.dir, "new") }

// sweep removes what broken imports left.
func (d *disks) sweep() error {
	entries, err := os.ReadDir(d.temporary())
	for _, entry := range entries {
		err = errors.Join(err, os.Remove(filepath.Join(d.temporary(), entry.Name())))
	}
	return err
}

// blob is the path of one; empty when that is no digest.
func (d *disks) blob(digest string) string {
	if !digestPattern.MatchString(digest) {
		return ""
	}
	return filepath.Join(d.blobDir(), strings.TrimPrefix(digest, "sha256:"))
}

func (d *disks) has(digest string) bool {
	path := d.blob(digest)
	return path != "" && exists(path)
}

// manifest of an image that may not be wholly here.
func (d *disks) manifest(digest string) (*diskimage.Manifest, error) {
	path := d.blob(digest)
	if path == "" {
		return nil, problem.New(problem.Invalid, digest, "it is not a digest such as sha256:...")
	}
	text, err := d.env.FS.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, problem.New(problem.NotFound, "Image/"+digest, "it is not on this node")
	}
	if err != nil {
		return nil, problem.New(problem.Internal, "Image/"+digest, "it cannot be read: %w", err)
	}
	if digestOf(text) != digest {
		return nil, problem.New(problem.Invalid, "Image/"+digest, "its content is damaged")
	}
	m, err := diskimage.ParseManifest(text)
	if err != nil {
		return nil, problem.New(problem.Invalid, "Image/"+digest, "%w", err)
	}
	return m, nil
}

// file of an image that is wholly here.
func (d *disks) file(digest string) (*stored, error) {
	m, err := d.manifest(digest)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(d.blob(m.File().Digest))
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() != m.File().Size {
		return nil, problem.New(problem.NotFound, "Image/"+digest, "its disk is not on this node")
	}
	if err != nil {
		return nil, problem.New(problem.Internal, "Image/"+digest, "its disk cannot be read: %w", err)
	}
	return &stored{*m, d.blob(m.File().Digest)}, nil
}

// named is one name of an image.
type named struct{ Name, Digest string }

func (d *disks) nameFile(n named) string {
	return filepath.Join(d.namesDir(), strings.TrimPrefix(digestOf([]byte(n.Name+"@"+n.Digest)), "sha256:"))
}

func (d *disks) record(n named) error {
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return d.env.FS.WriteFile(d.nameFile(n), text, 0o600)
}

// named are all names, whether their images are whole or not.
func (d *disks) named() ([]named, error) {
	files, err := d.env.FS.ReadDir(d.namesDir())
	if err != nil {
		return nil, err
	}
	var all []named
	for _, name := range files {
		text, err := d.env.FS.ReadFile(filepath.Join(d.namesDir(), name))
		if err != nil {
			return nil, err
		}
		var n named
		if json.Unmarshal(text, &n) != nil {
			continue // never whole, so never told
		}
		all = append(all, n)
	}
	return all, nil
}

// Images returns those that are wholly present.
func (d *Driver) Images(context.Context) ([]runtime.StoredImage, error) {
	names, err := d.disks.named()
	if err != nil {
		return nil, problem.New(problem.Internal, "", "the disk images cannot be listed: %w", err)
	}
	var all []runtime.StoredImage
	for _, n := range names {
		if image, err := d.disks.file(n.Digest); err == nil {
			all = append(all, image.as(n))
		}
	}
	slices.SortFunc(all, func(a, b runtime.StoredImage) int {
		return cmp.Or(cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

func (s *stored) as(n named) runtime.StoredImage {
	return runtime.StoredImage{Name: n.Name, Digest: n.Digest, Size: s.File().Size, DiskBytes: s.DiskBytes}
}

// HasImage tells whether the manifest of an image is here, or names this blob.
func (d *Driver) HasImage(digest string) bool {
	_, err := d.disks.manifest(digest)
	return err == nil
}

// Wants tells whether a blob is the disk of an image that is known, and is not here.
func (d *Driver) Wants(digest string) bool {
	if d.disks.has(digest) {
		return false
	}
	manifests, err := d.Env.FS.ReadDir(d.disks.blobDir())
	if err != nil {
		return false
	}
	for _, name := range manifests {
		if info, err := os.Stat(filepath.Join(d.disks.blobDir(), name)); err != nil || info.Size() > diskimage.MaxManifest {
			continue
		}
		if m, err := d.disks.manifest("sha256:" + name); err == nil && m.File().Digest == digest {
			return true
		}
	}
	return false
}

// Missing returns the blobs that are still needed for an image.
func (d *Driver) Missing(_ context.Context, digest string) ([]runtime.Blob, error) {
	m, err := d.disks.manifest(digest)
	if problem.KindOf(err) == problem.NotFound {
		return []runtime.Blob{{Digest: digest}}, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := d.disks.file(digest); err == nil {
		return nil, nil
	}
	return []runtime.Blob{{Digest: m.File().Digest, Size: m.File().Size}}, nil
}

// OpenBlob opens a manifest or a disk.
func (d *Driver) OpenBlob(_ context.Context, digest string) (io.ReadCloser, int64, error) {
	if !d.disks.has(digest) {
		return nil, 0, problem.New(problem.NotFound, digest, "this blob is not on this node")
	}
	f, err := os.Open(d.disks.blob(digest))
	if err != nil {
		return nil, 0, problem.New(problem.Internal, digest, "it cannot be opened: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

// Complete names an image whose blobs are all present.
func (d *Driver) Complete(ctx context.Context, name, digest string) error {
	if !namePattern.MatchString(name) {
		return problem.New(problem.Invalid, name, "it is not the name of an image").WithField("name")
	}
	image, err := d.disks.file(digest)
	if err != nil {
		if d.disks.has(digest) {
			return problem.New(problem.Invalid, "Image/"+name, "parts of it are not here yet")
		}
		return err
	}
	if _, err := os.Stat(d.disks.nameFile(named{name, digest})); err == nil {
		return nil
	}
	// Other nodes may hold what an older version took in.
	format, size, err := checkDisk(ctx, image.path)
	if err != nil {
		return err
	}
	if format != image.Format || size != image.DiskBytes {
		return problem.New(problem.Invalid, "Image/"+name, "it is %s of %d bytes, its manifest says %s of %d", format, size, image.Format, image.DiskBytes)
	}
	return d.problem("Image/"+name, "it cannot be kept", d.disks.record(named{name, digest}))
}

func digestOf(text []byte) string {
	sum := sha256.Sum256(text)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// free bytes of the disk.
func free(dir string) (int64, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, err
	}
	return int64(stat.Bavail) * stat.Bsize, nil
}
