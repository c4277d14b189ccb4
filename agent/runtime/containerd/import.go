package containerd

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

const (
	// maxTar bounds a tar of images.
	maxTar = 64 << 30
	// maxImages of one tar.
	maxImages = 64
)

// Import takes the images of a docker-archive or OCI-layout tar.
func (d *Driver) Import(ctx context.Context, tar io.Reader, name string) ([]runtime.StoredImage, error) {
	if name != "" && !imagePattern.MatchString(name) {
		return nil, problem.New(problem.Invalid, name, "it is not the name of an image").WithField("name")
	}
	ctx = d.in(ctx)
	if _, err := d.store(ctx); err != nil {
		return nil, d.problem("image", "it cannot be loaded", err)
	}
	leased, release, err := d.lease(ctx)
	if err != nil {
		return nil, d.problem("image", "it cannot be loaded", err)
	}
	defer release()
	found, err := d.unwrap(leased, tar, name)
	if err != nil {
		return nil, d.problem("image", "it cannot be loaded", err)
	}
	// All of them are made ready before the first one is present.
	for _, f := range found {
		if err := d.ready(leased, f.image); err != nil {
			return nil, d.problem("image", "it cannot be loaded", err)
		}
	}
	var stored []runtime.StoredImage
	for _, f := range found {
		for _, name := range f.names {
			if err := d.record(leased, name, f.image); err != nil {
				return nil, d.problem("image", "it cannot be loaded", err)
			}
			stored = append(stored, runtime.StoredImage{Name: name, Digest: f.target.Digest.String(), Size: f.size()})
		}
	}
	return stored, nil
}

// found is one image of a tar and what it is to be called.
type found struct {
	*image
	names []string
}

// unwrap puts the blobs of a tar into the content store and returns its
// images, all parts of which are there.
func (d *Driver) unwrap(ctx context.Context, tar io.Reader, name string) (_ []found, err error) {
	var unique [8]byte
	if _, err := d.Env.Rand.Read(unique[:]); err != nil {
		return nil, err
	}
	store := &importStore{Store: d.client.ContentStore(), prefix: "skerry-import-" + hex.EncodeToString(unique[:]) + "-"}
	defer func() {
		if err != nil {
			d.abortImport(ctx, store)
		}
	}()
	limited := &limitedReader{from: tar, left: maxTar}
	index, err := archive.ImportIndex(ctx, store, limited)
	if err == nil {
		_, err = io.Copy(io.Discard, limited) // what follows the end mark; a broken upload shows here
	}
	if err != nil {
		return nil, importFailure(limited, err)
	}
	var listed ocispec.Index
	if err := d.readJSON(ctx, index, &listed); err != nil {
		return nil, err
	}
	if len(listed.Manifests) == 0 || len(listed.Manifests) > maxImages {
		return nil, problem.New(problem.Invalid, "image", "the tar holds %d images, it should be 1 to %d", len(listed.Manifests), maxImages)
	}
	return d.sort(ctx, listed.Manifests, name)
}

// importFailure says why a tar could not be taken in.
func importFailure(tar *limitedReader, err error) error {
	var known *problem.Error
	switch {
	case tar.failure != nil && errors.As(tar.failure, &known):
		return tar.failure
	case tar.failure != nil:
		return problem.New(problem.Invalid, "image", "the tar ended early: %w", tar.failure)
	case tar.tooLong:
		return problem.New(problem.Exhausted, "image", "the tar is larger than %d GiB", maxTar>>30)
	case errdefs.IsUnavailable(err), errdefs.IsCanceled(err), errdefs.IsDeadlineExceeded(err),
		errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), strings.Contains(err.Error(), "no space left"):
		return err
	}
	return problem.New(problem.Invalid, "image", "the tar does not hold a whole image: %s", cleanText(err)).
		WithHint("it must be one of docker save, or an OCI image layout; was it copied to its end?")
}

