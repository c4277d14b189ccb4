package hosts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"skerry.dev/agent/runtime/standstill"
	"skerry.dev/shared/env"
)

// process is one that was started and is waited for. It is a wrapper (nsenter,
// unshare) around the one that matters, its only child.
type process struct {
	command *exec.Cmd
	ended   chan struct{}
}

// spawn starts a process whose output goes to the end of a file. When this
// process dies, it dies too.
func spawn(log string, args ...string) (*process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // the process has its own copy
	p := &process{command: exec.Command(args[0], args[1:]...), ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = file, file
	// Ctrl-C is for whoever runs the rig, which then cleans up.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.command.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.command.Wait() // how it ended shows in its log
		close(p.ended)
	}()
	return p, nil
}

func (p *process) pid() int { return p.command.Process.Pid }

// child is the process that matters.
func (p *process) child() (int, error) {
	if p == nil {
		return 0, errors.New("it does not run")
	}
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", p.pid(), p.pid()))
	if err != nil {
		return 0, fmt.Errorf("process %d has ended: %w", p.pid(), err)
	}
	fields := strings.Fields(string(children))
	if len(fields) != 1 {
		return 0, fmt.Errorf("process %d has %d children", p.pid(), len(fields))
	}
	return strconv.Atoi(fields[0])
}

// end signals the child, or the process itself when it has none, and waits.
func (p *process) end(signal syscall.Signal) error {
	if p == nil {
		return nil
	}
	pid, err := p.child()
	if err != nil {
		pid = p.pid()
	}
	select {
	case <-p.ended:
		return nil
	default:
	}
	if err := syscall.Kill(pid, signal); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return p.await()
}

// pause the child, until it stands still.
func (p *process) pause() error {
	pid, err := p.child()
	if err != nil {
		return err
	}
	return standstill.Stop(pid)
}

// resume the child.
func (p *process) resume() error {
	pid, err := p.child()
	if err != nil {
		return err
	}
	return errors.Join(syscall.Kill(pid, syscall.SIGCONT), p.wake())
}

// await waits for the end of a process that was told to end, or killed.
func (p *process) await() error {
	if p == nil {
		return nil
	}
	if err := p.wake(); err != nil {
		return err
	}
	select {
	case <-p.ended:
		return nil
	case <-time.After(commandTime):
		return fmt.Errorf("process %d did not end within %s", p.pid(), commandTime)
	}
}

// wake continues the wrapper: nsenter stops itself when its child is stopped.
func (p *process) wake() error {
	if err := syscall.Kill(p.pid(), syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
		return err
	}
	return nil
}

// output runs a command to its end under an operator's home.
func output(command *exec.Cmd, stdin io.Reader, home string) (string, error) {
	var stdout, stderr bytes.Buffer
	command.Stdin, command.Stdout, command.Stderr = stdin, &stdout, &stderr
	command.Env = append(os.Environ(), "SKERRY_HOME="+home)
	if err := command.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%s: %w: %s", strings.Join(command.Args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// Sleep for so long, or until ctx ends.
func Sleep(ctx context.Context, length time.Duration) error {
	return env.Sleep(ctx, env.NewSystem().Clock, length)
}

// until repeats a look until it finds nothing wrong or ctx ends.
func until(ctx context.Context, what string, look func() error) error {
	var last error
	for {
		err := look()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil {
			last = err // the one that the end of the time made says nothing
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w: %w", what, ctx.Err(), last)
		}
	}
}
