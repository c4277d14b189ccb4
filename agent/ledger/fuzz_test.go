package ledger

import (
	"math"
	"path/filepath"
	"testing"

	"skerry.dev/shared/env"
)

// Whatever is found where the orders should be: the ledger opens or refuses,
// and what it opens can be kept again.
func FuzzOpen(f *testing.F) {
	files := env.NewSystem().FS
	dir := f.TempDir()
	l, err := Open(files, dir)
	if err != nil {
		f.Fatal(err)
	}
	if err := l.Accept(orders(1, 2, 3)); err != nil {
		f.Fatal(err)
	}
	data, err := files.ReadFile(filepath.Join(dir, "ledger", ordersFile))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(false, data)
	f.Add(true, data[:len(data)/2])
	f.Fuzz(func(t *testing.T, book bool, data []byte) {
		dir, name := t.TempDir(), ordersFile
		if book {
			name = bookFile
		}
		if err := files.MkdirAll(filepath.Join(dir, "ledger"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := files.WriteFile(filepath.Join(dir, "ledger", name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		l, err := Open(files, dir)
		if err != nil {
			return
		}
		newer := orders(math.MaxUint64, math.MaxUint64, math.MaxUint64)
		if err := l.Accept(newer); err != nil {
			t.Errorf("a ledger that opened takes no orders: %v", err)
		}
	})
}
