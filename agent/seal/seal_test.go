package seal

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"pgregory.net/rapid"

	"skerry.dev/shared/env"
)

func open(t *testing.T, dir string) *Sealer {
	t.Helper()
	system := env.NewSystem()
	s, err := Open(system.FS, system.Rand, dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWhatIsSealedOpensAfterARestart(t *testing.T) {
	files, dir := env.NewSystem().FS, t.TempDir()
	path, secret := filepath.Join(dir, "web-1.sealed"), []byte("the key of web-1")
	if err := open(t, dir).WriteFile(files, path, secret); err != nil {
		t.Fatal(err)
	}
	stored, err := os.ReadFile(path)
	if err != nil || bytes.Contains(stored, secret) {
		t.Fatalf("it is stored in the clear: %q, %v", stored, err)
	}
	for _, name := range []string{path, filepath.Join(dir, keyFile)} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if got, err := open(t, dir).ReadFile(files, path); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("it opened as %q, %v", got, err)
	}
	if _, err := open(t, t.TempDir()).ReadFile(files, path); !errors.Is(err, errOpened) {
		t.Errorf("another node opened it: %v", err)
	}
	if _, err := open(t, dir).ReadFile(files, path+".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there gave %v", err)
	}
}

func TestAFileInAnothersPlaceDoesNotOpen(t *testing.T) {
	files, dir := env.NewSystem().FS, t.TempDir()
	s := open(t, dir)
	web, shop := filepath.Join(dir, "web-1.sealed"), filepath.Join(dir, "shop-1.sealed")
	if err := s.WriteFile(files, web, []byte("the key of web-1")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(web, shop); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadFile(files, shop); !errors.Is(err, errOpened) {
		t.Errorf("it gave %v", err)
	}
}

func TestAKeyFileOfAnotherSizeIsRefused(t *testing.T) {
	system, dir := env.NewSystem(), t.TempDir()
	for _, size := range []int{0, 16, 31, 33} {
		if err := os.WriteFile(filepath.Join(dir, keyFile), make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(system.FS, system.Rand, dir); err == nil {
			t.Errorf("a key of %d bytes was taken", size)
		}
	}
}

func TestEveryTamperingIsFound(t *testing.T) {
	s, err := New(bytes.Repeat([]byte{7}, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "plain")
		sealed, err := s.Seal("name", plain)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Open("name", sealed); err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("untouched it gave %q, %v", got, err)
		}
		bad := bytes.Clone(sealed)
		switch rapid.SampledFrom([]string{"flip", "cut", "extend"}).Draw(t, "how") {
		case "flip":
			bad[rapid.IntRange(0, len(bad)-1).Draw(t, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		case "cut":
			bad = bad[:rapid.IntRange(0, len(bad)-1).Draw(t, "length")]
		default:
			bad = append(bad, rapid.SliceOfN(rapid.Byte(), 1, 8).Draw(t, "more")...)
		}
		if got, err := s.Open("name", bad); err == nil {
			t.Fatalf("it opened as %q", got)
		}
	})
}

func FuzzOpen(f *testing.F) {
	s, err := New(make([]byte, KeySize))
	if err != nil {
		f.Fatal(err)
	}
	good, err := s.Seal("name", []byte("x"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{version})
	f.Fuzz(func(t *testing.T, sealed []byte) {
		// Each process that fuzzes seals with a nonce of its own, so what opens may
		// be another one's good bytes; it then opens as what was sealed.
		if plain, err := s.Open("name", sealed); err == nil && !bytes.Equal(plain, []byte("x")) {
			t.Fatalf("%x opened as %q", sealed, plain)
		}
	})
}
