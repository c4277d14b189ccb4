package conformance

import (
	"bytes"
	"io"
	"strings"

	"github.com/google/go-cmp/cmp"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/testimage"
	"skerry.dev/shared/problem"
)

// maxRounds bounds how often a store may ask for more.
const maxRounds = 8

func (s *suite) images(d Driver) []runtime.StoredImage {
	s.Helper()
	all, err := d.Images(s.ctx)
	s.must(err)
	return all
}

func images(s *suite) {
	all := s.images(s.Driver)
	if len(all) != 1 || all[0].Name != imageName || all[0].Digest != s.image || all[0].Size < 100_000 {
		s.Fatalf("the images are %+v", all)
	}
	missing, err := s.Driver.Missing(s.ctx, s.image)
	if err != nil || len(missing) != 0 {
		s.Errorf("of a whole image is missing: %v, %v", missing, err)
	}
	reader, size, err := s.Driver.OpenBlob(s.ctx, s.image)
	s.must(err)
	content, err := io.ReadAll(reader)
	if err != nil || int64(len(content)) != size || size == 0 {
		s.Errorf("the manifest has %d bytes, %d were told: %v", len(content), size, err)
	}
	s.must(reader.Close())
	_, _, err = s.Driver.OpenBlob(s.ctx, zeroDigest)
	s.wantKind(err, problem.NotFound)

	// The same image under another name is the same image.
	loaded, err := s.Driver.Import(s.ctx, bytes.NewReader(s.content), "other:2")
	s.must(err)
	want := []runtime.StoredImage{{Name: "other:2", Digest: s.image, Size: all[0].Size, DiskBytes: all[0].DiskBytes}}
	if diff := cmp.Diff(want, loaded); diff != "" {
		s.Error(diff)
	}
	want = append(want, all[0])
	if diff := cmp.Diff(want, s.images(s.Driver)); diff != "" {
		s.Error(diff)
	}
	s.Driver = s.Reopen(s.T, func() {})
	if diff := cmp.Diff(want, s.images(s.Driver)); diff != "" {
		s.Errorf("the next driver sees something else:\n%s", diff)
	}
}

const zeroDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"

func travel(s *suite) {
	other := s.Other(s.T)
	if all := s.images(other); len(all) != 0 {
		s.Fatalf("the other node holds %v", all)
	}
	if err := other.Complete(s.ctx, imageName, s.image); err == nil {
		s.Error("an image that is not there was completed")
	}
	for round := 0; ; round++ {
		missing, err := other.Missing(s.ctx, s.image)
		s.must(err)
		if len(missing) == 0 {
			break
		}
		if round == maxRounds {
			s.Fatalf("after %d rounds is missing: %v", round, missing)
		}
		if round == 0 && (len(missing) != 1 || missing[0].Digest != s.image) {
			s.Errorf("the first to be missing is %v, want the manifest", missing)
		}
		if round > 0 {
			s.wantKind(other.Complete(s.ctx, imageName, s.image), problem.Invalid)
		}
		for _, blob := range missing {
			s.carry(s.Driver, other, blob)
		}
	}
	if all := s.images(other); len(all) != 0 {
		s.Errorf("before it is complete, the other node lists %v", all)
	}
	s.must(other.Complete(s.ctx, imageName, s.image))
	s.must(other.Complete(s.ctx, imageName, s.image))
	if diff := cmp.Diff(s.images(s.Driver), s.images(other)); diff != "" {
		s.Error(diff)
	}
	s.Driver = other
	if i := s.ended(s.spec("there-1", "sh", "-c", "exit 5")); i.Exit.GetCode() != 5 && s.Machine == nil {
		s.Errorf("on the other node it ended with %v", i.Exit)
	}
	s.must(other.Remove(s.ctx, "default.there-1"))
}

