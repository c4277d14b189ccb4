package sim

import (
	"strings"
	"testing"
)

func TestADiskKeepsWhatWasWrittenHoweverRoomIsUsedAgain(t *testing.T) {
	d := newDisk()
	write := func(text string) {
		t.Helper()
		if err := d.WriteFile("f", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(want string) {
		t.Helper()
		if got, err := d.ReadFile("f"); err != nil || string(got) != want {
			t.Errorf("it holds %q, %v, not %q", got, err, want)
		}
	}
	long := strings.Repeat("a", 100)
	write(long)
	write("b")
	write("c")
	wants("c")
	d.undo()
	wants("b")
	write("d")
	wants("d")
	d.undo()
	wants("b")
	write("e")
	write("f")
	wants("f")
	d.undo()
	wants("e")
	if err := d.Remove("f"); err != nil {
		t.Fatal(err)
	}
	write("g")
	wants("g")
}
