package containerd

import (
	"os"
	"path/filepath"
	"testing"
)

func TestUsersAreLookedUpInTheImageAndNowhereElse(t *testing.T) {
	root := t.TempDir()
	if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/accounts", "root:x:0:0::/:/bin/sh\nskipper:x:1000:1001::/:/bin/sh\n")
	write("etc/group", "deck:x:2000:\n")
	// An absolute link is one within the image.
	if err := os.Symlink("/etc/accounts", filepath.Join(root, "etc/passwd")); err != nil {
		t.Fatal(err)
	}
	for wanted, want := range map[string][2]int{
		"skipper": {1000, 1001}, "1000": {1000, 1001}, "7": {7, 0}, "7:8": {7, 8}, "skipper:deck": {1000, 2000}, "7:deck": {7, 2000},
	} {
		got, err := lookUp(root, wanted)
		if err != nil || got.Uid != want[0] || got.Gid != want[1] {
			t.Errorf("%s is %+v, %v, want %v", wanted, got, err, want)
		}
	}
	for _, wanted := range []string{"nobody-knows", "skipper:nobody-knows", "-1", "4294967296"} {
		if got, err := lookUp(root, wanted); err == nil {
			t.Errorf("%s is %+v", wanted, got)
		}
	}
}

func TestLinksDoNotLeadOutOfTheImage(t *testing.T) {
	outside, root := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "passwd"), []byte("thief:x:66:66::/:/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(root, "etc")); err != nil {
		t.Fatal(err)
	}
	if got, err := lookUp(root, "thief"); err == nil {
		t.Errorf("it found %+v outside of the image", got)
	}
	if got, err := lookUp(root, "5:6"); err != nil || got.Uid != 5 || got.Gid != 6 {
		t.Errorf("numbers need no files: %+v %v", got, err)
	}
}
