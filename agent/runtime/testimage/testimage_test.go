package testimage

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

func TestMain(m *testing.M) {
	if _, err := os.Stat(busybox); err != nil {
		os.Stderr.WriteString("skipped: busybox-static is not installed\n")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestTheSameBusyboxGivesTheSameBytes(t *testing.T) {
	for name, write := range map[string]func(io.Writer, string) error{
		"docker": func(w io.Writer, name string) error { return WriteDockerArchive(w, name) }, "oci": WriteOCILayout,
		"docker, with a program": func(w io.Writer, name string) error { return WriteDockerArchive(w, name, busybox) },
	} {
		var a, b bytes.Buffer
		if err := errors.Join(write(&a, "web:1"), write(&b, "web:1")); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Bytes(), b.Bytes()) {
			t.Errorf("%s: two builds differ", name)
		}
	}
}

func TestTheOCILayoutIsWhole(t *testing.T) {
	files := written(t, WriteOCILayout)
	var index ocispec.Index
	decode(t, files[ocispec.ImageIndexFile], &index)
	if got := index.Manifests[0].Annotations[nameAnnotation]; got != "web:1" {
		t.Errorf("the image is called %q", got)
	}
	var manifest ocispec.Manifest
	decode(t, open(t, files, index.Manifests[0]), &manifest)
	var config ocispec.Image
	decode(t, open(t, files, manifest.Config), &config)
	var diffs []digest.Digest
	var names []string
	for _, layer := range manifest.Layers {
		content := open(t, files, layer)
		diffs = append(diffs, digest.FromBytes(content))
		names = append(names, slices.Collect(maps.Keys(untar(t, content)))...)
	}
	if diff := cmp.Diff(diffs, config.RootFS.DiffIDs); diff != "" {
		t.Error(diff)
	}
	for _, want := range []string{"bin/sh", "bin/httpd", "bin/serve", "www/index.html", "www/healthz"} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is missing", want)
		}
	}
}

func TestTheDockerArchiveIsWhole(t *testing.T) {
	files := written(t, func(w io.Writer, name string) error { return WriteDockerArchive(w, name) })
	var manifests []struct {
		Config           string
		RepoTags, Layers []string
	}
	decode(t, files["manifest.json"], &manifests)
	if diff := cmp.Diff([]string{"web:1"}, manifests[0].RepoTags); diff != "" {
		t.Error(diff)
	}
	for _, name := range append(manifests[0].Layers, manifests[0].Config) {
		hash, _, _ := strings.Cut(strings.TrimSuffix(name, ".json"), "/")
		if got := digest.FromBytes(files[name]).Encoded(); got != hash {
			t.Errorf("%s has the content %s", name, got)
		}
	}
}

func written(t *testing.T, write func(io.Writer, string) error) map[string][]byte {
	t.Helper()
	var b bytes.Buffer
	if err := write(&b, "web:1"); err != nil {
		t.Fatal(err)
	}
	return untar(t, b.Bytes())
}

func untar(t *testing.T, content []byte) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(content)); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func open(t *testing.T, files map[string][]byte, d ocispec.Descriptor) []byte {
	t.Helper()
	content := files["blobs/sha256/"+d.Digest.Encoded()]
	if digest.FromBytes(content) != d.Digest || int64(len(content)) != d.Size {
		t.Fatalf("%s is not there", d.Digest)
	}
	return content
}

func decode(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}
