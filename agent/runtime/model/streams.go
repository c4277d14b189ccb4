package model

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// maxLog bounds what is kept of one log.
	maxLog = 1 << 20
	// longest is how long a log is not looked at when nothing changes.
	longest = time.Hour
)

// program is what a command does.
type program struct {
	output string
	code   int32
	// ends by itself after it lasted so long.
	ends  bool
	lasts time.Duration
	// deaf to SIGTERM, as a process with number 1 that does not ask for it.
	deaf bool
	// unknown to the image.
	unknown bool
}

func interpret(command []string) program {
	if len(command) == 0 {
		return program{}
	}
	args := command[1:]
	switch command[0] {
	case "true":
		return program{ends: true}
	case "false":
		return program{ends: true, code: 1}
	case "echo":
		return program{ends: true, output: strings.Join(args, " ") + "\n"}
	case "sleep":
		seconds, err := strconv.ParseFloat(strings.Join(args, ""), 64)
		if err != nil {
			return program{ends: true, code: 1}
		}
		return program{ends: true, deaf: true, lasts: time.Duration(seconds * float64(time.Second))}
	case "sh":
		if text, found := strings.CutPrefix(strings.Join(args, " "), "-c exit "); found {
			if code, err := strconv.ParseInt(text, 10, 8); err == nil {
				return program{ends: true, code: int32(code)}
			}
		}
		return program{}
	}
	return program{unknown: true}
}

// Exec runs a command of the test image.
func (d *Driver) Exec(ctx context.Context, id string, exec runtime.Exec) (int, error) {
	if len(exec.Command) == 0 {
		return 0, problem.New(problem.Invalid, id, "no command is given")
	}
	if err := d.enter(ctx, "exec", id); err != nil {
		return 0, err
	}
	i := d.instances[id]
	running := i != nil && i.State == runtime.Running
	d.mu.Unlock()
	if i == nil {
		return 0, problem.New(problem.NotFound, id, "it is not on this node")
	}
	if !running {
		return 0, problem.New(problem.Conflict, id, "it does not run")
	}
	stdout := exec.Stdout
	if stdout == nil {
		stdout = io.Discard
	}
	if exec.Command[0] == "cat" && exec.Stdin != nil {
		_, err := io.Copy(stdout, exec.Stdin)
		return 0, err
	}
	if exec.Command[0] == "cat" && len(exec.Command) == 2 {
		value, found := i.secretFile(exec.Command[1])
		if !found {
			return 1, nil
		}
		_, err := stdout.Write(value)
		return 0, err
	}
	p := interpret(exec.Command)
	if len(exec.Command) == 1 && exec.Command[0] == "env" {
		p = program{output: i.printEnvironment()}
	}
	if p.unknown {
		return 0, problem.New(problem.Invalid, id, "%q cannot be executed in it", exec.Command[0])
	}
	if _, err := io.WriteString(stdout, p.output); err != nil {
		return 0, err
	}
	if p.lasts > 0 {
		if err := env.Sleep(ctx, d.clock, p.lasts); err != nil {
			return 0, err
		}
	}
	return int(p.code), nil
}

func (d *Driver) log(id, text string) {
	kept := append(d.logs[id], text...)
	d.logs[id] = kept[max(0, len(kept)-maxLog):]
	d.announce()
}

// Logs opens what an instance wrote.
func (d *Driver) Logs(ctx context.Context, id string, opts runtime.LogOptions) (io.ReadCloser, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kept, there := d.logs[id]
	if !there {
		return nil, problem.New(problem.NotFound, id, "it has no log on this node")
	}
	r := &logReader{ctx: ctx, driver: d, id: id, follow: opts.Follow}
	for at, lines := len(kept)-1, opts.Tail; lines > 0 && at >= 0; lines-- {
		at = bytes.LastIndexByte(kept[:at], '\n')
		r.offset = at + 1
	}
	return r, nil
}

// Forget removes what outlives Remove.
func (d *Driver) Forget(_ context.Context, id string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.logs, id)
	return nil
}

type logReader struct {
	ctx    context.Context //nolint:containedctx // a reader has no other way to be ended
	driver *Driver
	id     string
	follow bool
	offset int
}

func (r *logReader) Read(p []byte) (int, error) {
	for {
		r.driver.mu.Lock()
		kept, news := r.driver.logs[r.id], r.driver.news
		r.driver.mu.Unlock()
		n := copy(p, kept[min(r.offset, len(kept)):])
		r.offset += n
		if n > 0 || len(p) == 0 {
			return n, nil
		}
		if !r.follow || r.driver.pause(r.ctx, news, longest) != nil {
			return 0, io.EOF
		}
	}
}

func (r *logReader) Close() error { return nil }
