// Package testimage builds a small image out of this machine's static busybox,
// without any network. Tests, benchmarks and the demonstration run it.
//
// By default it serves /www over HTTP on port 8080 and ends at once on SIGTERM.
// It has sh and links to all applets, and the user www (1000:1000). The same
// busybox gives the same bytes, hence the same digest.
package testimage

import (
	"archive/tar"
	"bytes"
	_ "crypto/sha256" // go-digest finds its algorithm there
	"encoding/json"
	"io"
	"runtime"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// nameAnnotation holds the whole name of an image in an OCI layout, where the
// standard one holds often only the tag.
const nameAnnotation = "io.containerd.image.name"

// parts of the image, before either format wraps them.
type parts struct {
	config []byte
	layers [][]byte
}

func build(programs []string) (parts, error) {
	base, err := busyboxLayer()
	if err != nil {
		return parts{}, err
	}
	site, err := siteLayer()
	if err != nil {
		return parts{}, err
	}
	p := parts{layers: [][]byte{base, site}}
	if len(programs) > 0 {
		more, err := programLayer(programs)
		if err != nil {
			return parts{}, err
		}
		p.layers = append(p.layers, more)
	}
	config := ocispec.Image{
		Platform: ocispec.Platform{Architecture: runtime.GOARCH, OS: "linux"},
		Config: ocispec.ImageConfig{
			Env:          []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"},
			Entrypoint:   []string{"/bin/serve"},
			Cmd:          []string{"httpd", "-f", "-p", "8080", "-h", "/www"},
			WorkingDir:   "/www",
			ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		},
		RootFS: ocispec.RootFS{Type: "layers"},
	}
	for _, layer := range p.layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(layer))
		config.History = append(config.History, ocispec.History{CreatedBy: "skerry testimage"})
	}
	p.config, err = json.Marshal(config)
	return p, err
}

// WriteDockerArchive writes the image as `docker save` does, with more programs
// in /bin: paths of static binaries.
func WriteDockerArchive(w io.Writer, name string, programs ...string) error {
	image, err := build(programs)
	if err != nil {
		return err
	}
	configName := digest.FromBytes(image.config).Encoded() + ".json"
	files := []file{{name: configName, content: image.config}}
	var layers []string
	for _, layer := range image.layers {
		layerName := digest.FromBytes(layer).Encoded() + "/layer.tar"
		layers = append(layers, layerName)
		files = append(files, file{name: layerName, content: layer})
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": configName, "RepoTags": []string{name}, "Layers": layers}})
	if err != nil {
		return err
	}
	return writeTar(w, append(files, file{name: "manifest.json", content: manifest}))
}

// WriteOCILayout writes the image as a tar of an OCI image layout.
func WriteOCILayout(w io.Writer, name string) error {
	image, err := build(nil)
	if err != nil {
		return err
	}
	manifest := ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageManifest,
		Config:    describe(ocispec.MediaTypeImageConfig, image.config),
	}
	files := []file{blob(image.config)}
	for _, layer := range image.layers {
		manifest.Layers = append(manifest.Layers, describe(ocispec.MediaTypeImageLayer, layer))
		files = append(files, blob(layer))
	}
	encoded, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	described := describe(ocispec.MediaTypeImageManifest, encoded)
	described.Annotations = map[string]string{nameAnnotation: name, ocispec.AnnotationRefName: name}
	index, err := json.Marshal(ocispec.Index{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: ocispec.MediaTypeImageIndex,
		Manifests: []ocispec.Descriptor{described},
	})
	if err != nil {
		return err
	}
	return writeTar(w, append(files, blob(encoded),
		file{name: ocispec.ImageLayoutFile, content: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		file{name: ocispec.ImageIndexFile, content: index}))
}

func describe(mediaType string, content []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(content), Size: int64(len(content))}
}

func blob(content []byte) file {
	return file{name: "blobs/sha256/" + digest.FromBytes(content).Encoded(), content: content}
}

// file of a tar; a directory when the name ends with a slash, a link when it
// has a target.
type file struct {
	name, target string
	content      []byte
	executable   bool
}

func writeTar(w io.Writer, files []file) error {
	out := tar.NewWriter(w)
	for _, f := range files {
		header := &tar.Header{Name: f.name, Mode: 0o644, Size: int64(len(f.content)), Typeflag: tar.TypeReg, Linkname: f.target}
		switch {
		case f.target != "":
			header.Typeflag, header.Mode = tar.TypeSymlink, 0o777
		case f.name[len(f.name)-1] == '/':
			header.Typeflag, header.Mode = tar.TypeDir, 0o755
		case f.executable:
			header.Mode = 0o755
		}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		if _, err := out.Write(f.content); err != nil {
			return err
		}
	}
	return out.Close()
}

func layer(files []file) ([]byte, error) {
	var b bytes.Buffer
	err := writeTar(&b, files)
	return b.Bytes(), err
}
