package main

import (
	"bytes"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// One bit each of one to three files flips, always in the newest log, where it is read for sure.
func TestBitsFlipWhereTheyAreRead(t *testing.T) {
	sizes := map[string]int{"000001.log": 100, "000002.log": 4 * sureBytes, "000003.sst": 5000, "CURRENT": 16, "LOCK": 0}
	for seed := range uint64(50) {
		dir := t.TempDir()
		for name, size := range sizes {
			if err := os.WriteFile(filepath.Join(dir, name), make([]byte, size), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := flip(dir, rand.New(rand.NewPCG(seed, 0))); err != nil {
			t.Fatal(err)
		}
		var struck []string
		for name, size := range sizes {
			content, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			at := bytes.IndexFunc(content, func(r rune) bool { return r != 0 })
			if at < 0 {
				continue
			}
			struck = append(struck, name)
			if rest := bytes.Trim(content[at+1:], "\x00"); len(content) != size || bits.OnesCount8(content[at]) != 1 || len(rest) > 0 {
				t.Errorf("seed %d: more than one bit of %s flipped", seed, name)
			}
			if name == "000002.log" && at >= sureBytes {
				t.Errorf("seed %d: byte %d of the newest log flipped", seed, at)
			}
		}
		if !strings.Contains(strings.Join(struck, " "), "000002.log") || len(struck) > 3 {
			t.Errorf("seed %d: %q were struck", seed, struck)
		}
	}
}

func TestThereIsNothingToFlip(t *testing.T) {
	if err := flip(filepath.Join(t.TempDir(), "none"), rand.New(rand.NewPCG(1, 0))); err == nil {
		t.Error("no replica was there, and it says nothing")
	}
}
