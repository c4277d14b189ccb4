package model

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

// maxTar bounds a tar of images.
const maxTar = 256 << 20

type store struct {
	blobs  map[string][]byte
	images []runtime.StoredImage
}

func newStore() store { return store{blobs: map[string][]byte{}} }

func (s *store) present(name string) bool {
	return slices.ContainsFunc(s.images, func(i runtime.StoredImage) bool { return i.Digest == name })
}

func (s *store) add(image runtime.StoredImage) {
	if !slices.Contains(s.images, image) {
		s.images = append(s.images, image)
	}
	slices.SortFunc(s.images, func(a, b runtime.StoredImage) int {
		return cmp.Or(cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Name, b.Name))
	})
}

// AddImage makes an image present that has no content.
func (d *Driver) AddImage(image runtime.StoredImage) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.store.add(image)
}

// Images returns those that are wholly present.
func (d *Driver) Images(context.Context) ([]runtime.StoredImage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.store.images), nil
}

// Import takes a tar of an OCI layout, and no other format.
func (d *Driver) Import(_ context.Context, from io.Reader, name string) ([]runtime.StoredImage, error) {
	damaged := func(err error) error {
		return problem.New(problem.Invalid, "image", "the tar does not hold a whole image: %w", err)
	}
	if strings.ContainsAny(name, " \t\n") {
		return nil, problem.New(problem.Invalid, name, "it is not the name of an image")
	}
	blobs, index, err := untar(from)
	if err != nil {
		return nil, damaged(err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	next := store{blobs: blobs}
	var loaded []runtime.StoredImage
	for _, m := range index.Manifests {
		missing, size, err := next.missing(m.Digest.String())
		if err != nil || len(missing) > 0 {
			return nil, damaged(errors.Join(err, errors.New("blobs are missing")))
		}
		called := cmp.Or(name, m.Annotations[ocispec.AnnotationRefName])
		loaded = append(loaded, runtime.StoredImage{Name: called, Digest: m.Digest.String(), Size: size})
	}
	if len(loaded) == 0 {
		return nil, damaged(errors.New("there is no image"))
	}
	for name, content := range blobs {
		d.store.blobs[name] = content
	}
	for _, image := range loaded {
		d.store.add(image)
	}
	return loaded, nil
}

func untar(from io.Reader) (map[string][]byte, ocispec.Index, error) {
	blobs, index := map[string][]byte{}, ocispec.Index{}
	for r := tar.NewReader(io.LimitReader(from, maxTar)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return blobs, index, nil
		}
		if err != nil {
			return nil, index, err
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, index, err
		}
		switch {
		case header.Name == ocispec.ImageIndexFile:
			if err := json.Unmarshal(content, &index); err != nil {
				return nil, index, err
			}
		case strings.HasPrefix(header.Name, "blobs/") && digest.FromBytes(content).Encoded() == path.Base(header.Name):
			blobs[digest.FromBytes(content).String()] = content
		}
	}
}

// Missing returns the blobs that are still needed for an image.
func (d *Driver) Missing(_ context.Context, name string) ([]runtime.Blob, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.store.blobs[name] == nil && d.store.present(name) {
		return nil, nil // one without content
	}
	missing, _, err := d.store.missing(name)
	return missing, err
}

func (s *store) missing(name string) (missing []runtime.Blob, size int64, err error) {
	encoded, there := s.blobs[name]
	if !there {
		return []runtime.Blob{{Digest: name}}, 0, nil
	}
	var manifest ocispec.Manifest
	if err := json.Unmarshal(encoded, &manifest); err != nil {
		return nil, 0, problem.New(problem.Invalid, name, "it does not describe an image: %w", err)
	}
	size = int64(len(encoded))
	for _, part := range append([]ocispec.Descriptor{manifest.Config}, manifest.Layers...) {
		size += part.Size
		if s.blobs[part.Digest.String()] == nil {
			missing = append(missing, runtime.Blob{Digest: part.Digest.String(), Size: part.Size})
		}
	}
	return missing, size, nil
}

// OpenBlob opens one blob and tells its size.
func (d *Driver) OpenBlob(_ context.Context, name string) (io.ReadCloser, int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	content, there := d.store.blobs[name]
	if !there {
		return nil, 0, problem.New(problem.NotFound, name, "this node does not hold it")
	}
	return io.NopCloser(bytes.NewReader(content)), int64(len(content)), nil
}

// WriteBlob stores one blob, unless its content has another digest.
func (d *Driver) WriteBlob(_ context.Context, blob runtime.Blob, from io.Reader) error {
	content, err := io.ReadAll(io.LimitReader(from, maxTar))
	if err != nil {
		return problem.New(problem.Unavailable, blob.Digest, "its content could not be read to its end: %w", err)
	}
	if digest.FromBytes(content).String() != blob.Digest || blob.Size != 0 && blob.Size != int64(len(content)) {
		return problem.New(problem.Invalid, blob.Digest, "what came is not its content")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.store.blobs[blob.Digest] = content
	return nil
}

// Complete names an image whose blobs are all present.
func (d *Driver) Complete(_ context.Context, name, image string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	missing, size, err := d.store.missing(image)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		return problem.New(problem.Invalid, "Image/"+name, "the blob %s is missing", missing[0].Digest)
	}
	d.store.add(runtime.StoredImage{Name: name, Digest: image, Size: size})
	return nil
}

// RemoveImage removes an image under all its names. Blobs stay: others may need them.
func (d *Driver) RemoveImage(_ context.Context, name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, i := range d.instances {
		if i.image == name {
			return problem.New(problem.Conflict, "Image/"+name, "%s uses it", id)
		}
	}
	d.store.images = slices.DeleteFunc(d.store.images, func(i runtime.StoredImage) bool { return i.Digest == name })
	delete(d.store.blobs, name)
	return nil
}
