package counts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"skerry.dev/shared/env"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func open(t *testing.T, path string) (*Counts, string) {
	t.Helper()
	r := &Counts{Node: "n1", Now: func() time.Time { return time.Unix(1_800_000_000, 0) }}
	damaged, err := r.Open(env.NewSystem().FS, path)
	if err != nil {
		t.Fatal(err)
	}
	return r, damaged
}

func save(t *testing.T, r *Counts) {
	t.Helper()
	if err := r.Save(); err != nil {
		t.Fatal(err)
	}
}

func TestWhatWasCountedIsThereAfterAStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "refusals")
	r, _ := open(t, path)
	for range 3 {
		r.Count("spiffe://reef/operator/mallory", &skerryv1.AuditRefusal{Reason: "forbidden", Resource: "x"})
	}
	save(t, r)
	again, damaged := open(t, path)
	again.Now = func() time.Time { return time.Unix(1_900_000_000, 0) }
	again.Count("spiffe://reef/operator/mallory", &skerryv1.AuditRefusal{Reason: "forbidden", Resource: "x"})
	taken := again.Take()
	if damaged != "" || len(taken) != 1 || taken[0].GetRefusals()[0].GetCount() != 4 || taken[0].GetHappened().GetSeconds() != 1_800_000_000 {
		t.Fatalf("after a start %v, damaged %q", taken, damaged)
	}
	save(t, again)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("what was taken is on the disk: %v", err)
	}
	save(t, again)
}

// oneByOne is a disk that notices two who write at once.
type oneByOne struct {
	env.FS
	busy, mixed atomic.Bool
}

func (d *oneByOne) WriteFile(name string, data []byte, perm os.FileMode) error {
	if d.busy.Swap(true) {
		d.mixed.Store(true)
	}
	defer d.busy.Store(false)
	return d.FS.WriteFile(name, data, perm)
}

// Whoever takes counts over from other nodes saves them, and so does whoever
// writes them to the log.
func TestSavesFollowEachOther(t *testing.T) {
	path := filepath.Join(t.TempDir(), "refusals")
	disk := &oneByOne{FS: env.NewSystem().FS}
	r := &Counts{Node: "n1"}
	if _, err := r.Open(disk, path); err != nil {
		t.Fatal(err)
	}
	const savers, each = 4, 25
	var saving sync.WaitGroup
	for range savers {
		saving.Go(func() {
			for range each {
				r.Count("spiffe://reef/operator/mallory", &skerryv1.AuditRefusal{Reason: "forbidden", Resource: "x"})
				if err := r.Save(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	saving.Wait()
	if disk.mixed.Load() {
		t.Error("two write the file at once")
	}
	again, _ := open(t, path)
	if got := again.Take()[0].GetRefusals()[0].GetCount(); got != savers*each {
		t.Errorf("%d of %d are on the disk", got, savers*each)
	}
}

func TestAnyDamageIsFoundAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "refusals")
	r, _ := open(t, path)
	r.Count("spiffe://reef/operator/mallory", &skerryv1.AuditRefusal{Reason: "forbidden", Resource: "x"})
	save(t, r)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		hurt := append([]byte{}, whole...)
		hurt[n] ^= 4
		for _, bytes := range [][]byte{hurt, whole[:n]} {
			if err := os.WriteFile(path, bytes, 0o600); err != nil {
				t.Fatal(err)
			}
			hurtCounts, damaged := open(t, path)
			if kept, err := os.ReadFile(damaged); err != nil || string(kept) != string(bytes) || hurtCounts.Take() != nil {
				t.Fatalf("byte %d: damaged %q, %v", n, damaged, err)
			}
		}
	}
}

func TestTheFileIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "refusals")
	r, _ := open(t, path)
	for n := range 200 {
		for line := range 20 {
			long := strings.Repeat("l", 10_000)
			r.Count(fmt.Sprintf("spiffe://reef/operator/o%d", n), &skerryv1.AuditRefusal{
				Reason: fmt.Sprint(line, long), Resource: long, From: long, Message: long,
			})
		}
	}
	save(t, r)
	if info, err := os.Stat(path); err != nil || info.Size() > maxFile {
		t.Errorf("the file: %v, %v", info.Size(), err)
	}
	if _, damaged := open(t, path); damaged != "" {
		t.Error("what was saved cannot be read")
	}
}

func TestWhatTwoNodesSawIsNotMixed(t *testing.T) {
	r := &Counts{Node: "n1"}
	for _, node := range []string{"n2", "n3"} {
		other := &Counts{Node: node}
		other.Count("spiffe://reef/operator/mallory", &skerryv1.AuditRefusal{Reason: "forbidden", Resource: "x"})
		for _, one := range other.Take() {
			r.Return(one)
		}
	}
	taken := r.Take()
	if len(taken) != 2 || taken[0].GetNode() != "n2" || taken[1].GetNode() != "n3" {
		t.Errorf("they are %v", taken)
	}
}
