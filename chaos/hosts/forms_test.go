//go:build integration

package hosts

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

const withForms = `
kind: Workload
name: collector
perNode: true
container: {image: %[1]s, resources: {cpu: 10m, memory: 16Mi}, ports: [{name: http, port: 8080}]}
health: {http: {port: http, path: /healthz}, interval: 500ms}
stopGrace: 0s
---
kind: Workload
name: import
runToCompletion: {completions: 3, parallelism: 2}
container: {image: %[1]s, command: [/bin/sh, -c, "echo imported; exit 0"], resources: {cpu: 10m, memory: 16Mi}}
---
kind: Workload
name: broken
runToCompletion: {retries: 1}
restart: {backoff: 100ms}
container: {image: %[1]s, command: [/bin/sh, -c, "exit 3"], resources: {cpu: 10m, memory: 16Mi}}
---
kind: Workload
name: front
after: [import]
container: {image: %[1]s, resources: {cpu: 10m, memory: 16Mi}, ports: [{name: http, port: 8080}]}
health: {http: {port: http, path: /healthz}, interval: 500ms}
stopGrace: 0s
`

// TestFormsOfWorkloads on three nodes: one on each of them, a job that does its
// work, one that fails, and what waits for a job.
func TestFormsOfWorkloads(t *testing.T) {
	r := newSite(t, 3, 0)
	loadImage(t, r, "web.tar", webImage)
	apply(t, r, fmt.Sprintf(withForms, webImage))
	placed := awaitHealthy(t, r, "collector", 3)
	nodes := map[string]bool{}
	for _, p := range placed {
		nodes[p.GetNode()] = true
	}
	if len(nodes) != 3 {
		t.Errorf("collectors run on %v", nodes)
	}
	awaitLine(t, r, []string{"get", "workload", "import"}, "succeeded 3/3")
	awaitLine(t, r, []string{"describe", "workload", "broken"}, "run 1 has failed: succeeded 0/1, failed 2")
	awaitLine(t, r, []string{"status"}, "job broken: run 1 has failed")
	awaitHealthy(t, r, "front", 1)
	wantImported(t, r)
	// The power is cut everywhere: what has ended does not start again.
	for _, h := range r.Hosts {
		if err := h.PowerOff(); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range r.Hosts {
		if err := h.Boot(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := h.StartAgent(); err != nil {
			t.Fatal(err)
		}
	}
	awaitHealthy(t, r, "collector", 3)
	awaitHealthy(t, r, "front", 1)
	awaitLine(t, r, []string{"get", "workload", "import"}, "succeeded 3/3")
	wantImported(t, r)
}

// wantImported: an attempt left its line in its log once.
func wantImported(t *testing.T, r *Rig) {
	t.Helper()
	if got := skerry(t, r, nil, "logs", "import-1"); strings.Count(got, "imported") != 1 {
		t.Errorf("the log of what has ended holds %q", got)
	}
}

// awaitLine waits until a command prints a text.
func awaitLine(t *testing.T, r *Rig, command []string, want string) {
	t.Helper()
	await(t, r, strings.Join(command, " ")+" says "+want, patience, func(ctx context.Context) error {
		got, err := r.Skerry(ctx, nil, command...)
		if err == nil && !strings.Contains(got, want) {
			err = fmt.Errorf("it says:\n%s", got)
		}
		return err
	})
}
