//go:build integration

package hosts

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var rigs atomic.Int32

// newRig makes a rig that is removed after the test, also when it fails.
func newRig(t *testing.T, change ...func(*Options)) *Rig {
	t.Helper()
	binary := os.Getenv("SKERRY_BINARY")
	if binary == "" {
		t.Fatal("SKERRY_BINARY must name the binary: make test-integration sets it")
	}
	// Two runs beside each other need names of their own.
	name := fmt.Sprintf("%s%d", cmp.Or(os.Getenv("SKERRY_RIGS"), "t"), rigs.Add(1))
	options := Options{
		Name: name, Dir: "/tmp/skerry-" + name, Binary: binary,
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	for _, c := range change {
		c(&options)
	}
	r, err := New(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			tellLogs(t, r)
		}
		if err := r.Close(); err != nil {
			t.Errorf("the rig left something behind: %v", err)
		}
	})
	return r
}

// tellLogs prints the ends of the agents' logs.
func tellLogs(t *testing.T, r *Rig) {
	for _, h := range r.Hosts {
		text, err := os.ReadFile(h.AgentLog())
		if err != nil {
			continue
		}
		lines := strings.Split(string(text), "\n")
		t.Logf("the log of %s ends with:\n%s", h.Name, strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
}

func TestPowerOffEndsEverythingOnAHost(t *testing.T) {
	r := newRig(t)
	h, err := r.AddHost(t.Context(), "node-1", "zone-1")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := h.Boot(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Command(t.Context(), nil, "sh", "-c", "touch /run/memory; sleep 1000 >/dev/null 2>&1 &"); err != nil {
			t.Fatal(err)
		}
		processes, err := h.Command(t.Context(), nil, "ps", "-e", "-o", "comm=")
		if err != nil || !strings.Contains(processes, "containerd") || strings.Count(processes, "sleep") != 2 {
			t.Fatalf("%v, processes: %s", err, processes)
		}
		if err := h.PowerOff(); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Command(t.Context(), nil, "true"); err == nil {
			t.Fatal("a host without power ran a command")
		}
	}
}

func TestCutAndHeal(t *testing.T) {
	r := newRig(t)
	for _, name := range []string{"node-1", "node-2"} {
		h, err := r.AddHost(t.Context(), name, name)
		if err != nil {
			t.Fatal(err)
		}
		if err := h.Boot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	a, b := r.Hosts[0], r.Hosts[1]
	listen := func(h *Host) {
		if err := func() error {
			_, err := h.start("httpd.log", "busybox", "httpd", "-f", "-p", "8000")
			return err
		}(); err != nil {
			t.Fatal(err)
		}
	}
	listen(a)
	listen(b)
	reach := func(from, to *Host) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := from.Command(ctx, nil, "curl", "-s", "--connect-timeout", "1", "-o", "/dev/null", "http://"+to.Address+":8000/")
		return err
	}
	expect := func(what string, from, to *Host, reached bool) {
		t.Helper()
		err := r.Until(t.Context(), what, patience, func(context.Context) error {
			if err := reach(from, to); (err == nil) != reached {
				return fmt.Errorf("%s to %s: %v", from.Name, to.Name, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	expect("the first call", a, b, true)
	if err := r.Cut(t.Context(), []*Host{a}, []*Host{b}); err != nil {
		t.Fatal(err)
	}
	expect("the cut", a, b, false)
	if err := r.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect("the healing", a, b, true)
	expect("the healing", b, a, true)
}
