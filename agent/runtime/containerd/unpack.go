package containerd

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"slices"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/identity"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"skerry.dev/shared/problem"
)

// storage is where containerd keeps images.
type storage struct {
	snapshotter string
	// roots of blobs and snapshots on disk.
	roots []string
}

// store asks containerd once.
func (d *Driver) store(ctx context.Context) (*storage, error) {
	d.mu.Lock()
	known := d.storage
	d.mu.Unlock()
	if known != nil {
		return known, nil
	}
	answer, err := d.client.IntrospectionService().Plugins(ctx, "type==io.containerd.snapshotter.v1", "type==io.containerd.content.v1")
	if err != nil {
		return nil, err
	}
	found, roots := &storage{}, map[string]string{}
	for _, plugin := range answer.GetPlugins() {
		if plugin.GetInitErr() == nil {
			roots[plugin.GetID()] = plugin.GetExports()["root"]
		}
	}
	for _, candidate := range []string{"overlayfs", "native"} {
		if _, works := roots[candidate]; works && found.snapshotter == "" {
			found.snapshotter = candidate
		}
	}
	if found.snapshotter == "" {
		return nil, problem.New(problem.Unavailable, d.Address, "containerd has neither the snapshotter overlayfs nor native").
			WithHint("ctr plugins ls shows why")
	}
	found.roots = slices.Compact([]string{roots["content"], roots[found.snapshotter]})
	d.mu.Lock()
	d.storage = found
	d.mu.Unlock()
	return found, nil
}

// sync returns when what containerd wrote would survive a power cut. It writes
// layers without any sync of its own.
func (s *storage) sync() error {
	for _, root := range s.roots {
		if root == "" {
			unix.Sync()
			continue
		}
		if err := syncfs(root); err != nil {
			return fmt.Errorf("sync %s: %w", root, err)
		}
	}
	return nil
}

func syncfs(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }() // opened for reading only
	return unix.Syncfs(int(dir.Fd()))
}

// Whether layers that are unpacked already may be used.
const (
	reuseLayers  = true
	freshLayers  = false
	snapshotRoot = "containerd.io/gc.ref.snapshot."
)

// unpacked returns the snapshot that holds all layers of the image; empty when
// there is none.
func (d *Driver) unpacked(ctx context.Context, i *image) (string, error) {
	store, err := d.store(ctx)
	if err != nil {
		return "", err
	}
	info, err := d.client.ContentStore().Info(ctx, i.manifest.Config.Digest)
	if err != nil {
		return "", err
	}
	top := info.Labels[snapshotRoot+store.snapshotter]
	if top == "" {
		return "", nil
	}
	stat, err := d.client.SnapshotService(store.snapshotter).Stat(ctx, top)
	if errdefs.IsNotFound(err) {
		return "", nil
	}
	if err != nil || stat.Labels[labelSynced] == "" {
		return "", err
	}
	return top, nil
}

// unpack makes snapshots of the image's layers and returns the last one. They
// count only when they are wholly on disk: those of an unpack that a power cut
// ended are never used.
func (d *Driver) unpack(ctx context.Context, i *image, reuse bool) (string, error) {
	store, err := d.store(ctx)
	if err != nil {
		return "", err
	}
	snapshotter := d.client.SnapshotService(store.snapshotter)
	chains := identity.ChainIDs(slices.Clone(i.config.RootFS.DiffIDs))
	top, first := "", 0
	for n := len(chains) - 1; reuse && n >= 0 && top == ""; n-- {
		if top, err = findLayer(ctx, snapshotter, chains[n]); err != nil {
			return "", err
		}
		first = n + 1
	}
	if top == "" {
		first = 0
	}
	var made []string
	for n := first; n < len(chains); n++ {
		if top, err = d.applyLayer(ctx, snapshotter, top, chains[n], i.manifest.Layers[n], i.config.RootFS.DiffIDs[n]); err != nil {
			return "", err
		}
		made = append(made, top)
	}
	if err := store.sync(); err != nil {
		return "", err
	}
	for _, key := range made {
		if err := label(ctx, snapshotter, key, labelSynced, "true"); err != nil {
			return "", err
		}
	}
	_, err = d.client.ContentStore().Update(ctx, content.Info{
		Digest: i.manifest.Config.Digest, Labels: map[string]string{snapshotRoot + store.snapshotter: top},
	}, "labels."+snapshotRoot+store.snapshotter)
	return top, err
}

func label(ctx context.Context, snapshotter snapshots.Snapshotter, key, name, value string) error {
	_, err := snapshotter.Update(ctx, snapshots.Info{Name: key, Labels: map[string]string{name: value}}, "labels."+name)
	return err
}

// findLayer returns a snapshot that holds a chain of layers wholly; empty when
// there is none.
func findLayer(ctx context.Context, snapshotter snapshots.Snapshotter, chain digest.Digest) (string, error) {
	found := ""
	err := snapshotter.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		if info.Kind == snapshots.KindCommitted {
			found = info.Name
		}
		return nil
	}, fmt.Sprintf("labels.%q==%s,labels.%q==true", labelChain, chain, labelSynced))
	return found, err
}

// applyLayer unpacks one layer over another snapshot.
func (d *Driver) applyLayer(ctx context.Context, snapshotter snapshots.Snapshotter, parent string, chain digest.Digest,
	blob ocispec.Descriptor, diff digest.Digest) (_ string, err error) {
	if !images.IsLayerType(blob.MediaType) {
		return "", problem.New(problem.Invalid, blob.Digest.String(), "a layer of type %q cannot be unpacked", blob.MediaType)
	}
	var unique [8]byte
	if _, err := d.Env.Rand.Read(unique[:]); err != nil {
		return "", err
	}
	key := chain.String() + "-" + hex.EncodeToString(unique[:])
	work := key + "-unpack"
	mounts, err := snapshotter.Prepare(ctx, work, parent)
	if err != nil {
		return "", err
	}
	defer func() {
		if err == nil {
			return
		}
		cleanup, cancel := d.after(ctx)
		defer cancel()
		if failed := snapshotter.Remove(cleanup, work); failed != nil && !errdefs.IsNotFound(failed) {
			d.Logger.Warn("a half unpacked layer stays until containerd cleans up", "snapshot", work, "error", failed)
		}
	}()
	applied, err := d.client.DiffService().Apply(ctx, blob, mounts)
	if err != nil {
		return "", fmt.Errorf("unpack layer %s: %w", blob.Digest, err)
	}
	if applied.Digest != diff {
		return "", problem.New(problem.Invalid, blob.Digest.String(), "the layer is damaged: it unpacks to %s in place of %s", applied.Digest, diff)
	}
	return key, snapshotter.Commit(ctx, key, work, snapshots.WithLabels(map[string]string{labelChain: chain.String()}))
}
