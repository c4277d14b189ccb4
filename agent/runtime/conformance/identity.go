package conformance

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

func attested(s *suite) {
	driver, ok := s.Driver.(runtime.Attester)
	if !ok {
		s.Fatal("it attests nothing")
	}
	first, second := s.started(s.spec("web-1")), s.started(s.spec("web-2"))
	for _, spec := range []runtime.Spec{first, second} {
		pid := s.PID(s.T, spec.ID)
		if got, err := driver.InstanceOf(s.ctx, pid); err != nil || got != spec.ID {
			s.Errorf("process %d is of %q, %v, want %s", pid, got, err, spec.ID)
		}
	}
	for _, pid := range []int{0, -1, 1 << 30} {
		_, err := driver.InstanceOf(s.ctx, pid)
		s.wantKind(err, problem.NotFound)
	}
	pid := s.PID(s.T, first.ID)
	s.must(s.Driver.Stop(s.ctx, first.ID, 0))
	_, err := driver.InstanceOf(s.ctx, pid)
	s.wantKind(err, problem.NotFound)
	if !s.Processes {
		return
	}
	_, err = driver.InstanceOf(s.ctx, os.Getpid())
	s.wantKind(err, problem.NotFound) // this process is in no container
}

func identity(s *suite) {
	with := s.spec("web-1")
	with.Identity = true
	with.Container.Env = map[string]string{"COLOUR": "blue"}
	without := s.spec("web-2")
	if with.Hash() == s.spec("web-1").Hash() {
		s.Error("the identity is not in the hash of the specification")
	}
	s.started(with)
	s.started(without)
	_, out := s.exec(with.ID, "env")
	for _, want := range []string{manifest.IdentityVariable + "=" + manifest.IdentityAddress, "COLOUR=blue"} {
		if !slices.Contains(strings.Split(out, "\n"), want) {
			s.Errorf("with an identity the environment is %q, want %s in it", out, want)
		}
	}
	if _, out := s.exec(without.ID, "env"); strings.Contains(out, manifest.IdentityVariable) {
		s.Errorf("without an identity the environment is %q", out)
	}
}

func workloadAPI(s *suite) {
	spec := s.spec("web-1", "sleep", "1000")
	spec.Identity = true
	spec.Container.User = "www"
	s.started(spec)
	plain := s.started(s.spec("web-2"))
	// What comes into the directory after the start is seen, also once the agent
	// was started again; a user that is not root reaches it, and changes nothing.
	socket := filepath.Join(s.WorkloadAPIDir, manifest.IdentitySocket)
	for _, text := range []string{"the first agent's", "the next agent's"} {
		s.must(os.WriteFile(socket+".new", []byte(text), 0o600))
		s.must(os.Chmod(socket+".new", 0o666))
		s.must(os.Rename(socket+".new", socket))
		if code, out := s.exec(spec.ID, "cat", manifest.IdentityDir+"/"+manifest.IdentitySocket); code != 0 || out != text {
			s.Errorf("reading it gave %d and %q, want %q", code, out, text)
		}
		s.Driver = s.Reopen(s.T, func() {})
	}
	if _, out := s.exec(spec.ID, "sh", "-c", "rm "+manifest.IdentityDir+"/* 2>/dev/null || echo read-only"); out != "read-only\n" {
		s.Errorf("removing it gave %q", out)
	}
	if code, _ := s.exec(plain.ID, "ls", manifest.IdentityDir); code == 0 {
		s.Error("it is mounted into what has no identity")
	}
}
