package mtls

import (
	"errors"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// unacknowledged data ends a connection after so long.
const unacknowledged = 3 * time.Second

// giveUpUnacknowledged ends a connection when the other end does not acknowledge what
// is sent (TCP_USER_TIMEOUT, RFC 5482). Else small messages wait in the kernel through
// a cut, which tries again after pauses that double: when the cut is over, for as long
// once more as it took.
func giveUpUnacknowledged(conn net.Conn) error {
	for {
		inner, is := conn.(interface{ NetConn() net.Conn })
		if !is {
			break
		}
		conn = inner.NetConn()
	}
	socket, is := conn.(syscall.Conn)
	if !is {
		return nil // no socket of the kernel, as in a simulation
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unacknowledged.Milliseconds()))
	})
	return errors.Join(err, failed)
}