// sort resolves and names the images of a tar.
func (d *Driver) sort(ctx context.Context, listed []ocispec.Descriptor, name string) ([]found, error) {
	var all []found
	for _, listing := range listed {
		target, err := d.resolve(ctx, listing, 0)
		if err != nil {
			return nil, err
		}
		at := slices.IndexFunc(all, func(f found) bool { return f.target.Digest == target.Digest })
		if at < 0 {
			image, err := d.readImage(ctx, target)
			if err != nil {
				return nil, err
			}
			all = append(all, found{image: image})
			at = len(all) - 1
		}
		called := name
		if called == "" {
			if called, err = nameOf(listing); err != nil {
				return nil, err
			}
		}
		if !slices.Contains(all[at].names, called) {
			all[at].names = append(all[at].names, called)
		}
	}
	if name != "" && len(all) > 1 {
		return nil, problem.New(problem.Invalid, "image", "the tar holds %d images, which cannot all be %s", len(all), name).WithField("name")
	}
	return all, nil
}

// nameOf is what a tar calls an image, as people write it in manifests: the
// registry and folder that docker puts before every short name are dropped.
func nameOf(listing ocispec.Descriptor) (string, error) {
	name := listing.Annotations[images.AnnotationImageName]
	if tag := listing.Annotations[ocispec.AnnotationRefName]; name == "" && strings.ContainsAny(tag, "/:") {
		name = tag // a tag alone names nothing
	}
	if parsed, err := reference.ParseNormalizedNamed(name); err == nil {
		name = reference.FamiliarString(parsed)
	}
	if !imagePattern.MatchString(name) {
		return "", problem.New(problem.Invalid, "image", "the tar does not name its image").WithHint("give a name: --name site.local/web:1")
	}
	return name, nil
}

// maxDepth of indexes in indexes.
const maxDepth = 3

// resolve returns the manifest for this node's platform; the only one, if
// there is but one.
func (d *Driver) resolve(ctx context.Context, listing ocispec.Descriptor, depth int) (ocispec.Descriptor, error) {
	if !images.IsIndexType(listing.MediaType) {
		return ocispec.Descriptor{MediaType: listing.MediaType, Digest: listing.Digest, Size: listing.Size}, nil
	}
	var index ocispec.Index
	if err := d.readJSON(ctx, listing, &index); err != nil {
		return ocispec.Descriptor{}, err
	}
	candidates := slices.DeleteFunc(index.Manifests, func(m ocispec.Descriptor) bool {
		return m.Platform != nil && m.Platform.OS == "unknown" // an attestation
	})
	matches := slices.Clone(candidates)
	if len(matches) > 1 {
		host := platforms.Default()
		matches = slices.DeleteFunc(matches, func(m ocispec.Descriptor) bool { return m.Platform == nil || !host.Match(*m.Platform) })
		slices.SortStableFunc(matches, func(a, b ocispec.Descriptor) int {
			if host.Less(*a.Platform, *b.Platform) {
				return -1
			}
			return 1
		})
	}
	if len(matches) == 0 || depth == maxDepth {
		return ocispec.Descriptor{}, problem.New(problem.Invalid, "image", "it has no variant for %s", platforms.DefaultString())
	}
	return d.resolve(ctx, matches[0], depth+1)
}

// abortImport drops what an import has begun to write.
func (d *Driver) abortImport(ctx context.Context, store *importStore) {
	ctx, cancel := d.after(ctx)
	defer cancel()
	begun, err := store.ListStatuses(ctx)
	for _, status := range begun {
		if strings.HasPrefix(status.Ref, store.prefix) {
			err = errors.Join(err, d.abort(ctx, status.Ref))
		}
	}
	if err != nil {
		d.Logger.Warn("half written blobs stay until they expire", "error", err)
	}
}

// importStore keeps imports apart: what one of them began to write is nothing
// to another.
type importStore struct {
	content.Store
	prefix string
}

func (s *importStore) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	return s.Store.Writer(ctx, append(opts, func(w *content.WriterOpts) error {
		w.Ref = s.prefix + digest.FromString(w.Ref).Encoded()
		return nil
	})...)
}

// Walk shows nothing, so that the same tar gives the same manifest whatever
// else is stored.
func (s *importStore) Walk(context.Context, content.WalkFunc, ...string) error { return nil }
