package containerd

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

const (
	// leaseTime keeps blobs that no image names yet.
	leaseTime = 24 * time.Hour
	// maxManifest bounds manifests, indexes and configurations.
	maxManifest = 8 << 20
	maxLayers   = 256
)

// image is one image, by its manifest.
type image struct {
	target   ocispec.Descriptor
	manifest ocispec.Manifest
	config   ocispec.Image
}

// blobs are all parts, the manifest first.
func (i *image) blobs() []ocispec.Descriptor {
	return append([]ocispec.Descriptor{i.target, i.manifest.Config}, i.manifest.Layers...)
}

func (i *image) size() int64 {
	var size int64
	for _, blob := range i.blobs() {
		size += blob.Size
	}
	return size
}

// lease protects what is written with the returned context until it is
// released, or for leaseTime if the agent dies.
func (d *Driver) lease(ctx context.Context) (context.Context, func(), error) {
	manager := d.client.LeasesService()
	lease, err := manager.Create(ctx, leases.WithRandomID(), leases.WithExpiration(leaseTime))
	if err != nil {
		return nil, nil, err
	}
	return leases.WithLease(ctx, lease.ID), func() {
		cleanup, cancel := d.after(ctx)
		defer cancel()
		// At once: nothing of a refused image stays.
		if err := manager.Delete(cleanup, lease, leases.SynchronousDelete); err != nil && !errdefs.IsNotFound(err) {
			d.Logger.Warn("a lease stays until it expires", "lease", lease.ID, "error", err)
		}
	}, nil
}

// recordName is that of containerd's record. The digest is part of it: while
// a name moves on to another image, placements run the one before.
func recordName(name string, d digest.Digest) string { return name + "@" + d.String() }

// record makes the image one that is present.
func (d *Driver) record(ctx context.Context, name string, i *image) error {
	record := images.Image{
		Name: recordName(name, i.target.Digest), Target: i.target, Labels: map[string]string{labelImage: name},
	}
	_, err := d.client.ImageService().Create(ctx, record)
	if errdefs.IsAlreadyExists(err) {
		_, err = d.client.ImageService().Update(ctx, record)
	}
	return err
}

func (d *Driver) records(ctx context.Context) ([]images.Image, error) {
	return d.client.ImageService().List(ctx, fmt.Sprintf("labels.%q", labelImage))
}

// Images returns those that are wholly present.
func (d *Driver) Images(ctx context.Context) ([]runtime.StoredImage, error) {
	ctx = d.in(ctx)
	all, err := d.images(ctx)
	if err != nil {
		return nil, d.problem("", "the images cannot be listed", err)
	}
	return all, nil
}

func (d *Driver) images(ctx context.Context) ([]runtime.StoredImage, error) {
	records, err := d.records(ctx)
	if err != nil {
		return nil, err
	}
	present := map[digest.Digest]int64{}
	err = d.client.ContentStore().Walk(ctx, func(info content.Info) error {
		present[info.Digest] = info.Size
		return nil
	})
	if err != nil {
		return nil, err
	}
	var all []runtime.StoredImage
	for _, record := range records {
		if _, there := present[record.Target.Digest]; !there {
			continue
		}
		i, err := d.readManifest(ctx, record.Target)
		if err != nil {
			d.Logger.Warn("an image is damaged; it is fetched again when it is needed", "image", record.Name, "error", err)
			continue
		}
		if slices.ContainsFunc(i.blobs(), func(b ocispec.Descriptor) bool { return present[b.Digest] != b.Size }) {
			continue
		}
		all = append(all, runtime.StoredImage{Name: record.Labels[labelImage], Digest: record.Target.Digest.String(), Size: i.size()})
	}
	slices.SortFunc(all, func(a, b runtime.StoredImage) int {
		return cmp.Or(cmp.Compare(a.Digest, b.Digest), cmp.Compare(a.Name, b.Name))
	})
	return all, nil
}

// readManifest reads an image as far as its manifest goes.
func (d *Driver) readManifest(ctx context.Context, target ocispec.Descriptor) (*image, error) {
	i := &image{target: target}
	if err := d.readJSON(ctx, target, &i.manifest); err != nil {
		return nil, err
	}
	if i.manifest.Config.Digest == "" || len(i.manifest.Layers) > maxLayers {
		return nil, problem.New(problem.Invalid, target.Digest.String(), "it is not the manifest of an image with 1 to %d layers", maxLayers)
	}
	for _, blob := range i.blobs() {
		if err := blob.Digest.Validate(); err != nil || blob.Size < 0 {
			return nil, problem.New(problem.Invalid, target.Digest.String(), "its manifest names %q, which is no blob", blob.Digest)
		}
	}
	if i.target.MediaType == "" {
		i.target.MediaType = cmp.Or(i.manifest.MediaType, ocispec.MediaTypeImageManifest)
	}
	return i, nil
}

