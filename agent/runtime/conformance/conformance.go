// Package conformance is the suite that every driver must pass, the model
// included: who passes it can stand for any other under the agent.
//
// The programs that it runs are those of testimage: the image's own server,
// and the applets true, false, echo, cat, sleep and `sh -c 'exit N'`.
package conformance

import (
	"bytes"
	"context"
	"testing"
	"time"

	"skerry.dev/agent/runtime"
	"skerry.dev/agent/runtime/testimage"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// Driver runs instances and holds their images. One of containers is a
// runtime.Attester too.
type Driver interface {
	runtime.Driver
	runtime.ImageStore
}

// Subject is a driver on an empty node.
type Subject struct {
	Driver Driver
	// Reopen ends the driver and opens another one on the same node, as a
	// restart of the agent does. What runs goes on; while gone is called no
	// driver is there.
	Reopen func(t *testing.T, gone func()) Driver
	// Break leaves what a crash in the middle of a Prepare leaves.
	Break func(t *testing.T, id string)
	// Other opens a driver on another empty node.
	Other func(t *testing.T) Driver
	// Leftovers names what there is of an instance outside of the driver's
	// records: mounts, control groups, addresses. May be nil.
	Leftovers func(t *testing.T, id string) []string
	// PID is the number of a running instance's first process, as the machine
	// counts.
	PID func(t *testing.T, id string) int
	// WorkloadAPIDir is mounted into what has an identity; of real processes.
	WorkloadAPIDir string
	// Disk are the directories where the node keeps what a power cut leaves: no
	// secret may be there in the clear. May be empty.
	Disk []string
	// Processes are real ones, with memory, files and ports.
	Processes bool
	// Machine is set when instances are virtual machines.
	Machine *Machine
}

// Machine is what is different when instances are virtual machines: they have no
// exit codes but for success (0), no processes of the node, and no identity or
// secrets. Their guest has an agent that executes commands.
type Machine struct {
	// Image of a disk.
	Image []byte
	// Shape makes a spec one of a machine whose guest runs a command and then
	// switches itself off; without a command it waits until it is told to.
	Shape func(spec *runtime.Spec, command []string)
}

// patience bounds how long something may take to become true; emulated machines
// get more of it.
func (s *suite) patience() time.Duration {
	if s.Machine != nil {
		return 2 * time.Minute
	}
	return time.Minute
}

const imageName = "site.local/web:1"

// suite is one test's view of its subject.
type suite struct {
	*testing.T
	Subject
	ctx   context.Context
	image string
	// content of the image, and what it is called on import, unless it says so
	// itself.
	content []byte
	called  string
}

// only some subjects are put to a test.
type only int

const (
	all only = iota
	// containers, real or not.
	containers
	// processes of real containers.
	processes
)

// Run runs the suite. open gives a new subject for each test.
func Run(t *testing.T, open func(t *testing.T) Subject) {
	var tar bytes.Buffer
	if err := testimage.WriteOCILayout(&tar, imageName); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		run  func(s *suite)
		only only
	}{
		{"what does not exist is stopped and removed already", absent, all},
		{"a life, each step twice", life, all},
		{"another specification is a conflict", conflict, all},
		{"without its image nothing is prepared", noImage, all},
		{"exit codes are told", exitCodes, all},
		{"a stop kills when the grace has passed", grace, all},
		{"what runs is removed", removeRunning, all},
		{"the next driver adopts what is there", adoption, all},
		{"leftovers of a crash are broken", broken, all},
		{"logs go over all runs", logs, all},
		{"logs are followed", follow, all},
		{"commands are executed", execute, all},
		{"a watch hints at what ended", watch, all},
		{"a process is told to be of its instance", attested, containers},
		{"what has an identity knows where to get it", identity, containers},
		{"images are listed and opened", images, all},
		{"an image travels to another store", travel, all},
		{"a damaged image changes nothing", damaged, all},
		{"an image is removed when nothing uses it", unused, all},
		{"nothing waits for a driver that is gone", unattended, processes},
		{"want of memory is told", memory, processes},
		{"ports are published", ports, processes},
		{"the container is as its specification says", inside, processes},
		{"a terminal has a size", terminal, processes},
		{"secrets are files in memory", secretFiles, containers},
		{"secrets are variables that no disk holds", secretVariables, processes},
		{"the Workload API is mounted, and stays", workloadAPI, processes},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := &suite{T: t, Subject: open(t), ctx: t.Context()}
			if test.only == processes && !s.Processes {
				t.Skip("it runs no real processes")
			}
			if test.only != all && s.Machine != nil {
				t.Skip("it runs virtual machines")
			}
			s.content = tar.Bytes()
			if s.Machine != nil {
				s.content, s.called = s.Machine.Image, imageName
			}
			loaded, err := s.Driver.Import(s.ctx, bytes.NewReader(s.content), s.called)
			if err != nil || len(loaded) != 1 {
				t.Fatalf("Import gave %v, %v", loaded, err)
			}
			s.image = loaded[0].Digest
			test.run(s)
		})
	}
}

