package libvirt

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/diskimage"
	"skerry.dev/shared/problem"
)

// Import takes the image of one disk, qcow2 or raw.
func (d *Driver) Import(ctx context.Context, content io.Reader, name string) ([]runtime.StoredImage, error) {
	if name == "" {
		return nil, problem.New(problem.Invalid, "image", "a disk image does not name itself").WithHint("give a name: --name debian-12").WithField("name")
	}
	if !namePattern.MatchString(name) {
		return nil, problem.New(problem.Invalid, name, "it is not the name of an image").WithField("name")
	}
	fresh, err := d.disks.receive(ctx, content, diskimage.MaxBytes)
	if err != nil {
		return nil, err
	}
	defer fresh.discard()
	m := diskimage.Manifest{MediaType: diskimage.MediaType, Layers: []diskimage.Layer{{Digest: fresh.digest, Size: fresh.size}}}
	if m.Format, m.DiskBytes, err = checkDisk(ctx, fresh.path); err != nil {
		return nil, err
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	digest := digestOf(text)
	// The name comes last: the image counts as present only when all of it would
	// survive a power cut.
	if err = d.disks.keep(fresh); err == nil {
		if err = d.Env.FS.WriteFile(d.disks.blob(digest), text, 0o644); err == nil {
			err = d.disks.record(named{name, digest})
		}
	}
	if err != nil {
		return nil, d.problem("Image/"+name, "it cannot be kept", err)
	}
	return []runtime.StoredImage{(&stored{Manifest: m}).as(named{name, digest})}, nil
}

// WriteBlob stores a manifest or a disk.
func (d *Driver) WriteBlob(ctx context.Context, blob runtime.Blob, content io.Reader) error {
	if d.disks.blob(blob.Digest) == "" {
		return problem.New(problem.Invalid, blob.Digest, "it is not a digest such as sha256:...")
	}
	limit := blob.Size
	if limit == 0 {
		limit = diskimage.MaxManifest
	}
	fresh, err := d.disks.receive(ctx, content, limit)
	if err != nil {
		return err
	}
	defer fresh.discard()
	if fresh.digest != blob.Digest || blob.Size != 0 && fresh.size != blob.Size {
		return problem.New(problem.Invalid, blob.Digest, "what came has another digest or size")
	}
	return d.problem(blob.Digest, "it cannot be kept", d.disks.keep(fresh))
}

// fresh is a file that was received and is not kept yet.
type fresh struct {
	path, digest string
	size         int64
}

func (f *fresh) discard() { _ = os.Remove(f.path) } // or swept at the next start

// receive writes what comes to a file of its own. The disk is never filled
// wholly.
func (d *disks) receive(ctx context.Context, content io.Reader, limit int64) (_ *fresh, err error) {
	f, err := os.CreateTemp(d.temporary(), "image-")
	if err != nil {
		return nil, problem.New(problem.Internal, "image", "it cannot be stored: %w", err)
	}
	got := &fresh{path: f.Name()}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			got.discard()
		}
	}()
	h := sha256.New()
	from := &guarded{ctx: ctx, from: content, left: limit, dir: d.dir}
	if got.size, err = io.Copy(io.MultiWriter(f, h), from); err != nil {
		return nil, receiveFailure(err)
	}
	got.digest = "sha256:" + hex.EncodeToString(h.Sum(nil))
	if err := f.Chmod(0o644); err != nil { // QEMU's user reads it
		return nil, err
	}
	return got, f.Sync()
}

func receiveFailure(err error) error {
	var known *problem.Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var path *os.PathError
	if errors.As(err, &path) {
		return problem.New(problem.Exhausted, "image", "it cannot be stored: %w", path.Err)
	}
	return problem.New(problem.Invalid, "image", "it ended early: %w", err)
}

// keep a file under its digest.
func (d *disks) keep(f *fresh) error {
	return d.env.FS.Rename(f.path, filepath.Join(d.blobDir(), f.digest[len("sha256:"):]))
}

// guarded ends a copy that would fill the disk, or is longer than it may be.
type guarded struct {
	ctx  context.Context //nolint:containedctx // a reader has no other way to be ended
	from io.Reader
	left int64
	dir  string
	// unseen bytes since the disk was looked at.
	unseen int64
}

// lookAgain at the disk after so many bytes.
const lookAgain = 32 << 20

func (g *guarded) Read(p []byte) (int, error) {
	if err := g.ctx.Err(); err != nil {
		return 0, err
	}
	if g.unseen <= 0 {
		room, err := free(g.dir)
		if err == nil && room < roomFloor+lookAgain {
			return 0, problem.New(problem.Exhausted, "image", "the disk of %s is too full for it: %d MiB are free", g.dir, room>>20).
				WithHint("make room: df -h %s", g.dir)
		}
		g.unseen = lookAgain
	}
	n, err := g.from.Read(p)
	g.left, g.unseen = g.left-int64(n), g.unseen-int64(n)
	if g.left < 0 {
		return 0, problem.New(problem.Invalid, "image", "it is larger than it may be")
	}
	return n, err
}
