package rootapi

import (
	"context"
	"errors"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"skerry.dev/shared/access"
)

type connKey struct{}

func withConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// caller of a call is root if the kernel says so of whoever opened the
// connection, and else nobody who may call.
func caller(ctx context.Context) access.Principal {
	conn, _ := ctx.Value(connKey{}).(*counted)
	if conn == nil {
		return access.Principal{}
	}
	if uid, err := userOf(conn.Conn); err != nil || uid != 0 {
		return access.Principal{}
	}
	return access.Root
}

// userOf is the user who opened a connection.
func userOf(conn net.Conn) (uint32, error) {
	local, ok := conn.(syscall.Conn)
	if !ok {
		return 0, errors.New("it is no Unix socket")
	}
	raw, err := local.SyscallConn()
	if err != nil {
		return 0, err
	}
	var credentials *unix.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		credentials, failed = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return 0, err
	}
	if failed != nil {
		return 0, failed
	}
	return credentials.Uid, nil
}
