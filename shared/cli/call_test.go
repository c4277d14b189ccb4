package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"skerry.dev/shared/problem"
)

var deposed = problem.New(problem.Unavailable, "site harbour", "node-1 is not the coordinator")

func TestAnImageIsSentAgainWhileTheCoordinatorChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "web.tar")
	if err := os.WriteFile(file, slices.Repeat([]byte("skerry"), 100_000), 0o600); err != nil {
		t.Fatal(err)
	}
	site := harbour()
	site.passing = []error{deposed, deposed}
	r := &run{}
	if code := r.against(t, nodesOf(serve(t, site.handler())), "image", "load", file, "--name", "web"); code != 0 {
		t.Fatal(r.err.String())
	}
	wantIn(t, r.out.String(), "image/web loaded", "585.9 KiB")
	wantIn(t, r.err.String(), "web.tar is sent again: site harbour: node-1 is not the coordinator")

	site.refuse = deposed
	r = &run{}
	if code := r.against(t, nodesOf(serve(t, site.handler())), "image", "load", file, "--name", "web"); code != 7 {
		t.Errorf("exit code %d: %s", code, r.err.String())
	}
	if sent := strings.Count(r.err.String(), "is sent again"); sent != uploads-1 {
		t.Errorf("it was sent again %d times: %s", sent, r.err.String())
	}
}
