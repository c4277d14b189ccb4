package workloadapi

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"skerry.dev/shared/problem"
)

// soPeerPIDFD is SO_PEERPIDFD, since Linux 6.5: the process that connected, not
// only its number.
const soPeerPIDFD = 77

// caller is the process that opened a connection. It is held, not only
// numbered: while alive says yes, its number is nobody else's.
type caller struct {
	pid int
	fd  int
}

// callerOf asks the kernel who is at the other end. Before Linux 6.5 there is a
// gap: the process may end and its number be used again between its connect and
// this; no process but one of the same machine in that very moment gains by it.
func callerOf(conn net.Conn) (*caller, error) {
	local, ok := conn.(*net.UnixConn)
	if !ok {
		return nil, errors.New("it is no Unix socket")
	}
	raw, err := local.SyscallConn()
	if err != nil {
		return nil, err
	}
	var c *caller
	var failed error
	if err := raw.Control(func(fd uintptr) { c, failed = identify(int(fd)) }); err != nil {
		return nil, err
	}
	return c, failed
}

func identify(socket int) (*caller, error) {
	credentials, err := unix.GetsockoptUcred(socket, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil, fmt.Errorf("the kernel does not tell who called: %w", err)
	}
	if credentials.Pid <= 0 {
		return nil, problem.New(problem.Forbidden, "caller", "its process is not to be seen from here: it is in a namespace of processes beside the agent's")
	}
	c := &caller{pid: int(credentials.Pid)}
	if c.fd, err = unix.GetsockoptInt(socket, unix.SOL_SOCKET, soPeerPIDFD); err == nil {
		return c, nil
	}
	if c.fd, err = unix.PidfdOpen(c.pid, 0); err != nil {
		return nil, problem.New(problem.Forbidden, fmt.Sprintf("process %d", c.pid), "it has ended: %w", err)
	}
	return c, nil
}

// alive tells whether the process has not ended, not even as one that nobody has
// waited for.
func (c *caller) alive() bool {
	poll := []unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return err == nil && n == 0
	}
}

func (c *caller) close() { _ = unix.Close(c.fd) } // a descriptor of ours; nothing is written to it
