package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestACrashIsToldOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent.log")
	written, offset := "", int64(0)
	for _, test := range []struct {
		written string
		want    []string
	}{
		{"", nil},
		{"level=INFO msg=\"panic: not one\"\n", nil},
		{"panic: index out of range\n\ngoroutine 1 [running]:\n", []string{"panic: index out of range"}},
		{"level=INFO\nfatal error: conc", nil},
		{"urrent map writes\n", []string{"fatal error: concurrent map writes"}},
		{"panic: fatal commit error: EIO\n", nil},
	} {
		written += test.written
		if written != "" {
			if err := os.WriteFile(path, []byte(written), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var got []string
		var err error
		if got, offset, err = crashesIn(path, offset); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("after %q: %q, %v; want %q", test.written, got, err, test.want)
		}
	}
}
