package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

func absent(s *suite) {
	const id = "default.nothing-1"
	s.must(s.Driver.Stop(s.ctx, id, time.Second))
	s.must(s.Driver.Remove(s.ctx, id))
	s.must(s.Driver.Forget(s.ctx, id))
	s.wantKind(s.Driver.Start(s.ctx, id), problem.NotFound)
	_, err := s.Driver.Exec(s.ctx, id, runtime.Exec{Command: []string{"true"}})
	s.wantKind(err, problem.NotFound)
	_, err = s.Driver.Logs(s.ctx, id, runtime.LogOptions{})
	s.wantKind(err, problem.NotFound)
	if all := s.list(); len(all) != 0 {
		s.Errorf("an empty node lists %v", all)
	}
}

func life(s *suite) {
	spec := s.spec("web-1")
	for run := range 2 {
		s.prepared(spec)
		s.prepared(spec)
		i := s.one(spec.ID)
		if i.State != runtime.Prepared || i.SpecHash != spec.Hash() || i.Exit != nil {
			s.Fatalf("run %d: after Prepare it is %+v", run, i)
		}
		s.must(s.Driver.Stop(s.ctx, spec.ID, time.Second))
		s.must(s.Driver.Start(s.ctx, spec.ID))
		s.must(s.Driver.Start(s.ctx, spec.ID))
		i = s.one(spec.ID)
		if i.State != runtime.Running || i.StartedAt.IsZero() || i.Exit != nil {
			s.Fatalf("run %d: after Start it is %+v", run, i)
		}
		s.prepared(spec)
		s.ready(spec.ID)
		if again := s.one(spec.ID); !again.StartedAt.Equal(i.StartedAt) {
			s.Fatalf("run %d: a second Prepare disturbed it: %+v", run, again)
		}
		s.must(s.Driver.Stop(s.ctx, spec.ID, s.patience()))
		s.must(s.Driver.Stop(s.ctx, spec.ID, s.patience()))
		i = s.one(spec.ID)
		if i.State != runtime.Exited || i.Exit == nil || i.Exit.GetCode() != 0 || i.Exit.GetOomKilled() {
			s.Fatalf("run %d: after Stop it is %+v", run, i)
		}
		s.wantKind(s.Driver.Start(s.ctx, spec.ID), problem.Conflict)
		_, err := s.Driver.Exec(s.ctx, spec.ID, runtime.Exec{Command: []string{"true"}})
		s.wantKind(err, problem.Conflict)
		s.must(s.Driver.Remove(s.ctx, spec.ID))
		s.must(s.Driver.Remove(s.ctx, spec.ID))
		if all := s.list(); len(all) != 0 {
			s.Fatalf("run %d: after Remove there is %+v", run, all)
		}
	}
}

func conflict(s *suite) {
	spec := s.prepared(s.spec("web-1"))
	other := spec
	other.MemoryBytes *= 2
	s.wantKind(s.Driver.Prepare(s.ctx, other), problem.Conflict)
	if i := s.one(spec.ID); i.SpecHash != spec.Hash() || i.State != runtime.Prepared {
		s.Errorf("a refused Prepare left %+v", i)
	}
}

func noImage(s *suite) {
	spec := s.spec("web-1")
	spec.ImageDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	s.wantKind(s.Driver.Prepare(s.ctx, spec), problem.NotFound)
	if all := s.list(); len(all) != 0 {
		s.Errorf("a failed Prepare left %+v", all)
	}
	s.nothingLeft(spec.ID)
}

func exitCodes(s *suite) {
	for name, test := range map[string]struct {
		command []string
		code    int32
	}{
		"good-1":   {[]string{"true"}, 0},
		"bad-1":    {[]string{"false"}, 1},
		"number-1": {[]string{"sh", "-c", "exit 7"}, 7},
	} {
		i := s.ended(s.spec(name, test.command...))
		if s.Machine != nil && test.code != 0 && i.Exit.GetCode() != 0 {
			continue // that it failed is all that a machine can tell
		}
		if i.Exit.GetCode() != test.code || i.Exit.GetOomKilled() || i.Exit.GetAt().AsTime().Before(i.StartedAt.Add(-time.Second)) {
			s.Errorf("%v ended with %v, want the code %d", test.command, i.Exit, test.code)
		}
	}
}

