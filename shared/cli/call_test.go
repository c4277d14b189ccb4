package cli

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"skerry.dev/shared/problem"
)

var deposed = problem.New(problem.Unavailable, "site harbour", "node-1 is not the coordinator")

func TestAWriteIsRepeatedWhileTheCoordinatorChanges(t *testing.T) {
	forbidden := problem.New(problem.Forbidden, "Workload/web", "no")
	for name, c := range map[string]struct {
		line    string
		passing []error
		refuse  error
		code    int
		waited  time.Duration
		says    string
	}{
		"a write":                    {line: "apply -f -", passing: []error{deposed, deposed}, waited: 2 * askAgain},
		"what nobody takes":          {line: "apply -f -", refuse: deposed, code: 7, waited: electing, says: "node-1 is not the coordinator"},
		"what is refused":            {line: "apply -f -", refuse: forbidden, code: 6, says: "no"},
		"what is refused in the end": {line: "apply -f -", passing: []error{deposed}, refuse: forbidden, code: 6, waited: askAgain, says: "no"},
		"a read":                     {line: "get workload", refuse: deposed, code: 7, says: "node-1 is not the coordinator"},
	} {
		t.Run(name, func(t *testing.T) {
			site := harbour()
			site.passing, site.refuse = c.passing, c.refuse
			r := &run{clock: &fakeClock{}, in: strings.NewReader("kind: Workload\nname: web\nreplicas: 2\ncontainer: {image: site.local/web:1}\n")}
			if code := r.against(t, nodesOf(serve(t, site.handler())), strings.Fields(c.line)...); code != c.code {
				t.Errorf("exit code %d, not %d: %s", code, c.code, r.err.String())
			}
			if r.clock.Elapsed() != c.waited {
				t.Errorf("it waited %s, not %s", r.clock.Elapsed(), c.waited)
			}
			wantIn(t, r.err.String(), c.says)
		})
	}
}

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
