package mixed

import (
	"bufio"
	"bytes"
	"context"
	"io"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/diskimage"
)

// Import takes the image of a disk, or a tar of images of containers: their
// beginnings tell.
func (d *Driver) Import(ctx context.Context, content io.Reader, name string) ([]runtime.StoredImage, error) {
	buffered := bufio.NewReaderSize(content, diskimage.HeaderBytes)
	header, err := buffered.Peek(diskimage.HeaderBytes)
	if len(header) == 0 && err != nil && err != io.EOF { //nolint:errorlint // Peek gives it bare
		return nil, err
	}
	if diskimage.IsDisk(header) {
		return d.machines.Import(ctx, buffered, name)
	}
	return d.Containers.Import(ctx, buffered, name)
}

// Images of both.
func (d *Driver) Images(ctx context.Context) ([]runtime.StoredImage, error) {
	disks, err := d.machines.Images(ctx)
	if err != nil {
		return nil, err
	}
	containers, err := d.Containers.Images(ctx)
	return append(containers, disks...), err
}

// Missing blobs of an image. Of one that is not known at all, that is the manifest,
// which tells what it is.
func (d *Driver) Missing(ctx context.Context, digest string) ([]runtime.Blob, error) {
	if d.machines.HasImage(digest) {
		return d.machines.Missing(ctx, digest)
	}
	return d.Containers.Missing(ctx, digest)
}

// OpenBlob opens a blob of either.
func (d *Driver) OpenBlob(ctx context.Context, digest string) (io.ReadCloser, int64, error) {
	blob, size, err := d.machines.OpenBlob(ctx, digest)
	if err == nil {
		return blob, size, nil
	}
	return d.Containers.OpenBlob(ctx, digest)
}

// WriteBlob stores a blob where it belongs: a disk where its manifest is, a
// manifest by what is in it.
func (d *Driver) WriteBlob(ctx context.Context, blob runtime.Blob, content io.Reader) error {
	if d.machines.Wants(blob.Digest) {
		return d.machines.WriteBlob(ctx, blob, content)
	}
	if blob.Size > diskimage.MaxManifest {
		return d.Containers.WriteBlob(ctx, blob, content)
	}
	begin, err := io.ReadAll(io.LimitReader(content, diskimage.MaxManifest+1))
	if err != nil {
		return err
	}
	whole := io.MultiReader(bytes.NewReader(begin), content)
	if _, err := diskimage.ParseManifest(begin); err == nil {
		return d.machines.WriteBlob(ctx, blob, whole)
	}
	return d.Containers.WriteBlob(ctx, blob, whole)
}

// RemoveImage of either.
func (d *Driver) RemoveImage(ctx context.Context, digest string) error {
	if d.machines.HasImage(digest) {
		return d.machines.RemoveImage(ctx, digest)
	}
	return d.Containers.RemoveImage(ctx, digest)
}

// Complete names an image whose blobs are all present.
func (d *Driver) Complete(ctx context.Context, name, digest string) error {
	if d.machines.HasImage(digest) {
		return d.machines.Complete(ctx, name, digest)
	}
	return d.Containers.Complete(ctx, name, digest)
}
