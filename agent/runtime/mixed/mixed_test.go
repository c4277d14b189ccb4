package mixed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/diskimage"
	"skerry.dev/agent/runtime/model"
	"skerry.dev/agent/runtime/testimage"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// containers is the model as what runs containers.
type containers struct {
	*model.Driver
	runtime.Resolving
	directories
}

// directories are the volumes of containers.
type directories []runtime.HeldVolume

func (c containers) HeldVolumes() ([]runtime.HeldVolume, error)       { return c.directories, nil }
func (containers) DeleteVolume(context.Context, string, string) error { return nil }

func (containers) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
func (containers) Close() error                  { return nil }

// machines keeps what it is given.
type machines struct {
	Machines
	blobs     map[string][]byte
	named     map[string]string
	instances map[string]runtime.State
	did       []string
}

func newMachines() *machines {
	return &machines{blobs: map[string][]byte{}, named: map[string]string{}, instances: map[string]runtime.State{}}
}

func (m *machines) manifest(digest string) *diskimage.Manifest {
	parsed, err := diskimage.ParseManifest(m.blobs[digest])
	if err != nil {
		return nil
	}
	return parsed
}

func (m *machines) Has(id string) bool          { return m.instances[id] != 0 }
func (m *machines) HasImage(digest string) bool { return m.manifest(digest) != nil }

func (m *machines) Wants(digest string) bool {
	for known := range m.blobs {
		if parsed := m.manifest(known); parsed != nil && parsed.File().Digest == digest && m.blobs[digest] == nil {
			return true
		}
	}
	return false
}

func (m *machines) Missing(_ context.Context, digest string) ([]runtime.Blob, error) {
	file := m.manifest(digest).File()
	if m.blobs[file.Digest] == nil {
		return []runtime.Blob{{Digest: file.Digest, Size: file.Size}}, nil
	}
	return nil, nil
}

func (m *machines) WriteBlob(_ context.Context, blob runtime.Blob, content io.Reader) (err error) {
	m.blobs[blob.Digest], err = io.ReadAll(content)
	return err
}

func (m *machines) OpenBlob(_ context.Context, digest string) (io.ReadCloser, int64, error) {
	if m.blobs[digest] == nil {
		return nil, 0, problem.New(problem.NotFound, digest, "it is not here")
	}
	return io.NopCloser(bytes.NewReader(m.blobs[digest])), int64(len(m.blobs[digest])), nil
}

func (m *machines) Complete(_ context.Context, name, digest string) error {
	m.named[name] = digest
	return nil
}

func (m *machines) Import(_ context.Context, content io.Reader, name string) ([]runtime.StoredImage, error) {
	data, err := io.ReadAll(content)
	return []runtime.StoredImage{{Name: name, Size: int64(len(data)), DiskBytes: 1}}, err
}

func (m *machines) HeldVolumes() ([]runtime.HeldVolume, error) {
	return []runtime.HeldVolume{{Project: "p", Name: "b"}}, nil
}

func (m *machines) Images(context.Context) ([]runtime.StoredImage, error) { return nil, nil }

func (m *machines) Prepare(_ context.Context, spec runtime.Spec) error {
	m.instances[spec.ID] = runtime.Prepared
	return nil
}

func (m *machines) Start(_ context.Context, id string) error {
	m.did = append(m.did, "start "+id)
	return nil
}

func (m *machines) List(context.Context) ([]runtime.Instance, error) {
	var all []runtime.Instance
	for id, state := range m.instances {
		all = append(all, runtime.Instance{ID: id, State: state})
	}
	return all, nil
}

func both(t *testing.T) (*Driver, *machines) {
	t.Helper()
	m, system := newMachines(), env.NewSystem()
	return New(containers{Driver: model.New(system.Clock)}, m, system.Clock, slog.New(slog.DiscardHandler)), m
}

