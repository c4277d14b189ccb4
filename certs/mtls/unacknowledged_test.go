package mtls

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWhatIsNotAcknowledgedEndsAConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := giveUpUnacknowledged(conn); err != nil {
		t.Fatal(err)
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := raw.Control(func(fd uintptr) {
		got, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		if err != nil || got != int(unacknowledged.Milliseconds()) {
			t.Errorf("it ends after %d ms, %v", got, err)
		}
	}); err != nil {
		t.Fatal(err)
	}
}
