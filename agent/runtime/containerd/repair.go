package containerd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	tasktypes "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

// quickEnd is how soon damage shows after a start.
const quickEnd = 3 * time.Second

// repairs remembers which images were unpacked anew since the agent began, so
// that a container that never works does not do it again and again.
type repairs struct {
	mu sync.Mutex
	// pending is true for images that are suspected and not unpacked anew yet.
	pending map[string]bool
}

// maxRepairs bounds what is remembered.
const maxRepairs = 1024

// suspect notes that an image may be damaged; false when it was suspected
// before.
func (r *repairs) suspect(digest string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pending == nil || len(r.pending) >= maxRepairs {
		r.pending = map[string]bool{}
	}
	if _, before := r.pending[digest]; before {
		return false
	}
	r.pending[digest] = true
	return true
}

// take tells whether an image must be unpacked anew, once.
func (r *repairs) take(digest string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := r.pending[digest]
	if due {
		r.pending[digest] = false
	}
	return due
}

// inspect looks at a run that is about to be forgotten. A program that is
// damaged on disk starts all the same: the kernel refuses it, or it runs into
// what is missing, at once.
func (d *Driver) inspect(record containers.Container, task *tasktypes.Process) {
	started, err := time.Parse(time.RFC3339Nano, record.Labels[labelStarted])
	if err != nil || task.GetStatus() != tasktypes.Status_STOPPED || task.GetExitStatus() == 0 ||
		task.GetExitedAt().AsTime().Sub(started) > quickEnd {
		return
	}
	id := record.Labels[labelInstance]
	if slices.Contains(damageSignals, task.GetExitStatus()) || containsAny(d.lastWords(id), damageWords) {
		if d.repairs.suspect(record.Labels[labelDigest]) {
			d.Logger.Info("its image may be damaged on disk; it is unpacked anew", "instance", id, "code", task.GetExitStatus())
		}
	}
}

// How a program ends whose files are damaged: SIGILL, SIGBUS, SIGSEGV, or with
// words of runc or of the dynamic loader.
var (
	damageSignals = []uint32{128 + 4, 128 + 7, 128 + 11}
	damageWords   = []string{"exec format error", "input/output error", "error while loading shared libraries", "invalid ELF header", "no such file or directory"}
)

func containsAny(text []byte, words []string) bool {
	return slices.ContainsFunc(words, func(word string) bool { return bytes.Contains(text, []byte(word)) })
}

// lastWords of an instance's log.
func (d *Driver) lastWords(id string) []byte {
	log, err := d.logs.Open(context.Background(), id, runtime.LogOptions{Tail: 3})
	if err != nil {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(log, 4<<10))
	if err != nil {
		return nil
	}
	return text
}

// startRepaired tries once more after a failed start, on layers that are
// unpacked anew: a power cut may have damaged them in a way that shows only
// when they run. It returns the first failure when that does not help.
func (d *Driver) startRepaired(ctx context.Context, id string, failure error) error {
	record, err := d.client.ContainerService().Get(ctx, containerID(id))
	if err != nil || !d.repairs.suspect(record.Labels[labelDigest]) || !d.repairs.take(record.Labels[labelDigest]) {
		return failure
	}
	d.Logger.Info("a start failed; its image is unpacked anew, in case that was damaged", "instance", id, "error", cleanText(failure))
	err = d.replaceRoot(ctx, record.SnapshotKey, record.Labels[labelDigest])
	if problem.KindOf(err) == problem.Invalid {
		return err // the blobs are damaged too, and gone now: they can be fetched again
	}
	if err == nil {
		err = d.start(ctx, id)
	}
	if err != nil {
		return failure
	}
	return nil
}

// replaceRoot gives a container that does not run a root of newly unpacked
// layers.
func (d *Driver) replaceRoot(ctx context.Context, key, name string) error {
	target, err := d.target(ctx, name)
	if err != nil {
		return err
	}
	i, err := d.readImage(ctx, target)
	if err != nil {
		return err
	}
	leased, release, err := d.lease(ctx)
	if err != nil {
		return err
	}
	defer release()
	store, err := d.store(ctx)
	if err != nil {
		return err
	}
	snapshotter := d.client.SnapshotService(store.snapshotter)
	top, err := d.unpackAnew(leased, i)
	if err != nil {
		return err
	}
	if err := snapshotter.Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	_, err = snapshotter.Prepare(leased, key, top)
	return err
}

// unpackAnew unpacks an image and uses none of the layers that are unpacked
// already.
func (d *Driver) unpackAnew(ctx context.Context, i *image) (string, error) {
	store, err := d.store(ctx)
	if err != nil {
		return "", err
	}
	if err := distrustLayers(ctx, d.client.SnapshotService(store.snapshotter), i); err != nil {
		return "", err
	}
	top, err := d.unpack(ctx, i, freshLayers)
	if err != nil {
		return "", d.dropDamaged(ctx, i, err)
	}
	return top, nil
}

// distrustLayers makes sure that no other image is built on these layers as
// they are now.
func distrustLayers(ctx context.Context, snapshotter snapshots.Snapshotter, i *image) error {
	for _, chain := range identity.ChainIDs(slices.Clone(i.config.RootFS.DiffIDs)) {
		var bad []string
		err := snapshotter.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
			bad = append(bad, info.Name)
			return nil
		}, fmt.Sprintf("labels.%q==%s", labelChain, chain))
		if err != nil {
			return err
		}
		for _, key := range bad {
			if err := label(ctx, snapshotter, key, labelSynced, ""); err != nil && !errdefs.IsNotFound(err) {
				return err
			}
		}
	}
	return nil
}

// dropDamaged removes blobs of an image whose content is not what their digest
// says, so that they count as missing and are fetched again. It returns
// failure when there are none.
func (d *Driver) dropDamaged(ctx context.Context, i *image, failure error) error {
	for _, blob := range i.blobs() {
		if err := d.verify(ctx, blob); problem.KindOf(err) != problem.Invalid {
			continue
		}
		if err := d.dropBlob(ctx, blob.Digest); err != nil {
			return err
		}
		failure = problem.New(problem.Invalid, blob.Digest.String(), "it was damaged on disk and removed").
			WithHint("it is fetched again from a node that has it, or load the image again")
	}
	return failure
}

// dropBlob removes a blob from disk before it returns, so that it can be
// written anew.
func (d *Driver) dropBlob(ctx context.Context, blob digest.Digest) error {
	_, release, err := d.lease(ctx)
	if err != nil {
		return err
	}
	defer release() // collects garbage
	if err := d.client.ContentStore().Delete(ctx, blob); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return nil
}

func (d *Driver) verify(ctx context.Context, blob ocispec.Descriptor) error {
	reader, err := d.client.ContentStore().ReaderAt(ctx, blob)
	if err != nil {
		return err
	}
	defer func() { _ = reader.Close() }() // opened for reading only
	actual, err := blob.Digest.Algorithm().FromReader(content.NewReader(reader))
	if err != nil {
		return err
	}
	if actual != blob.Digest {
		return problem.New(problem.Invalid, blob.Digest.String(), "its content has the digest %s", actual)
	}
	return nil
}
