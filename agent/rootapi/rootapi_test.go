package rootapi

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// asNobody makes this program a caller that is not root.
const asNobody = "SKERRY_TEST_ROOT_SOCKET"

func TestMain(m *testing.M) {
	if path := os.Getenv(asNobody); path != "" {
		_, err := CreateOperator(context.Background(), env.NewSystem().Net, path, &sitev1.CreateOperatorRequest{Name: "eve"})
		if _, writeErr := os.Stdout.WriteString(string(problem.KindOf(err)) + ": " + err.Error()); writeErr != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// made answers everything, and counts.
type made struct{ calls int }

func (m *made) CreateOperator(_ context.Context, request *sitev1.CreateOperatorRequest) (*sitev1.JoinResponse, error) {
	m.calls++
	if request.GetName() == "" {
		return nil, problem.New(problem.Invalid, "Operator", "it has no name")
	}
	return &sitev1.JoinResponse{Name: request.GetName()}, nil
}

func serve(t *testing.T, site Site) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "skerry-root")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "root.sock")
	server := New(Config{Path: path, Site: site, Env: env.NewSystem(), Logger: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	waitCtx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		if conn, err := net.Dial("unix", path); err == nil {
			_ = conn.Close() // it listens
			return path
		}
		if env.Sleep(waitCtx, env.NewSystem().Clock, time.Millisecond) != nil {
			t.Fatal("it does not listen")
		}
	}
}

func onlyAsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("root is whom this is about")
	}
}

func TestRootIsAnswered(t *testing.T) {
	onlyAsRoot(t)
	path := serve(t, &made{})
	answer, err := CreateOperator(t.Context(), env.NewSystem().Net, path, &sitev1.CreateOperatorRequest{Name: "rescue"})
	if err != nil || answer.GetName() != "rescue" {
		t.Errorf("it gave %v, %v", answer, err)
	}
	if _, err := CreateOperator(t.Context(), env.NewSystem().Net, path, &sitev1.CreateOperatorRequest{}); problem.KindOf(err) != problem.Invalid {
		t.Errorf("a refusal came as %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket has mode %v, %v", info.Mode(), err)
	}
}

func TestMoreCallersThanPlacesAreAnsweredOneAfterTheOther(t *testing.T) {
	onlyAsRoot(t)
	site := &made{}
	path := serve(t, site)
	for range 3 * maxConnections {
		if _, err := CreateOperator(t.Context(), env.NewSystem().Net, path, &sitev1.CreateOperatorRequest{Name: "rescue"}); err != nil {
			t.Fatal(err)
		}
	}
	if site.calls != 3*maxConnections {
		t.Errorf("%d calls", site.calls)
	}
}

// TestNobodyElseIs opens the socket's mode to all: the kernel's word on who
// calls is enough.
func TestNobodyElseIs(t *testing.T) {
	onlyAsRoot(t)
	site := &made{}
	path := serve(t, site)
	program := filepath.Join(filepath.Dir(path), "caller")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(program, self, 0o755), os.Chmod(filepath.Dir(path), 0o755), os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = []string{asNobody + "=" + path}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), string(problem.Forbidden)) || site.calls != 0 {
		t.Errorf("another user got %q, %v after %d calls", out, err, site.calls)
	}
}

func TestWhereNoAgentRunsThatIsSaid(t *testing.T) {
	_, err := CreateOperator(t.Context(), env.NewSystem().Net, filepath.Join(t.TempDir(), "none.sock"), &sitev1.CreateOperatorRequest{})
	if problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "no agent runs") {
		t.Errorf("it says %v", err)
	}
}
