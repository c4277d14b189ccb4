package containerd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// drainTime is how long more output is waited for after a command ended: what
// it started in the background may keep its streams open for ever.
const drainTime = time.Second

// execRetry is the pause before a command is killed again that did not end.
const execRetry = 50 * time.Millisecond

// Exec runs a command inside a running instance.
func (d *Driver) Exec(ctx context.Context, id string, exec runtime.Exec) (int, error) {
	if err := runtime.CheckID(id); err != nil {
		return 0, err
	}
	if len(exec.Command) == 0 {
		return 0, problem.New(problem.Invalid, id, "no command is given")
	}
	ctx = d.in(ctx)
	present, err := d.look(ctx, id)
	if err != nil {
		return 0, d.problem(id, "the command cannot be run", err)
	}
	if present == nil {
		return 0, problem.New(problem.NotFound, id, "it is not on this node")
	}
	if present.State != runtime.Running {
		return 0, problem.New(problem.Conflict, id, "it does not run")
	}
	code, err := d.exec(ctx, id, exec)
	if err == nil {
		return code, nil
	}
	if text := cleanText(err); ctx.Err() == nil && strings.Contains(text, "exec failed") {
		return 0, problem.New(problem.Invalid, id, "%q cannot be executed in it: %s", exec.Command[0], text)
	}
	return 0, d.problem(id, "the command cannot be run", err)
}

func (d *Driver) exec(ctx context.Context, id string, exec runtime.Exec) (code int, err error) {
	container, err := d.client.LoadContainer(ctx, containerID(id))
	if err != nil {
		return 0, err
	}
	process, err := d.execProcess(ctx, container, exec)
	if err != nil {
		return 0, err
	}
	task, err := container.Task(ctx, nil)
	if err != nil {
		return 0, err
	}
	var unique [8]byte
	if _, err := d.Env.Rand.Read(unique[:]); err != nil {
		return 0, err
	}
	stdin := &closingReader{Reader: exec.Stdin, closed: make(chan struct{})}
	output := &progress{}
	running, err := task.Exec(ctx, "exec-"+hex.EncodeToString(unique[:]), process, d.streams(exec, stdin, output))
	if err != nil {
		return 0, err
	}
	defer func() { d.endExec(ctx, running, err != nil) }()
	ended, err := running.Wait(ctx)
	if err != nil {
		return 0, err
	}
	if err := running.Start(ctx); err != nil {
		return 0, err
	}
	code, err = d.attend(ctx, running, exec, stdin, ended)
	if err == nil {
		d.drain(ctx, running.IO(), output)
	}
	return code, err
}

// attend serves a running command until it ends.
func (d *Driver) attend(ctx context.Context, running client.Process, exec runtime.Exec, stdin *closingReader, ended <-chan client.ExitStatus) (int, error) {
	resize, stdinClosed := exec.Resize, stdin.closed
	for {
		select {
		case size, more := <-resize:
			if !more {
				resize = nil
				continue
			}
			// The command may have ended just now; its size does not matter then.
			if err := running.Resize(ctx, size.Columns, size.Rows); err != nil {
				d.Logger.Debug("a terminal was not resized", "error", err)
			}
		case <-stdinClosed:
			stdinClosed = nil
			if err := running.CloseIO(ctx, client.WithStdinCloser); err != nil && !errdefs.IsNotFound(err) {
				d.Logger.Debug("a command's input was not closed", "error", err)
			}
		case status := <-ended:
			code, _, err := status.Result()
			return int(code), err
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
}

// drain waits until all output has come. It gives up when nothing came for
// drainTime; a slow reader has the time that it needs.
func (d *Driver) drain(ctx context.Context, streams cio.IO, progress *progress) {
	done := make(chan struct{})
	go func() {
		streams.Wait()
		close(done)
	}()
	for before := progress.now(); ; before = progress.now() {
		timer := d.Env.Clock.NewTimer(drainTime)
		select {
		case <-done:
			timer.Stop()
			return
		case <-timer.C():
			if !progress.since(before) {
				streams.Cancel() // ends the wait above
				return
			}
		case <-ctx.Done():
			timer.Stop()
			streams.Cancel()
			return
		}
	}
}

// endExec removes the process, and kills it first when it may still run: its
// caller may have gone away while it was being started, so that it cannot be
// killed yet.
func (d *Driver) endExec(ctx context.Context, running client.Process, kill bool) {
	cleanup, cancel := d.after(ctx)
	defer cancel()
	for {
		if kill {
			if err := running.Kill(cleanup, unix.SIGKILL); err != nil && !errdefs.IsNotFound(err) {
				d.Logger.Debug("a command was not killed", "error", err)
			}
			running.IO().Cancel()
		}
		_, err := running.Delete(cleanup)
		if err == nil || errdefs.IsNotFound(err) {
			break
		}
		if errdefs.IsUnavailable(err) || env.Sleep(cleanup, d.Env.Clock, execRetry) != nil {
			d.Logger.Warn("a command may go on and its record stays", "error", err)
			break
		}
	}
	running.IO().Cancel()
	if err := running.IO().Close(); err != nil {
		d.Logger.Debug("a command's streams were not removed", "error", err)
	}
}

// execProcess is as the instance's own process, with another command.
func (d *Driver) execProcess(ctx context.Context, container client.Container, exec runtime.Exec) (*specs.Process, error) {
	spec, err := container.Spec(ctx)
	if err != nil {
		return nil, err
	}
	if spec.Process == nil {
		return nil, fmt.Errorf("container %s has no process", container.ID())
	}
	process := spec.Process
	process.Args = exec.Command
	process.Terminal = exec.Terminal
	if exec.Terminal && !slices.ContainsFunc(process.Env, func(v string) bool { return strings.HasPrefix(v, "TERM=") }) {
		process.Env = append(process.Env, "TERM=xterm")
	}
	return process, nil
}

func (d *Driver) streams(exec runtime.Exec, stdin *closingReader, output *progress) cio.Creator {
	var in io.Reader
	if exec.Stdin != nil {
		in = stdin
	}
	options := []cio.Opt{cio.WithStreams(in, &writer{exec.Stdout, output}, &writer{exec.Stderr, output}), cio.WithFIFODir(d.execDir())}
	if exec.Terminal {
		options = append(options, cio.WithTerminal)
	}
	return cio.NewCreator(options...)
}

// closingReader tells when its reader has ended.
type closingReader struct {
	io.Reader
	closed chan struct{}
	told   bool
}

func (r *closingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil && !r.told {
		r.told = true
		close(r.closed)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = io.EOF // the caller's own failure; the command sees its input end
	}
	return n, err
}

// progress of a command's output. It lets one stream write at a time, because
// both may have the same writer.
type progress struct {
	turn sync.Mutex
	// begun and done count writes.
	begun, done atomic.Int64
}

func (p *progress) now() int64 { return p.done.Load() }

// since tells whether something was written since, or is being written.
func (p *progress) since(before int64) bool {
	done := p.done.Load()
	return done != before || p.begun.Load() != done
}

// writer drops what nobody wants.
type writer struct {
	to io.Writer
	*progress
}

func (w *writer) Write(p []byte) (int, error) {
	if w.to == nil {
		return len(p), nil
	}
	w.begun.Add(1)
	defer w.done.Add(1)
	w.turn.Lock()
	defer w.turn.Unlock()
	return w.to.Write(p)
}
