//go:build integration

package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestASiteIsStoppedSwitchedOffAndStartsByItselfInOrder(t *testing.T) {
	r := newSite(t, 3, 0)
	loadImage(t, r, "web.tar", webImage)
	home := r.Hosts[1]
	apply(t, r, onNode("db", home.Name, "partition: {mode: stay}\n")+"---"+web(3)+"after: [db]\n")
	awaitHealthy(t, r, "web", 3)
	if out := skerry(t, r, nil, "site", "stop", "--dry-run"); strings.Index(out, "default/web") > strings.Index(out, "default/db") {
		t.Errorf("the order is\n%s", out)
	}
	out := skerry(t, r, nil, "site", "stop", "--yes", "--reason", "the shore power goes")
	if web, db := strings.Index(out, "default/web is stopped"), strings.Index(out, "default/db is stopped"); web > db || !strings.Contains(out, "can be switched off") {
		t.Errorf("the stop told\n%s", out)
	}
	if left := allPIDs(t, r); len(left) > 0 {
		t.Errorf("there still run %v", left)
	}

	// A fresh agent on a machine that was on all along starts nothing.
	for _, h := range r.Hosts {
		if err := errors.Join(h.KillAgent(), h.StartAgent()); err != nil {
			t.Fatal(err)
		}
	}
	await(t, r, "a status that says that the site is stopped", patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "status")
		if err == nil && (!strings.Contains(out, "skerry site start") || !strings.Contains(out, "the shore power goes") || strings.Contains(out, "STALE")) {
			err = fmt.Errorf("it is %s", out)
		}
		return err
	})
	if left := allPIDs(t, r); len(left) > 0 {
		t.Errorf("fresh agents run %v", left)
	}

	for _, h := range r.Hosts {
		if err := h.PowerOff(); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range r.Hosts {
		if err := errors.Join(h.Boot(t.Context()), h.StartAgent()); err != nil {
			t.Fatal(err)
		}
	}
	settled(t, r)
	awaitHealthy(t, r, "web", 3)
	if got := awaitHealthy(t, r, "db", 1); got[0].GetNode() != home.Name {
		t.Errorf("db is back on %s", got[0].GetNode())
	}
	events := skerry(t, r, nil, "events")
	for _, want := range []string{"SiteStopped", "its machines were switched on again"} {
		if !strings.Contains(events, want) {
			t.Errorf("the events do not tell %q:\n%s", want, events)
		}
	}
	skerry(t, r, nil, "site", "stop", "--yes")
	skerry(t, r, nil, "site", "start")
	awaitHealthy(t, r, "web", 3)
}

// deaf hears no SIGTERM: it is killed when its grace has passed.
const deaf = `
kind: Workload
name: deaf
after: [db]
container: {image: ` + webImage + `, command: [sleep, "100000"], resources: {cpu: 10m, memory: 16Mi}}
stopGrace: 10m
`

// TestAPowerCutInTheMiddleOfAStop: what was told to stop already, what stops just
// then, and what was not told yet, are all there again once.
func TestAPowerCutInTheMiddleOfAStop(t *testing.T) {
	r := newSite(t, 3, 0)
	loadImage(t, r, "web.tar", webImage)
	home := r.Hosts[1]
	apply(t, r, onNode("db", home.Name, "partition: {mode: stay}\n")+"---"+deaf+"---"+web(3)+"after: [deaf]\n")
	awaitHealthy(t, r, "web", 3)

	file, err := os.Create(filepath.Join(r.Dir, "stop.out"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	command, err := r.As(t.Context(), r.Home(), file, "site", "stop", "--yes", "--deadline", "1h")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- command.Wait() }()
	awaitRunning(t, r, map[string]int{"db": 1, "deaf": 1})
	for _, h := range r.Hosts {
		if err := h.PowerOff(); err != nil {
			t.Fatal(err)
		}
	}
	if err := command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	<-ended // however: nobody answers it
	for _, h := range r.Hosts {
		if err := errors.Join(h.Boot(t.Context()), h.StartAgent()); err != nil {
			t.Fatal(err)
		}
	}

	settled(t, r)
	awaitHealthy(t, r, "web", 3)
	if got := awaitHealthy(t, r, "db", 1); got[0].GetNode() != home.Name || got[0].GetName() != "db-1" {
		t.Errorf("of db there is %s on %s, it was db-1 on %s", got[0].GetName(), got[0].GetNode(), home.Name)
	}
	awaitRunning(t, r, map[string]int{"db": 1, "deaf": 1, "web": 3})
	if out := skerry(t, r, nil, "status"); strings.Contains(out, "skerry site start") {
		t.Errorf("the site is still stopped:\n%s", out)
	}
}

// awaitRunning waits until just so many containers of these workloads run.
func awaitRunning(t *testing.T, r *Rig, want map[string]int) {
	t.Helper()
	await(t, r, fmt.Sprintf("containers of %v and of nothing else", want), patience, func(context.Context) error {
		got := map[string]int{}
		for _, task := range allPIDs(t, r) {
			name, _, _ := strings.Cut(strings.TrimPrefix(task, "default."), "-")
			got[name]++
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("there are %v", got)
		}
		return nil
	})
}
