package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestArgumentsAreCheckedFirst(t *testing.T) {
	dir := t.TempDir()
	program, manifest := filepath.Join(dir, "skerry"), filepath.Join(dir, "web.yaml")
	for file, mode := range map[string]os.FileMode{program: 0o700, manifest: 0o600} {
		if err := os.WriteFile(file, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		rest        []string
		binary, web string
		says        string
	}{
		"all is well":             {binary: program, web: manifest},
		"a word that is no flag":  {rest: []string{"keep"}, binary: program, web: manifest, says: "no flag"},
		"no binary":               {binary: filepath.Join(dir, "none"), web: manifest, says: "make build"},
		"a binary that cannot be": {binary: manifest, web: manifest, says: "cannot be executed"},
		"no manifest":             {binary: program, web: filepath.Join(dir, "none"), says: "-web"},
	} {
		err := checkArguments(test.rest, test.binary, test.web)
		if test.says == "" && err != nil || test.says != "" && (err == nil || !strings.Contains(err.Error(), test.says)) {
			t.Errorf("%s: it says %v", name, err)
		}
	}
}
