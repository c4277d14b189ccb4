package containerd

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// maxBlob bounds one blob.
const maxBlob = 16 << 30

// incoming is the lease of a blob that was fetched for an image that is not
// complete yet.
func incoming(digest string) string { return "skerry-incoming-" + digest }

// Missing returns the blobs that are still needed for an image.
func (d *Driver) Missing(ctx context.Context, digest string) ([]runtime.Blob, error) {
	ctx = d.in(ctx)
	missing, err := d.missing(ctx, digest)
	if err != nil {
		return nil, d.problem(digest, "what is missing cannot be found out", err)
	}
	return missing, nil
}

func (d *Driver) missing(ctx context.Context, digest string) ([]runtime.Blob, error) {
	target, err := d.target(ctx, digest)
	if errdefs.IsNotFound(err) {
		return []runtime.Blob{{Digest: digest}}, nil
	}
	if err != nil {
		return nil, err
	}
	i, err := d.readManifest(ctx, target)
	if err != nil {
		if verified := d.verify(ctx, target); problem.KindOf(verified) == problem.Invalid {
			return []runtime.Blob{{Digest: digest}}, d.dropBlob(ctx, target.Digest)
		}
		return nil, err
	}
	var missing []runtime.Blob
	seen := map[string]bool{}
	for _, blob := range i.blobs() {
		if seen[blob.Digest.String()] {
			continue
		}
		seen[blob.Digest.String()] = true
		if _, err := d.client.ContentStore().Info(ctx, blob.Digest); errdefs.IsNotFound(err) {
			missing = append(missing, runtime.Blob{Digest: blob.Digest.String(), Size: blob.Size})
		} else if err != nil {
			return nil, err
		}
	}
	return missing, nil
}

// OpenBlob opens one blob and tells its size.
func (d *Driver) OpenBlob(ctx context.Context, digest string) (io.ReadCloser, int64, error) {
	ctx = d.in(ctx)
	target, err := d.target(ctx, digest)
	if err == nil {
		var reader content.ReaderAt
		if reader, err = d.client.ContentStore().ReaderAt(ctx, target); err == nil {
			return struct {
				io.Reader
				io.Closer
			}{content.NewReader(reader), reader}, reader.Size(), nil
		}
	}
	if errdefs.IsNotFound(err) {
		return nil, 0, problem.New(problem.NotFound, digest, "this node does not hold it")
	}
	return nil, 0, d.problem(digest, "it cannot be opened", err)
}

// WriteBlob stores one blob, unless its content has another digest.
func (d *Driver) WriteBlob(ctx context.Context, blob runtime.Blob, from io.Reader) error {
	parsed, err := parseDigest(blob.Digest)
	if err != nil {
		return err
	}
	if blob.Size < 0 || blob.Size > maxBlob {
		return problem.New(problem.Invalid, blob.Digest, "a blob has at most %d GiB", maxBlob>>30)
	}
	ctx = d.in(ctx)
	_, err = d.client.LeasesService().Create(ctx, leases.WithID(incoming(blob.Digest)), leases.WithExpiration(leaseTime))
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return d.problem(blob.Digest, "it cannot be stored", err)
	}
	ctx = leases.WithLease(ctx, incoming(blob.Digest))
	// Without a size it can only be a manifest.
	limited := &limitedReader{from: from, left: cmp.Or(blob.Size, maxManifest)}
	err = d.write(ctx, ocispec.Descriptor{Digest: parsed, Size: blob.Size}, limited)
	var known *problem.Error
	switch {
	case err == nil:
		return nil
	case limited.tooLong:
		return problem.New(problem.Invalid, blob.Digest, "its content is longer than %d bytes", cmp.Or(blob.Size, maxManifest))
	case limited.failure != nil && errors.As(limited.failure, &known):
		return limited.failure
	case limited.failure != nil:
		return problem.New(problem.Unavailable, blob.Digest, "its content could not be read to its end: %w", limited.failure)
	case errdefs.IsFailedPrecondition(err), errdefs.IsInvalidArgument(err), errors.Is(err, io.ErrUnexpectedEOF):
		return problem.New(problem.Invalid, blob.Digest, "what came is not its content: %s", cleanText(err))
	default:
		return d.problem(blob.Digest, "it cannot be stored", err)
	}
}

