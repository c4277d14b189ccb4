package supervisor

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"skerry.dev/agent/reconcile"
	"skerry.dev/agent/runtime/model"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// guests is a runtime that knows where guests are.
type guests struct {
	*model.Driver
	address string
}

func (g guests) GuestAddress(context.Context, string, *skerryv1.VirtualMachine) (string, error) {
	if g.address == "" {
		return "", problem.New(problem.Unavailable, "p.vm-1", "its agent does not tell")
	}
	return g.address, nil
}

func TestGuestsAreCheckedAtTheirAddress(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/well" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	host, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	system := env.NewSystem()
	get := func(path string) *skerryv1.Health {
		return &skerryv1.Health{Http: &skerryv1.HttpCheck{Port: port, Path: path}}
	}
	for name, test := range map[string]struct {
		address string
		health  *skerryv1.Health
		why     string
	}{
		"it answers":             {host, get("/well"), ""},
		"it says that it is ill": {host, get("/ill"), "503"},
		"its port is open":       {host, &skerryv1.Health{Tcp: &skerryv1.TcpCheck{Port: port}}, ""},
		"nobody knows where":     {"", get("/well"), "does not tell"},
	} {
		s := New(Config{Driver: guests{model.New(system.Clock), test.address}, Env: system})
		err := s.check(t.Context(), reconcile.Action{ID: "p.vm-1", Health: test.health, VM: &skerryv1.VirtualMachine{}})
		if (err == nil) != (test.why == "") || err != nil && !strings.Contains(err.Error(), test.why) {
			t.Errorf("%s: it gave %v", name, err)
		}
	}
}
