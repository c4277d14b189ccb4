//go:build integration

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestTwoNemesesUnderLoad is the short form of make chaos-report.
func TestTwoNemesesUnderLoad(t *testing.T) {
	binary := os.Getenv("SKERRY_BINARY")
	if binary == "" {
		t.Fatal("SKERRY_BINARY must name the binary: make test-integration sets it")
	}
	dir := t.TempDir()
	o := options{
		binary: binary, results: filepath.Join(dir, "results"), keep: filepath.Join(dir, "failures"),
		only: "isolate-leader,sigkill", count: 2, length: time.Minute, hosts: 3, rate: 100, seed: 1,
	}
	if err := strikeAll(t.Context(), o); err != nil {
		t.Error(err)
	}
	all, err := readResults(o.results)
	if err != nil || len(all) != 2 {
		t.Fatalf("%d injections were told of: %v", len(all), err)
	}
	for _, in := range all {
		// A slow machine may leave an injection void, which is told of as such.
		if in.Verdict == failed || in.Ops == 0 {
			t.Errorf("%+v", in)
		}
	}
}
