//go:build integration

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestTheDiskFailsAsItIsTold mounts one; it needs root and /dev/fuse.
func TestTheDiskFailsAsItIsTold(t *testing.T) {
	dir := t.TempDir()
	program, backing, shown, socket := filepath.Join(dir, "faultdisk"), filepath.Join(dir, "backing"), filepath.Join(dir, "shown"), filepath.Join(dir, "sock")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, d := range []string{backing, shown} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	server := exec.Command(program, backing, shown, socket)
	server.Stderr = os.Stderr
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM) // it may have ended
		_ = server.Wait()
	})
	tell := func(command string) error {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		_, err = fmt.Fprintln(conn, command)
		answer := make([]byte, 100)
		n, readErr := conn.Read(answer)
		if said := strings.TrimSpace(string(answer[:n])); said != "ok" {
			return errors.Join(err, readErr, errors.New(said))
		}
		return err
	}
	for deadline := time.Now().Add(20 * time.Second); tell("ok") != nil; {
		if time.Now().After(deadline) {
			t.Fatal("it does not listen")
		}
		time.Sleep(10 * time.Millisecond)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	want := func(name, content string) {
		t.Helper()
		if got, err := os.ReadFile(filepath.Join(backing, name)); err != nil || string(got) != content {
			t.Errorf("%s holds %q, not %q: %v", name, got, content, err)
		}
	}
	f, err := os.OpenFile(filepath.Join(shown, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	must(err)
	write := func(text string) { t.Helper(); _, err := f.WriteString(text); must(err) }
	write("one,")
	must(f.Sync())
	write("two,")
	must(f.Truncate(2))
	write("three")
	want("log", "onthree")
	must(tell("lose"))
	want("log", "one,")
	must(tell("eio"))
	write("four")
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("fsync gave %v", err)
	}
	want("log", "one,")
	must(tell("ok"))
	must(f.Sync())
	must(tell("full"))
	if _, err := f.WriteString("five"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a write gave %v", err)
	}
	var room syscall.Statfs_t
	if err := syscall.Statfs(shown, &room); err != nil || room.Bavail != 0 {
		t.Errorf("%d blocks are free: %v", room.Bavail, err)
	}
	must(tell("readonly"))
	if _, err := f.WriteString("six"); !errors.Is(err, syscall.EROFS) {
		t.Errorf("a write gave %v", err)
	}
	for what, do := range map[string]func() error{
		"opening": func() error { return os.WriteFile(filepath.Join(shown, "log"), nil, 0o600) },
		"making":  func() error { return os.WriteFile(filepath.Join(shown, "other"), nil, 0o600) },
		"mkdir":   func() error { return os.Mkdir(filepath.Join(shown, "dir"), 0o700) },
		"rename":  func() error { return os.Rename(filepath.Join(shown, "log"), filepath.Join(shown, "other")) },
		"remove":  func() error { return os.Remove(filepath.Join(shown, "log")) },
		"fsync":   f.Sync,
		"fsync of a directory": func() error {
			d, err := os.Open(shown)
			must(err)
			defer func() { _ = d.Close() }()
			return d.Sync()
		},
		"touch": func() error { return os.Chtimes(filepath.Join(shown, "log"), time.Now(), time.Now()) },
	} {
		if err := do(); !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s gave %v", what, err)
		}
	}
	want("log", "one,")
	must(tell("ok"))
	must(tell("slow 300ms"))
	begun := time.Now()
	must(f.Sync())
	if took := time.Since(begun); took < 300*time.Millisecond {
		t.Errorf("fsync took %s", took)
	}
	must(tell("slow 1h"))
	synced := make(chan error)
	go func() { synced <- f.Sync() }()
	select {
	case err := <-synced:
		t.Errorf("a disk that hangs answered: %v", err)
	case <-time.After(300 * time.Millisecond):
		must(tell("ok"))
		must(<-synced)
	}
	must(f.Close())
	if tell("nonsense") == nil {
		t.Error("nonsense was taken")
	}
}
