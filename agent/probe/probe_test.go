package probe

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What is reserved as huge pages is not there twice.
func TestHugePagesAreDevices(t *testing.T) {
	given := map[string]uint32{"gpu": 1}
	with, bytes := withHugePages(given)
	if want := int64(with["hugepages-2Mi"])<<21 + int64(with["hugepages-1Gi"])<<30; bytes != want || with["gpu"] != 1 || len(given) != 1 {
		t.Errorf("%v, of %d bytes; given were %v", with, bytes, given)
	}
}

func TestAReserveTakesRoomOnTheDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ballast")
	const size = 8 << 20
	for range 2 { // the second time there is nothing to do
		if err := Reserve(path, size); err != nil {
			t.Fatal(err)
		}
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if blocks := info.Sys().(*syscall.Stat_t).Blocks * 512; blocks < size || info.Mode().Perm() != 0o600 {
		t.Errorf("it takes %d bytes with mode %s", blocks, info.Mode())
	}
}

func TestAReserveThatDoesNotFitIsAnError(t *testing.T) {
	if err := Reserve(filepath.Join(t.TempDir(), "ballast"), 1<<60); err == nil {
		t.Error("a reserve larger than any disk was made")
	}
}

func TestTheDiskOfADirectoryThatIsNotThereYetIsThatOfItsParent(t *testing.T) {
	dir := t.TempDir()
	want, err := DiskSize(dir)
	if err != nil || want == 0 {
		t.Fatal(want, err)
	}
	if got, err := DiskSize(filepath.Join(dir, "not", "yet")); got != want || err != nil {
		t.Errorf("%d bytes, %v, want %d", got, err, want)
	}
}
