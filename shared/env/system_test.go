package env

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMkdirAllMakesWhatIsMissing(t *testing.T) {
	base := t.TempDir()
	for _, test := range []struct{ name, dir string }{
		{"one directory", filepath.Join(base, "one")},
		{"several, one in another", filepath.Join(base, "a", "b", "c")},
		{"one that is there already", base},
		{"a path that ends in a slash", filepath.Join(base, "d", "e") + "/"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := (systemFS{}).MkdirAll(test.dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if info, err := os.Stat(test.dir); err != nil || !info.IsDir() {
				t.Errorf("%s is not there: %v", test.dir, err)
			}
		})
	}
	t.Chdir(base)
	if err := (systemFS{}).MkdirAll("f/g", 0o700); err != nil {
		t.Errorf("a relative path: %v", err)
	}
	file := filepath.Join(base, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (systemFS{}).MkdirAll(filepath.Join(file, "under"), 0o700); err == nil {
		t.Error("a directory was made under a file")
	}
}