const (
	manifestDigest = "sha256:1111111111111111111111111111111111111111111111111111111111111111"
	diskDigest     = "sha256:2222222222222222222222222222222222222222222222222222222222222222"
)

func TestADiskImageTravelsToItsStore(t *testing.T) {
	d, m := both(t)
	text, err := json.Marshal(diskimage.Manifest{
		MediaType: diskimage.MediaType, Format: diskimage.Raw, DiskBytes: 1024, Layers: []diskimage.Layer{{Digest: diskDigest, Size: 1024}},
	})
	if err != nil {
		t.Fatal(err)
	}
	blobs := map[string][]byte{manifestDigest: text, diskDigest: bytes.Repeat([]byte("d"), 1024)}
	for round := range 3 {
		missing, err := d.Missing(t.Context(), manifestDigest)
		if err != nil {
			t.Fatal(err)
		}
		if round == 2 {
			if len(missing) != 0 {
				t.Fatalf("in the end is missing %v", missing)
			}
			break
		}
		if len(missing) != 1 {
			t.Fatalf("in round %d is missing %v", round, missing)
		}
		if err := d.WriteBlob(t.Context(), missing[0], bytes.NewReader(blobs[missing[0].Digest])); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Complete(t.Context(), "debian-12", manifestDigest); err != nil || m.named["debian-12"] != manifestDigest {
		t.Errorf("its names are %v, %v", m.named, err)
	}
	for digest, want := range blobs {
		if !bytes.Equal(m.blobs[digest], want) {
			t.Errorf("%s is not with the disks", digest)
		}
		blob, size, err := d.OpenBlob(t.Context(), digest)
		if err != nil || size != int64(len(want)) {
			t.Fatalf("%s opens as %d bytes, %v", digest, size, err)
		}
		_ = blob.Close()
	}
}

func TestImagesAreToldByTheirBeginning(t *testing.T) {
	d, _ := both(t)
	var tar bytes.Buffer
	if err := testimage.WriteOCILayout(&tar, "web:1"); err != nil {
		t.Fatal(err)
	}
	if loaded, err := d.Import(t.Context(), &tar, ""); err != nil || len(loaded) != 1 || loaded[0].DiskBytes != 0 {
		t.Errorf("a tar gave %v, %v", loaded, err)
	}
	const disk = "QFI\xfb and so on"
	if loaded, err := d.Import(t.Context(), strings.NewReader(disk), "debian-12"); err != nil || loaded[0].Size != int64(len(disk)) {
		t.Errorf("a disk gave %v, %v", loaded, err)
	}
	if _, err := d.Import(t.Context(), io.MultiReader(failing{}), "x"); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a reader that fails gave %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestEachInstanceIsItsRuntimes(t *testing.T) {
	d, m := both(t)
	m.instances["p.gone-1"] = runtime.Unknown
	if err := d.Start(t.Context(), "p.gone-1"); err != nil || len(m.did) != 1 {
		t.Errorf("a machine was started by %v, %v", m.did, err)
	}
	if err := d.Start(t.Context(), "p.web-1"); problem.KindOf(err) != problem.NotFound {
		t.Errorf("a container that is not there gave %v", err)
	}
	if err := d.Pause(t.Context(), "p.web-1"); problem.KindOf(err) != problem.Invalid {
		t.Errorf("pausing a container gave %v", err)
	}
	all, err := d.List(t.Context())
	if err != nil || len(all) != 1 || all[0].State != runtime.Unknown {
		t.Errorf("the instances are %v, %v", all, err)
	}
}

func TestVolumesAreThoseOfBoth(t *testing.T) {
	d, _ := both(t)
	d.Containers = containers{directories: directories{{Project: "p", Name: "a", Directory: true}, {Project: "p", Name: "c", Directory: true}}}
	held, err := d.HeldVolumes()
	if err != nil || len(held) != 3 || held[0].Name != "a" || held[1].Directory || !held[2].Directory {
		t.Errorf("the volumes are %v, %v", held, err)
	}
}