// write takes content in; what is not whole is dropped.
func (d *Driver) write(ctx context.Context, blob ocispec.Descriptor, from io.Reader) error {
	var unique [8]byte
	if _, err := d.Env.Rand.Read(unique[:]); err != nil {
		return err
	}
	ref := "skerry-" + hex.EncodeToString(unique[:])
	store := d.client.ContentStore()
	writer, err := store.Writer(ctx, content.WithRef(ref), content.WithDescriptor(blob))
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	if err != nil {
		return err
	}
	err = content.Copy(ctx, writer, from, blob.Size, blob.Digest)
	_ = writer.Close() // committed, or dropped below
	if err != nil {
		cleanup, cancel := d.after(ctx)
		defer cancel()
		if failed := d.abort(cleanup, ref); failed != nil {
			d.Logger.Warn("a half written blob stays until it expires", "digest", blob.Digest, "error", failed)
		}
	}
	return err
}

// abort drops what was begun to be written. containerd learns only by and by
// that its writer is gone, and puts files into what is being removed until then.
func (d *Driver) abort(ctx context.Context, ref string) error {
	const tries = 20
	for try := 1; ; try++ {
		err := d.client.ContentStore().Abort(ctx, ref)
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		if try == tries {
			return err
		}
		if env.Sleep(ctx, d.Env.Clock, time.Duration(try)*5*time.Millisecond) != nil {
			return err
		}
	}
}

// Complete names an image whose blobs are all present and makes it ready to
// run.
func (d *Driver) Complete(ctx context.Context, name, digest string) error {
	if !imagePattern.MatchString(name) {
		return problem.New(problem.Invalid, name, "it is not the name of an image")
	}
	ctx = d.in(ctx)
	ctx, release, err := d.lease(ctx)
	if err != nil {
		return d.problem("Image/"+name, "it cannot be completed", err)
	}
	defer release()
	target, err := d.target(ctx, digest)
	if errdefs.IsNotFound(err) {
		return problem.New(problem.Conflict, "Image/"+name, "its manifest %s is missing", digest)
	}
	if err != nil {
		return d.problem("Image/"+name, "it cannot be completed", err)
	}
	i, err := d.readImage(ctx, target)
	if err == nil {
		err = d.complete(ctx, i, name)
	}
	if err != nil {
		return d.problem("Image/"+name, "it cannot be completed", err)
	}
	for _, blob := range i.blobs() {
		err := d.client.LeasesService().Delete(ctx, leases.Lease{ID: incoming(blob.Digest.String())})
		if err != nil && !errdefs.IsNotFound(err) {
			d.Logger.Debug("a lease stays until it expires", "digest", blob.Digest, "error", err)
		}
	}
	return nil
}

// complete makes the image survive garbage collection and power cuts, ready to
// run, and then present.
func (d *Driver) complete(ctx context.Context, i *image, names ...string) error {
	if err := d.ready(ctx, i); err != nil {
		return err
	}
	for _, name := range names {
		if err := d.record(ctx, name, i); err != nil {
			return err
		}
	}
	return nil
}

func (d *Driver) ready(ctx context.Context, i *image) error {
	store := d.client.ContentStore()
	children := images.HandlerFunc(func(_ context.Context, blob ocispec.Descriptor) ([]ocispec.Descriptor, error) {
		if blob.Digest == i.target.Digest {
			return i.blobs()[1:], nil
		}
		return nil, nil
	})
	if err := images.Walk(ctx, images.SetChildrenLabels(store, children), i.target); err != nil {
		return err
	}
	if _, err := d.unpack(ctx, i, reuseLayers); err != nil {
		return d.dropDamaged(ctx, i, err)
	}
	return nil
}

// limitedReader remembers why it ended.
type limitedReader struct {
	from    io.Reader
	left    int64
	tooLong bool
	failure error
}

func (r *limitedReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		// One byte more would be too many.
		if n, _ := io.ReadFull(r.from, make([]byte, 1)); n > 0 {
			r.tooLong = true
			return 0, errors.New("the content is too long")
		}
		return 0, io.EOF
	}
	n, err := r.from.Read(p[:min(int64(len(p)), r.left)])
	r.left -= int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		r.failure = err
	}
	return n, err
}
