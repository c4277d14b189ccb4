package conformance

import (
	"fmt"
	"os/exec"
	"strings"
	"time"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	oldValue = "correct horse battery staple"
	newValue = "purple monkey dishwasher"
)

func secretFiles(s *suite) {
	keeper, ok := s.Driver.(runtime.SecretKeeper)
	if !ok {
		s.Fatal("it keeps no secrets")
	}
	spec := s.spec("web-1", "sleep", "1000")
	plain := spec.Hash()
	if s.Processes {
		spec.Container.User = "www"
		spec.Container.ReadOnlyRoot = true
		plain = spec.Hash()
	}
	give := func(dir string, files map[string]string) runtime.SecretDir {
		d := runtime.SecretDir{Path: dir, Mode: 0o400, Files: map[string][]byte{}}
		for key, value := range files {
			d.Files[key] = []byte(value)
		}
		return d
	}
	spec.Secrets = runtime.Secrets{Dirs: []runtime.SecretDir{
		give("/run/secrets/db", map[string]string{"password": oldValue, "user": "skipper"}), give("/srv/tls", map[string]string{"tls.key": oldValue}),
	}}
	if text := fmt.Sprintf("%v %+v %#v %s", spec, spec, spec, spec.Secrets); strings.Contains(text, oldValue) || strings.Contains(text, fmt.Sprint([]byte(oldValue))) {
		s.Errorf("a spec prints as %s", text)
	}
	if spec.Hash() != plain {
		s.Error("the hash depends on the secrets")
	}
	s.must(keeper.UpdateSecrets(s.ctx, spec)) // nothing is there yet
	s.started(spec)
	want := func(file, value string) {
		s.Helper()
		if _, out := s.exec(spec.ID, "cat", file); out != value {
			s.Errorf("%s holds %q, want %q", file, out, value)
		}
	}
	want("/run/secrets/db/password", oldValue)
	want("/run/secrets/db/user", "skipper")
	want("/srv/tls/tls.key", oldValue)
	if s.Processes {
		for script, wanted := range map[string]string{
			"stat -Lc '%a %U' /run/secrets/db/password":                                                                        "400 www\n",
			"touch /run/secrets/db/x 2>/dev/null || echo read-only":                                                            "read-only\n",
			"grep -c ' /run/secrets/db tmpfs ro,nosuid,nodev,noexec' /proc/self/mounts || grep /run/secrets /proc/self/mounts": "1\n",
		} {
			if _, out := s.exec(spec.ID, "sh", "-c", script); out != wanted {
				s.Errorf("%s gave %q, want %q", script, out, wanted)
			}
		}
	}
	spec.Secrets.Dirs[0] = give("/run/secrets/db", map[string]string{"password": newValue, "host": "db-1"})
	for range 2 {
		s.must(keeper.UpdateSecrets(s.ctx, spec))
	}
	want("/run/secrets/db/password", newValue)
	want("/run/secrets/db/host", "db-1")
	want("/srv/tls/tls.key", oldValue)
	if code, _ := s.exec(spec.ID, "cat", "/run/secrets/db/user"); code == 0 {
		s.Error("a key that was taken away is there still")
	}
	s.wantNowhere(oldValue, newValue)
	s.must(s.Driver.Stop(s.ctx, spec.ID, 100*time.Millisecond))
	s.must(keeper.UpdateSecrets(s.ctx, spec))
	s.must(s.Driver.Remove(s.ctx, spec.ID))
	s.nothingLeft(spec.ID)
}

func secretVariables(s *suite) {
	spec := s.spec("web-1", "sh", "-c", "echo begun; exec sleep 1000")
	spec.Container.User = "www"
	spec.Container.ReadOnlyRoot = true
	spec.MemoryBytes = 32 << 20 // what a manifest must give at least
	spec.Container.Env = map[string]string{"COLOUR": "blue"}
	spec.Container.Mounts = []*skerryv1.Mount{{Target: "/scratch", Tmpfs: "1Mi"}}
	spec.Secrets = runtime.Secrets{Env: map[string]string{"DB_PASSWORD": oldValue, "COLOUR": "green\nand red"}}
	s.started(spec)
	environment := ""
	s.until("the process has begun", func() bool {
		_, environment = s.exec(spec.ID, "sh", "-c", "tr '\\0' ';' </proc/1/environ; cut -c1-5 /proc/1/comm")
		return strings.HasSuffix(environment, "sleep\n")
	})
	for _, part := range []string{";DB_PASSWORD=" + oldValue, ";COLOUR=green\nand red"} {
		if !strings.Contains(";"+environment, part) || strings.Contains(environment, "blue") {
			s.Errorf("its environment is %q", environment)
		}
	}
	s.wantNowhere(oldValue)
	s.must(s.Driver.Remove(s.ctx, spec.ID))
	s.nothingLeft(spec.ID)
	missing := s.spec("web-2", "no-such-program")
	missing.Secrets = spec.Secrets
	if i := s.ended(missing); i.Exit.GetCode() != 127 {
		s.Errorf("without its program it ended with %v", i.Exit)
	}
}

// wantNowhere fails when a value is in a file of the node.
func (s *suite) wantNowhere(values ...string) {
	s.Helper()
	for _, dir := range s.Disk {
		for _, value := range values {
			out, err := exec.Command("grep", "-rlaF", "--", value, dir).CombinedOutput()
			if err == nil {
				s.Errorf("a secret is in %s", out)
			}
		}
	}
}
