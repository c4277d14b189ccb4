package libvirt

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

// consoleSocket is where QEMU offers the serial console. Its name is short: the
// length of such paths is bounded.
func (d *Driver) consoleSocket(id string) string {
	return filepath.Join(d.consolesDir(), d.uuidOf(id).String())
}

// console joins the caller with the serial console, until either goes away. QEMU
// takes one at a time.
func (d *Driver) console(ctx context.Context, id string, exec runtime.Exec) error {
	if !d.take(id) {
		return problem.New(problem.Conflict, id, "its console is in use").WithHint("skerry logs NAME shows what it prints")
	}
	defer d.release(id)
	conn, err := d.Env.Net.Dial(ctx, "unix", d.consoleSocket(id))
	if err != nil {
		return problem.New(problem.Unavailable, id, "its console cannot be reached: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends both copies
	defer stop()
	return d.join(conn, exec)
}

// join copies both ways until the guest's side ends, or the caller's does.
func (d *Driver) join(conn net.Conn, exec runtime.Exec) error {
	typed := make(chan struct{})
	go func() {
		defer close(typed)
		if exec.Stdin != nil {
			_, _ = io.Copy(conn, exec.Stdin) // a guest that went away shows on the other way
			_ = conn.Close()                 // who types no more has left
		}
	}()
	_, err := io.Copy(exec.Stdout, conn)
	_ = conn.Close() // whatever it says, it is closed
	if closer, ok := exec.Stdin.(io.Closer); ok {
		_ = closer.Close()
		<-typed
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// take the console of an instance.
func (d *Driver) take(id string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.consoles[id] {
		return false
	}
	d.consoles[id] = true
	return true
}

func (d *Driver) release(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.consoles, id)
}
