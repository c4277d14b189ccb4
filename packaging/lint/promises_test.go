package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPromisesThatNothingShows(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{
		"Makefile": "help:\nbench: build\n", "docs/audit.md": "", "chaos/sim/bugs.go": `const Spill = "spill"`, "chaos/sim/sim_test.go": "func TestSeed(t *testing.T)",
		"shared/door/door_test.go": "func TestTheDoorIsShut(t *testing.T) {}\nfunc FuzzKey(f *testing.F) {}\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for cell, want := range map[string]string{
		"`shared/door` TestTheDoorIsShut, FuzzKey":                 "",
		"`shared/door`; `chaos/sim` planted bug `spill`":           "",
		"`shared/door` TestTheDoorIsShut; `make bench BENCH=door`": "",
		"`shared/door` TestTheDoorIsShut; docs/audit.md says what": "",
		"somebody looks":                                                 "nothing shows",
		"TestTheDoorIsShut":                                              "comes before the folder",
		"`shared/door` TestTheDoorIsOpen":                                "there is no TestTheDoorIsOpen in shared/door",
		"`shared/door` TestTheDoorIsShut, TestTheDoorIs":                 "there is no TestTheDoorIs in shared/door",
		"`shared/window` TestTheDoorIsShut":                              "there is no folder with tests shared/window",
		"`shared/door` TestTheDoorIsShut; `chaos/sim` TestTheDoorIsShut": "in chaos/sim",
		"`chaos/sim` planted bug `leak`":                                 "no planted bug leak",
		"`make break`":                                                   "there is no make break",
		"docs/locks.md":                                                  "does not exist",
	} {
		got := strings.Join(checkPromise(root, cell), "; ")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", cell, got, want)
		}
	}
}

func TestAllPromisesAreShown(t *testing.T) {
	unshown, err := checkPromises("../..")
	if err != nil || len(unshown) > 0 {
		t.Errorf("%v %s", err, strings.Join(unshown, "\n"))
	}
}
