package client

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"skerry.dev/shared/problem"
)

// Whoever was revoked is refused in the handshake, and must not be told to look
// whether the agents run.
func TestWhoIsRefusedIsToldSo(t *testing.T) {
	handshake := connect.NewError(connect.CodeUnavailable, fmt.Errorf("post: %w",
		problem.New(problem.Unauthenticated, "n1:7600", "it refused this identity")))
	broken := connect.NewError(connect.CodeUnavailable, errors.New("write: broken pipe"))
	for name, c := range map[string]struct {
		failures []error
		kind     problem.Kind
		says     string
	}{
		"refused in the handshake":    {[]error{handshake, handshake}, problem.Unauthenticated, "no node takes these credentials"},
		"refused, and one that broke": {[]error{broken, handshake}, problem.Unauthenticated, "no node takes these credentials"},
		"nobody is there":             {[]error{broken, broken}, problem.Unavailable, "no node answers"},
		"refused by its answer":       {[]error{problem.ToConnect(problem.New(problem.Unauthenticated, "", "who is that"))}, problem.Unauthenticated, "no node takes"},
	} {
		failures := make([]error, 0, len(c.failures))
		for _, failure := range c.failures {
			failures = append(failures, notLocated(failure))
		}
		err := problem.FromConnect((&Client{}).unreachable(t.Context(), failures))
		if problem.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
		if len(c.failures) == 2 && c.failures[0] == c.failures[1] && strings.Count(err.Error(), "n1:7600") > 1 {
			t.Errorf("%s: it says the same twice: %v", name, err)
		}
	}
}
