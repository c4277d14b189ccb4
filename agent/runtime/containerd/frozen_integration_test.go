//go:build integration

package containerd

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"skerry.dev/agent/runtime/standstill"
	"skerry.dev/shared/problem"
)

func TestAFrozenContainerdIsATimeout(t *testing.T) {
	daemon := ownDaemon(t, "p")
	d := newHost(t, daemon).open(t)
	load(t, d)
	must(t, standstill.Stop(daemon.cmd.Process.Pid))
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err := d.List(ctx)
	took := time.Since(begin)
	must(t, daemon.cmd.Process.Signal(unix.SIGCONT))
	if problem.KindOf(err) != problem.Timeout || took > 20*time.Second {
		t.Errorf("after %s it gave %v", took, err)
	}
	until(t, "it answers again", func() bool { _, err := d.List(t.Context()); return err == nil })
}