// carry brings one blob from a store to another, after a few bad attempts.
func (s *suite) carry(from, to Driver, blob runtime.Blob) {
	s.Helper()
	reader, size, err := from.OpenBlob(s.ctx, blob.Digest)
	s.must(err)
	content, err := io.ReadAll(reader)
	s.must(err)
	s.must(reader.Close())
	if blob.Size != 0 && blob.Size != size {
		s.Errorf("%s has %d bytes, %d were told", blob.Digest, size, blob.Size)
	}
	changed := bytes.Clone(content)
	changed[len(changed)/2] ^= 1
	for _, bad := range [][]byte{changed, content[:len(content)-1], append(bytes.Clone(content), 0)} {
		if err := to.WriteBlob(s.ctx, blob, bytes.NewReader(bad)); err == nil {
			s.Errorf("%s was stored with other content", blob.Digest)
		}
	}
	if err := to.WriteBlob(s.ctx, blob, io.MultiReader(bytes.NewReader(content[:10]), failing{})); err == nil {
		s.Error("a blob was stored whose reader failed")
	}
	s.must(to.WriteBlob(s.ctx, blob, bytes.NewReader(content)))
	s.must(to.WriteBlob(s.ctx, blob, bytes.NewReader(content)))
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func damaged(s *suite) {
	var tar bytes.Buffer
	s.must(testimage.WriteOCILayout(&tar, "second:1"))
	whole := tar.Bytes()
	if s.Machine != nil {
		whole = s.content
	}
	changed := bytes.Clone(whole)
	changed[len(changed)/2] ^= 1 // in the middle of busybox
	other := s.Other(s.T)
	for name, bad := range map[string]io.Reader{
		"nothing":     strings.NewReader(""),
		"no tar":      strings.NewReader(strings.Repeat("this is no tar\n", 1000)),
		"truncated":   bytes.NewReader(whole[:len(whole)*2/3]),
		"other bytes": bytes.NewReader(changed),
		"a failure":   io.MultiReader(bytes.NewReader(whole[:len(whole)/2]), failing{}),
	} {
		if s.Machine != nil && name == "other bytes" {
			continue // the image of a disk has no digests inside
		}
		_, err := other.Import(s.ctx, bad, s.called)
		if err == nil {
			s.Errorf("%s: it was loaded", name)
			continue
		}
		s.wantKind(err, problem.Invalid)
		if all := s.images(other); len(all) != 0 {
			s.Errorf("%s: afterwards there is %v", name, all)
		}
		missing, err := other.Missing(s.ctx, s.image)
		s.must(err)
		if len(missing) != 1 {
			s.Errorf("%s: the manifest was kept, only %v is missing", name, missing)
		}
	}
	if _, err := other.Import(s.ctx, bytes.NewReader(whole), "not a name"); problem.KindOf(err) != problem.Invalid {
		s.Errorf("a bad name gave %v", err)
	}
	_, err := other.Import(s.ctx, bytes.NewReader(whole), s.called)
	s.must(err)
}

func unused(s *suite) {
	_, err := s.Driver.Import(s.ctx, bytes.NewReader(s.content), "other:2")
	s.must(err)
	spec := s.started(s.spec("web-1"))
	s.wantKind(s.Driver.RemoveImage(s.ctx, s.image), problem.Conflict)
	s.must(s.Driver.Stop(s.ctx, spec.ID, s.patience()))
	s.wantKind(s.Driver.RemoveImage(s.ctx, s.image), problem.Conflict)
	s.must(s.Driver.Remove(s.ctx, spec.ID))
	if s.Machine != nil { // its root disk is there yet
		s.wantKind(s.Driver.RemoveImage(s.ctx, s.image), problem.Conflict)
	}
	s.must(s.Driver.Forget(s.ctx, spec.ID))
	if all := s.images(s.Driver); len(all) != 2 {
		s.Fatalf("there are %+v", all)
	}
	s.must(s.Driver.RemoveImage(s.ctx, zeroDigest))
	s.must(s.Driver.RemoveImage(s.ctx, s.image))
	s.must(s.Driver.RemoveImage(s.ctx, s.image))
	if all := s.images(s.Driver); len(all) != 0 {
		s.Errorf("there is yet %+v", all)
	}
	_, _, err = s.Driver.OpenBlob(s.ctx, s.image)
	s.wantKind(err, problem.NotFound)
	s.wantKind(s.Driver.Prepare(s.ctx, spec), problem.NotFound)
	_, err = s.Driver.Import(s.ctx, bytes.NewReader(s.content), imageName)
	s.must(err)
	s.started(spec)
	s.ready(spec.ID)
}