// spec of an instance that runs a command, or the image's own server.
func (s *suite) spec(name string, command ...string) runtime.Spec {
	spec := runtime.Spec{
		ID: "default." + name, Project: "default", Placement: name, Workload: "web", ImageDigest: s.image,
		CPUMilli: 1000, MemoryBytes: 64 << 20,
	}
	if s.Machine != nil {
		s.Machine.Shape(&spec, command)
		return spec
	}
	spec.Container = &skerryv1.Container{Image: imageName, Command: command, Network: "none"}
	return spec
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) wantKind(err error, want problem.Kind) {
	s.Helper()
	if err == nil {
		s.Fatalf("there was no problem, want one of kind %s", want)
	}
	if got := problem.KindOf(err); got != want {
		s.Fatalf("%v: it is of kind %s, want %s", err, got, want)
	}
}

// prepared makes an instance.
func (s *suite) prepared(spec runtime.Spec) runtime.Spec {
	s.Helper()
	s.must(s.Driver.Prepare(s.ctx, spec))
	return spec
}

// started makes an instance and starts it.
func (s *suite) started(spec runtime.Spec) runtime.Spec {
	s.Helper()
	s.prepared(spec)
	s.must(s.Driver.Start(s.ctx, spec.ID))
	return spec
}

// ended makes an instance and waits for its end.
func (s *suite) ended(spec runtime.Spec) runtime.Instance {
	s.Helper()
	s.started(spec)
	return s.await(spec.ID, runtime.Exited)
}

func (s *suite) list() []runtime.Instance {
	s.Helper()
	all, err := s.Driver.List(s.ctx)
	s.must(err)
	return all
}

// one returns an instance that must be there.
func (s *suite) one(id string) runtime.Instance {
	s.Helper()
	for _, i := range s.list() {
		if i.ID == id {
			return i
		}
	}
	s.Fatalf("%s is not listed", id)
	return runtime.Instance{}
}

func (s *suite) await(id string, state runtime.State) runtime.Instance {
	s.Helper()
	var i runtime.Instance
	s.until("it is in the state wanted", func() bool {
		i = s.one(id)
		return i.State == state
	})
	return i
}

// ready waits until the image's own server has come so far that it hears
// SIGTERM.
func (s *suite) ready(id string) {
	s.Helper()
	s.until("the server runs", func() bool {
		if s.Machine != nil {
			code, err := s.Driver.Exec(s.ctx, id, runtime.Exec{Command: []string{"true"}})
			return err == nil && code == 0
		}
		if !s.Processes {
			return true
		}
		code, err := s.Driver.Exec(s.ctx, id, runtime.Exec{Command: []string{"wget", "-q", "-O", "/dev/null", "http://127.0.0.1:8080/healthz"}})
		return err == nil && code == 0
	})
}

// hears waits until a command was executed in an instance.
func (s *suite) hears(id string) {
	s.Helper()
	s.until("it executes commands", func() bool {
		_, err := s.Driver.Exec(s.ctx, id, runtime.Exec{Command: []string{"true"}})
		return err == nil
	})
}

func (s *suite) until(what string, true func() bool) {
	s.Helper()
	for end := time.Now().Add(s.patience()); !true(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("after %s it is still not so that %s", s.patience(), what)
		}
	}
}

func (s *suite) exec(id string, command ...string) (int, string) {
	s.Helper()
	var out bytes.Buffer
	code, err := s.Driver.Exec(s.ctx, id, runtime.Exec{Command: command, Stdout: &out, Stderr: &out})
	s.must(err)
	return code, out.String()
}
