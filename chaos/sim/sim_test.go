package sim

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/cryptotest"
	"time"
)

// faultTime of the ten seeds that every test run simulates.
const faultTime = 15 * time.Minute

// simulate runs one seed. etcd raft takes its chance from crypto/rand.
func simulate(t *testing.T, options Options) Result {
	t.Helper()
	cryptotest.SetGlobalRandom(t, options.Seed)
	return Run(options)
}

// TestSeed runs the seed of SKERRY_SIM_SEED and writes its trace to a file.
func TestSeed(t *testing.T) {
	text := os.Getenv("SKERRY_SIM_SEED")
	if text == "" {
		t.Skip("no seed given: make sim SEED=n")
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("SKERRY_SIM_SEED is not a number: %v", err)
	}
	start := time.Now()
	result := simulate(t, Options{Seed: seed, Faults: faultTime})
	path := filepath.Join(os.TempDir(), "skerry-sim.trace")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := result.WriteTrace(file); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	t.Logf("seed %d, trace in %s, %v: %v", seed, path, time.Since(start).Round(time.Millisecond), result)
	if result.Violation != nil {
		t.Error(result.Violation)
	}
}
