package conformance

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

func unattended(s *suite) {
	const lines, width = 10 << 10, 1 << 10 // 10 MiB
	text := strings.Repeat("x", width-1)
	script := fmt.Sprintf("until [ -e /go/on ]; do sleep 0.05; done; yes %s | head -n %d; touch /go/done; exit 9", text, lines)
	spec := s.spec("loud-1", "sh", "-c", script)
	dir := s.TempDir()
	spec.Container.Mounts = []*skerryv1.Mount{{Target: "/go", HostPath: dir}}
	s.started(spec)
	s.Driver = s.Reopen(s.T, func() {
		s.must(os.WriteFile(filepath.Join(dir, "on"), nil, 0o600))
		s.until("10 MiB are written while no driver is there", func() bool {
			_, err := os.Stat(filepath.Join(dir, "done"))
			return err == nil
		})
	})
	i := s.await(spec.ID, runtime.Exited)
	if i.Exit.GetCode() != 9 {
		s.Errorf("it ended with %v", i.Exit)
	}
	if got := len(s.read(spec.ID, runtime.LogOptions{})); got != lines*width {
		s.Errorf("%d bytes of the log are there, want %d", got, lines*width)
	}
	if got := s.read(spec.ID, runtime.LogOptions{Tail: 1}); got != text+"\n" {
		s.Errorf("the last line has %d bytes, want %d", len(got), width)
	}
}

func memory(s *suite) {
	spec := s.spec("greedy-1", "sh", "-c", "sleep 0.5; exec tail -c 200m /dev/zero")
	spec.MemoryBytes = 16 << 20
	s.started(spec)
	s.Driver = s.Reopen(s.T, func() { time.Sleep(time.Second) }) // it ends while nobody watches
	i := s.await(spec.ID, runtime.Exited)
	if !i.Exit.GetOomKilled() || i.Exit.GetCode() != 137 {
		s.Errorf("it ended with %v", i.Exit)
	}
}

func ports(s *suite) {
	spec := s.spec("web-1")
	spec.Container.Network = "bridge"
	spec.Container.Ports = []*skerryv1.Port{{Name: "http", Port: 8080, HostPort: 18080, Protocol: "tcp"}}
	s.started(spec)
	i := s.one(spec.ID)
	if net.ParseIP(i.Address) == nil {
		s.Fatalf("its address is %q", i.Address)
	}
	s.serves("http://" + net.JoinHostPort(i.Address, "8080"))
	s.serves("http://127.0.0.1:18080")
	if code, out := s.exec(spec.ID, "cat", "/etc/hosts"); code != 0 || !strings.Contains(out, i.Address+"\tweb-1\n") {
		s.Errorf("/etc/hosts is %q", out)
	}

	// A second one has another address; the first one's port is free when it
	// is gone.
	second := s.spec("web-2")
	second.Container.Network = "bridge"
	s.started(second)
	if other := s.one(second.ID).Address; other == i.Address || other == "" {
		s.Errorf("both have the address %q", other)
	}
	s.must(s.Driver.Remove(s.ctx, spec.ID))
	s.nothingLeft(spec.ID)
	if _, err := net.DialTimeout("tcp", "127.0.0.1:18080", time.Second); err == nil {
		s.Error("the port of a removed instance still answers")
	}
	host := s.spec("web-3")
	host.Container.Network = "host"
	s.started(host)
	s.serves("http://127.0.0.1:8080")
}

// serves waits until an address serves the test image's site.
func (s *suite) serves(url string) {
	s.Helper()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	text := ""
	s.until(url+" serves", func() bool {
		answer, err := client.Get(url + "/healthz")
		if err != nil {
			return false
		}
		defer func() { _ = answer.Body.Close() }() // read to its end
		body, err := io.ReadAll(answer.Body)
		text = string(body)
		return err == nil
	})
	if text != "ok\n" {
		s.Errorf("%s gave %q", url, text)
	}
}

func inside(s *suite) {
	dir := s.TempDir()
	spec := s.spec("web-1", "sleep", "1000")
	spec.CPUMilli, spec.MemoryBytes = 250, 32<<20
	spec.Container.Env = map[string]string{"COLOUR": "blue", "PATH": "/bin"}
	spec.Container.WorkingDir = "/tmp"
	spec.Container.User = "www"
	spec.Container.ReadOnlyRoot = true
	spec.Container.AddCapabilities = []string{"NET_BIND_SERVICE"}
	spec.Container.Mounts = []*skerryv1.Mount{
		{Target: "/data", HostPath: dir, ReadOnly: true}, {Target: "/scratch", Tmpfs: "1Mi"},
	}
	s.started(spec)
	for _, test := range []struct{ script, want string }{
		{"echo $COLOUR $PATH", "blue /bin\n"},
		{"pwd", "/tmp\n"},
		{"hostname", "web-1\n"},
		{"id -u; id -g", "1000\n1000\n"},
		{"touch /www/x 2>/dev/null || echo read-only", "read-only\n"},
		{"touch /data/x 2>/dev/null || echo read-only", "read-only\n"},
		{"echo kept >/scratch/x && cat /scratch/x", "kept\n"},
		{"head -c 2000000 /dev/zero 2>/dev/null >/scratch/y || echo full", "full\n"},
		{"grep -E 'Cap(Eff|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status", "CapEff:\t0000000000000400\nCapBnd:\t0000000000000400\nNoNewPrivs:\t1\nSeccomp:\t2\n"},
		{"cat /proc/kcore 2>/dev/null | wc -c", "0\n"},
		{"ip -o link | wc -l", "1\n"},
		{"cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null", "33554432\n"},
		{"cut -d' ' -f1 /sys/fs/cgroup/cpu.max 2>/dev/null || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us", "25000\n"},
	} {
		if _, out := s.exec(spec.ID, "sh", "-c", test.script); out != test.want {
			s.Errorf("%s gave %q, want %q", test.script, out, test.want)
		}
	}
	for field, change := range map[string]func(*skerryv1.Container){
		"user":       func(c *skerryv1.Container) { c.User = "nobody-knows" },
		"capability": func(c *skerryv1.Container) { c.AddCapabilities = []string{"FLY"} },
	} {
		bad := s.spec("bad-1")
		change(bad.Container)
		if err := s.Driver.Prepare(s.ctx, bad); problem.KindOf(err) != problem.Invalid {
			s.Errorf("a bad %s gave %v", field, err)
		}
		s.nothingLeft(bad.ID)
	}
	nowhere := s.spec("bad-1")
	nowhere.Container.Mounts = []*skerryv1.Mount{{Target: "/data", HostPath: dir + "/none"}}
	s.wantKind(s.Driver.Prepare(s.ctx, nowhere), problem.Conflict)
	s.nothingLeft(nowhere.ID)
}

func terminal(s *suite) {
	spec := s.started(s.spec("web-1"))
	sizes := make(chan runtime.TerminalSize, 1)
	sizes <- runtime.TerminalSize{Columns: 91, Rows: 37}
	var out bytes.Buffer
	stdin, keys := io.Pipe()
	defer func() { _ = keys.Close() }()
	code, err := s.Driver.Exec(s.ctx, spec.ID, runtime.Exec{
		Command: []string{"sh", "-c", "while [ \"$(stty size)\" != '37 91' ]; do sleep 0.05; done; tty; exit 6"},
		Stdin:   stdin, Stdout: &out, Terminal: true, Resize: sizes,
	})
	if err != nil || code != 6 || !strings.Contains(out.String(), "/dev/") {
		s.Errorf("it gave %d, %v, %q", code, err, out.String())
	}
}
