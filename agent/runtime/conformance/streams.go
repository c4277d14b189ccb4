package conformance

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strings"
	"time"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

func (s *suite) read(id string, opts runtime.LogOptions) string {
	s.Helper()
	log, err := s.Driver.Logs(s.ctx, id, opts)
	s.must(err)
	text, err := io.ReadAll(log)
	s.must(err)
	s.must(log.Close())
	return string(text)
}

func (s *suite) wantLog(id string, tail int, want string) {
	s.Helper()
	got := ""
	// What was written last may come a moment after the end.
	for end := time.Now().Add(s.patience()); got != want && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		got = s.read(id, runtime.LogOptions{Tail: tail})
	}
	if got != want {
		s.Errorf("the log with tail %d is %q, want %q", tail, got, want)
	}
}

func logs(s *suite) {
	spec := s.spec("echo-1", "echo", "line")
	s.prepared(spec)
	s.wantLog(spec.ID, 0, "")
	for range 3 {
		s.ended(spec)
		s.must(s.Driver.Remove(s.ctx, spec.ID))
	}
	s.wantLog(spec.ID, 0, "line\nline\nline\n")
	s.wantLog(spec.ID, 2, "line\nline\n")
	s.wantLog(spec.ID, 100, "line\nline\nline\n")
	s.Driver = s.Reopen(s.T, func() {})
	s.wantLog(spec.ID, 0, "line\nline\nline\n")
	s.must(s.Driver.Forget(s.ctx, spec.ID))
	s.must(s.Driver.Forget(s.ctx, spec.ID))
	_, err := s.Driver.Logs(s.ctx, spec.ID, runtime.LogOptions{})
	s.wantKind(err, problem.NotFound)
}

func follow(s *suite) {
	spec := s.spec("echo-1", "echo", "line")
	s.prepared(spec)
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	log, err := s.Driver.Logs(ctx, spec.ID, runtime.LogOptions{Follow: true})
	s.must(err)
	lines := make(chan string, 10)
	go func() {
		defer close(lines)
		for scanner := bufio.NewScanner(log); scanner.Scan(); {
			lines <- scanner.Text()
		}
	}()
	for run := range 2 {
		s.ended(spec)
		select {
		case line := <-lines:
			if line != "line" {
				s.Errorf("run %d wrote %q", run, line)
			}
		case <-time.After(s.patience()):
			s.Fatalf("the line of run %d did not come", run)
		}
		s.must(s.Driver.Remove(s.ctx, spec.ID))
	}
	cancel()
	select {
	case line, more := <-lines:
		if more {
			s.Errorf("after the end came %q", line)
		}
	case <-time.After(s.patience()):
		s.Error("the log is followed without its context")
	}
	s.must(log.Close())
}

func execute(s *suite) {
	spec := s.started(s.spec("web-1"))
	s.hears(spec.ID)
	for _, test := range []struct {
		command []string
		code    int
		out     string
	}{
		{[]string{"true"}, 0, ""},
		{[]string{"false"}, 1, ""},
		{[]string{"sh", "-c", "exit 42"}, 42, ""},
		{[]string{"echo", "hello", "there"}, 0, "hello there\n"},
	} {
		if code, out := s.exec(spec.ID, test.command...); code != test.code || out != test.out {
			s.Errorf("%v gave %d and %q, want %d and %q", test.command, code, out, test.code, test.out)
		}
	}
	var out bytes.Buffer
	lines := 10_000
	if s.Machine != nil {
		lines = 500 // by way of an agent and an emulated serial port
	}
	input := strings.Repeat("what goes in comes out\n", lines)
	code, err := s.Driver.Exec(s.ctx, spec.ID, runtime.Exec{Command: []string{"cat"}, Stdin: strings.NewReader(input), Stdout: &out})
	if err != nil || code != 0 || out.String() != input {
		s.Errorf("cat gave %d, %v and %d bytes of %d", code, err, out.Len(), len(input))
	}
	_, err = s.Driver.Exec(s.ctx, spec.ID, runtime.Exec{Command: []string{"no-such-program"}})
	s.wantKind(err, problem.Invalid)
	_, err = s.Driver.Exec(s.ctx, spec.ID, runtime.Exec{})
	s.wantKind(err, problem.Invalid)
	ctx, cancel := context.WithTimeout(s.ctx, 300*time.Millisecond)
	defer cancel()
	if _, err := s.Driver.Exec(ctx, spec.ID, runtime.Exec{Command: []string{"sleep", "1000"}}); err == nil {
		s.Error("a command outlived its context")
	}
	if i := s.one(spec.ID); i.State != runtime.Running {
		s.Errorf("the commands left %+v", i)
	}
}
