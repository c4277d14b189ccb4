package guard

import (
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// fromRoot: the kernel says that root opened the connection, or whoever runs this
// guard.
func fromRoot(conn net.Conn) bool {
	local, ok := conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := local.SyscallConn()
	if err != nil {
		return false
	}
	var who *unix.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) { who, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	return err == nil && failed == nil && (who.Uid == 0 || int(who.Uid) == os.Geteuid())
}
