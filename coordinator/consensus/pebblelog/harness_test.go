package pebblelog

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/consensus/logtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testDir = "/var/lib/skerry/raft/1"

var silent = slog.New(slog.DiscardHandler)

// memDisk is a disk in memory that keeps only what was synced, and of the rest
// a random part.
type memDisk struct {
	fs   *vfs.MemFS
	rng  *rand.Rand
	keep int
	open *Log
}

func newMemDisk(keep int) *memDisk {
	return &memDisk{fs: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(7, uint64(keep))), keep: keep}
}

func (d *memDisk) Open(t testing.TB) consensus.Log {
	t.Helper()
	log, err := Open(d.fs, testDir, silent)
	if err != nil {
		t.Fatalf("the log does not open: %v", err)
	}
	d.open = log
	return log
}

// Crash takes the disk as a power cut would leave it; the process goes on over
// a disk that nobody looks at any more.
func (d *memDisk) Crash(t testing.TB) {
	t.Helper()
	left := d.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: d.keep, RNG: d.rng})
	if err := d.open.Close(); err != nil {
		t.Fatal(err)
	}
	d.fs, d.open = left, nil
}

func TestLogOnDiskDoesWhatALogMust(t *testing.T) {
	for _, test := range []struct {
		name string
		keep int
	}{
		{"and the power cut takes all that is not synced", 0},
		{"and the power cut takes half of what is not synced", 50},
		{"and only the process dies", 100},
	} {
		t.Run(test.name, func(t *testing.T) {
			logtest.Run(t, func(testing.TB) logtest.Disk { return newMemDisk(test.keep) })
		})
	}
}

func damageOf(table string) pebble.DataCorruptionInfo {
	return pebble.DataCorruptionInfo{Path: table, Details: errors.New("a checksum does not match")}
}