func grace(s *suite) {
	// A process with number 1 that does not ask for SIGTERM never gets it.
	// While it is still being started, though, runc would be hit; that is over
	// when a command was executed in it.
	spec := s.started(s.spec("deaf-1", "sleep", "1000"))
	s.hears(spec.ID)
	const grace = 300 * time.Millisecond
	begin := time.Now()
	s.must(s.Driver.Stop(s.ctx, spec.ID, grace))
	if took := time.Since(begin); took < grace {
		s.Errorf("it was killed after %s, before its grace of %s", took, grace)
	}
	if i := s.one(spec.ID); i.State != runtime.Exited || i.Exit.GetCode() != 137 {
		s.Errorf("after the kill it is %+v", i)
	}
	other := s.started(s.spec("deaf-2", "sleep", "1000"))
	s.hears(other.ID)
	ctx, cancel := context.WithTimeout(s.ctx, 100*time.Millisecond)
	defer cancel()
	if err := s.Driver.Stop(ctx, other.ID, time.Hour); err == nil {
		s.Error("a Stop outlived its context")
	}
	if i := s.one(other.ID); i.State != runtime.Running {
		s.Errorf("a Stop that was given up killed it: %+v", i)
	}
}

func removeRunning(s *suite) {
	spec := s.started(s.spec("deaf-1", "sleep", "1000"))
	s.must(s.Driver.Remove(s.ctx, spec.ID))
	if all := s.list(); len(all) != 0 {
		s.Errorf("after Remove there is %+v", all)
	}
	s.nothingLeft(spec.ID)
}

func adoption(s *suite) {
	s.prepared(s.spec("a-1"))
	running := s.started(s.spec("b-1"))
	s.ended(s.spec("c-1", "sh", "-c", "exit 3"))
	// A name that containerd would refuse for its length and its dashes.
	long := s.started(s.spec("d--long-name-that-goes-on-and-on-and-on-and-on-12345-and-on-and-on-and-on-12345"))
	s.ready(running.ID)
	s.ready(long.ID)
	before := s.list()
	s.Driver = s.Reopen(s.T, func() {})
	if diff := cmp.Diff(before, s.list(), protocmp.Transform()); diff != "" {
		s.Errorf("the next driver sees something else:\n%s", diff)
	}
	if len(before) != 4 {
		s.Errorf("%d instances are listed, want 4", len(before))
	}
	s.prepared(running)
	s.must(s.Driver.Start(s.ctx, running.ID))
	for _, id := range []string{running.ID, long.ID} {
		s.must(s.Driver.Stop(s.ctx, id, s.patience()))
		if i := s.one(id); i.State != runtime.Exited || i.Exit.GetCode() != 0 {
			s.Errorf("after the stop it is %+v", i)
		}
	}
	for _, i := range before {
		s.must(s.Driver.Remove(s.ctx, i.ID))
		s.nothingLeft(i.ID)
	}
}

func broken(s *suite) {
	spec := s.spec("web-1")
	s.Break(s.T, spec.ID)
	if i := s.one(spec.ID); i.State != runtime.Broken {
		s.Errorf("a leftover is %+v", i)
	}
	if err := s.Driver.Start(s.ctx, spec.ID); err == nil {
		s.Error("a leftover was started")
	}
	s.must(s.Driver.Remove(s.ctx, spec.ID))
	if all := s.list(); len(all) != 0 {
		s.Errorf("after Remove there is %+v", all)
	}
	s.nothingLeft(spec.ID)

	// Prepare may be called again after a crash without a Remove.
	s.Break(s.T, spec.ID)
	s.started(spec)
	if i := s.one(spec.ID); i.State != runtime.Running {
		s.Errorf("over a leftover it is %+v", i)
	}
}

func watch(s *suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	hints, ended := make(chan string, 100), make(chan error, 1)
	go func() {
		ended <- s.Driver.Watch(ctx, func(id string) { hints <- id })
	}()
	// A hint may be missed while the watch begins; the next one is not.
	seen := false
	for try := 0; try < 20 && !seen; try++ {
		spec := s.spec("short-1", "true")
		s.ended(spec)
		select {
		case id := <-hints:
			seen = id == spec.ID
		case <-time.After(200 * time.Millisecond):
		}
		s.must(s.Driver.Remove(s.ctx, spec.ID))
	}
	if !seen {
		s.Error("nothing hinted at an end")
	}
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			s.Errorf("the watch ended with %v", err)
		}
	case <-time.After(s.patience()):
		s.Error("the watch goes on without its context")
	}
}

// nothingLeft fails when something of the instance is left on the machine.
func (s *suite) nothingLeft(id string) {
	s.Helper()
	if s.Leftovers == nil {
		return
	}
	for _, what := range s.Leftovers(s.T, id) {
		s.Errorf("%s is removed, but there is still %s", id, what)
	}
}
