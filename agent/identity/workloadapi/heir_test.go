package workloadapi

import (
	"net"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// heirFD is where a child that calls finds the socket over which it hands its
// connection on.
const heirFD = 3

// callAndDie connects, hands the connection on, and ends.
func callAndDie(path string) {
	conn, err := net.Dial("unix", path)
	if err != nil {
		os.Exit(1)
	}
	file, err := conn.(*net.UnixConn).File()
	if err != nil {
		os.Exit(1)
	}
	if err := unix.Sendmsg(heirFD, []byte("x"), unix.UnixRights(int(file.Fd())), nil, 0); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// heir runs a child and returns the connection that it leaves.
func heir(t *testing.T, cmd *exec.Cmd) net.Conn {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(pair[0]) }()
	theirs := os.NewFile(uintptr(pair[1]), "heir"+strconv.Itoa(pair[1]))
	cmd.ExtraFiles = []*os.File{theirs}
	out, err := cmd.CombinedOutput()
	_ = theirs.Close()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	rights := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(pair[0], make([]byte, 1), rights, 0)
	if err != nil {
		t.Fatal(err)
	}
	messages, err := unix.ParseSocketControlMessage(rights[:n])
	if err != nil {
		t.Fatal(err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[0]), "inherited")
	defer func() { _ = file.Close() }()
	conn, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}