// readImage reads a whole image and makes sure that all parts are here and fit
// together.
func (d *Driver) readImage(ctx context.Context, target ocispec.Descriptor) (*image, error) {
	i, err := d.readManifest(ctx, target)
	if err != nil {
		return nil, err
	}
	for _, blob := range i.blobs() {
		info, err := d.client.ContentStore().Info(ctx, blob.Digest)
		if errdefs.IsNotFound(err) {
			return nil, problem.New(problem.Invalid, target.Digest.String(), "the blob %s is missing", blob.Digest)
		}
		if err != nil {
			return nil, err
		}
		if info.Size != blob.Size {
			return nil, problem.New(problem.Invalid, target.Digest.String(), "the blob %s has %d bytes in place of %d", blob.Digest, info.Size, blob.Size)
		}
	}
	if err := d.readJSON(ctx, i.manifest.Config, &i.config); err != nil {
		return nil, err
	}
	if len(i.config.RootFS.DiffIDs) != len(i.manifest.Layers) {
		return nil, problem.New(problem.Invalid, target.Digest.String(), "its configuration and its manifest name different layers")
	}
	return i, nil
}

// target describes a blob that is here.
func (d *Driver) target(ctx context.Context, name string) (ocispec.Descriptor, error) {
	parsed, err := parseDigest(name)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	info, err := d.client.ContentStore().Info(ctx, parsed)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	return ocispec.Descriptor{Digest: parsed, Size: info.Size}, nil
}

func parseDigest(name string) (digest.Digest, error) {
	parsed, err := digest.Parse(name)
	if err != nil {
		return "", problem.New(problem.Invalid, name, "it is not a digest such as sha256:...")
	}
	return parsed, nil
}

func (d *Driver) readJSON(ctx context.Context, blob ocispec.Descriptor, into any) error {
	if blob.Size > maxManifest {
		return problem.New(problem.Invalid, blob.Digest.String(), "it is larger than %d MiB and cannot describe an image", maxManifest>>20)
	}
	data, err := content.ReadBlob(ctx, d.client.ContentStore(), blob)
	if err != nil {
		return err
	}
	if blob.Digest.Algorithm().FromBytes(data) != blob.Digest {
		return problem.New(problem.Invalid, blob.Digest.String(), "its content is damaged")
	}
	if err := json.Unmarshal(data, into); err != nil {
		return problem.New(problem.Invalid, blob.Digest.String(), "it does not describe an image: %w", err)
	}
	return nil
}

// runnable is an image that is ready to run on this node.
type runnable struct {
	image
	// record of containerd; snapshot that holds all layers, and who keeps it.
	record, top, snapshotter string
}

// runnable returns an image of this node by the digest of its manifest, and
// unpacks it if that got lost.
func (d *Driver) runnable(ctx context.Context, name string) (*runnable, error) {
	parsed, err := parseDigest(name)
	if err != nil {
		return nil, err
	}
	absent := problem.New(problem.NotFound, "Image/"+name, "it is not on this node")
	records, err := d.client.ImageService().List(ctx, "target.digest=="+parsed.String())
	if err != nil {
		return nil, err
	}
	ours := slices.IndexFunc(records, func(r images.Image) bool { return r.Labels[labelImage] != "" })
	if ours < 0 {
		return nil, absent
	}
	i, err := d.readImage(ctx, records[ours].Target)
	if errdefs.IsNotFound(err) || problem.KindOf(err) == problem.Invalid {
		if damaged, failed := d.readManifest(ctx, records[ours].Target); failed == nil {
			err = d.dropDamaged(ctx, damaged, err)
		}
		absent.Err = err
		return nil, absent
	}
	if err != nil {
		return nil, err
	}
	if runs := i.config.Platform; runs.OS != "" && !platforms.Default().Match(runs) {
		return nil, problem.New(problem.Invalid, "Image/"+records[ours].Labels[labelImage], "it is made for %s, this node is %s",
			platforms.Format(runs), platforms.DefaultString())
	}
	store, err := d.store(ctx)
	if err != nil {
		return nil, err
	}
	r := &runnable{image: *i, record: records[ours].Name, snapshotter: store.snapshotter}
	damaged := d.repairs.take(name)
	if !damaged {
		if r.top, err = d.unpacked(ctx, i); err != nil || r.top != "" {
			return r, err
		}
	}
	leased, release, err := d.lease(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if damaged {
		r.top, err = d.unpackAnew(leased, i)
	} else {
		r.top, err = d.unpack(leased, i, reuseLayers)
	}
	return r, err
}
