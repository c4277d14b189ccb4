//go:build integration

package hosts

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const webName = "web.default." + Site + ".skerry"

// sick is a web server that, once unhealthy, waits long before it starts again. A
// check that is slow, on a machine that does much else, is none that fails.
const sick = `
kind: Workload
name: web
replicas: 3
container:
  image: ` + webImage + `
  ports: [{name: http, port: 8080, hostPort: 18080, hostPortLast: 18089}]
  resources: {cpu: 50m, memory: 16Mi}
health: {exec: {command: [test, "!", -e, /tmp/sick]}, interval: 200ms, timeout: 1m, failures: 1}
restart: {backoff: 10m, maxBackoff: 10m}
stopGrace: 0s
`

func TestContainersFindEachOtherByName(t *testing.T) {
	r := newSite(t, 3, 0)
	loadImage(t, r, "web.tar", webImage, caller(t, r))
	apply(t, r, sick)
	running := awaitHealthy(t, r, "web", 3)
	for _, from := range running {
		awaitAnswer(t, r, from, webName, addressesOf(r, running)...)
	}
	first := running[0]
	awaitAnswer(t, r, first, "web", addressesOf(r, running)...)
	awaitAnswer(t, r, first, "node-2.node."+Site+".skerry", r.Hosts[1].Address)
	// What is answered is what works, the asker's own node included.
	for _, p := range running {
		port := p.GetSpec().GetContainer().GetPorts()[0].GetHostPort()
		if out := inside(t, r, first, "nslookup", "-type=srv", "_http._tcp."+webName); !strings.Contains(out, fmt.Sprintf(" %d %s.%s", port, p.GetName(), webName)) {
			t.Errorf("no record of %s with port %d: %s", p.GetName(), port, out)
		}
		awaitAnswer(t, r, first, p.GetName()+"."+webName, r.Host(p.GetNode()).Address)
		url := fmt.Sprintf("http://%s:%d/healthz", r.Host(p.GetNode()).Address, port)
		if out := inside(t, r, first, "caller", "get", url); out != "ok\n" {
			t.Errorf("%s from %s: %q", url, first.GetNode(), out)
		}
	}
	if out, err := r.Skerry(t.Context(), nil, "exec", first.GetName(), "--", "nslookup", "-type=a", "example.com"); err == nil || !strings.Contains(out, "REFUSED") {
		t.Errorf("a name of somebody else: %v %s", err, out)
	}
	wantOnlyFromInside(t, r, r.Host(first.GetNode()))
	if out := skerry(t, r, nil, "endpoints", "web"); strings.Count(out, "serving") != 3 {
		t.Errorf("endpoints:\n%s", out)
	}

	inside(t, r, first, "touch", "/tmp/sick")
	awaitAnswer(t, r, running[1], webName, addressesOf(r, running[1:])...)
}

const onTheMachine = `
kind: Workload
name: resident
container:
  image: ` + webImage + `
  command: [/bin/sh, -c, "while true; do sleep 60; done"]
  network: host
  resources: {cpu: 50m, memory: 16Mi}
health: {exec: {command: ["true"]}, interval: 200ms, timeout: 1m}
stopGrace: 0s
`

func TestWhatIsOnTheMachinesNetworkFindsOthersByName(t *testing.T) {
	r := newSite(t, 1, 0)
	h := r.Hosts[0]
	loadImage(t, r, "web.tar", webImage)
	apply(t, r, onTheMachine)
	// Not unless the machine is answered.
	first := awaitHealthy(t, r, "resident", 1)[0]
	if conf := inside(t, r, first, "cat", "/etc/resolv.conf"); strings.Contains(conf, Site) {
		t.Errorf("without dns.loopback the resolver is\n%s", conf)
	}
	config, err := os.ReadFile(h.Config())
	if err == nil {
		err = errors.Join(os.WriteFile(h.Config(), append(config, "dns: {loopback: true}\n"...), 0o600), h.StopAgent(), h.StartAgent())
	}
	if err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	apply(t, r, strings.ReplaceAll(onTheMachine, "name: resident", "name: anew")+"---"+strings.Replace(sick, "replicas: 3", "replicas: 1", 1))
	running := awaitHealthy(t, r, "web", 1)
	p := awaitHealthy(t, r, "anew", 1)[0]
	awaitAnswer(t, r, p, webName, h.Address)
	awaitAnswer(t, r, p, "web", h.Address)
	awaitAnswer(t, r, running[0], webName, h.Address)
	if out, err := r.Skerry(t.Context(), nil, "exec", p.GetName(), "--", "nslookup", "-type=a", "example.com"); err == nil || !strings.Contains(out, "REFUSED") {
		t.Errorf("a name of somebody else: %v %s", err, out)
	}
	namespace := []string{"ip", "netns", "exec", r.Namespace()}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := run(ctx, strings.Join(append(namespace, "busybox", "nslookup", "-type=a", webName, h.Address), " ")); err == nil {
		t.Error("the machine's address answers another machine")
	}
}

func TestNodeAloneStillAnswersForTheSite(t *testing.T) {
	r := newSite(t, 3, 3)
	running := awaitHealthy(t, r, "web", 3)
	_, cut, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	own := running[slices.IndexFunc(running, func(p *skerryv1.Placement) bool { return p.GetNode() == cut.Name })]
	awaitAnswer(t, r, own, webName, addressesOf(r, running)...)
	rest := slices.DeleteFunc(slices.Clone(r.Hosts), func(h *Host) bool { return h == cut })
	if err := r.Cut(t.Context(), []*Host{cut}, rest); err != nil {
		t.Fatal(err)
	}
	awaitHealthyOff(t, r, "web", 3, cut)
	wantAlone(t, r, cut, own, addressesOf(r, running)...)

	// Now without power, and nobody else is there when it comes back. What it knows is on
	// its disk at the latest five seconds after it has changed.
	if err := Sleep(t.Context(), 6*time.Second); err != nil {
		t.Fatal(err)
	}
	for _, h := range r.Hosts {
		if err := h.PowerOff(); err != nil {
			t.Fatal(err)
		}
	}
	if err := cut.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cut.StartAgent(); err != nil {
		t.Fatal(err)
	}
	wantAlone(t, r, cut, own, addressesOf(r, running)...)
}

// caller builds the program that calls others.
func caller(t *testing.T, r *Rig) string {
	t.Helper()
	path := filepath.Join(r.Dir, "caller")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./caller")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// wantAlone asks in a container of a host that reaches no other.
func wantAlone(t *testing.T, r *Rig, h *Host, own *skerryv1.Placement, want ...string) {
	t.Helper()
	await(t, r, "answers on the node alone", patience, func(ctx context.Context) error {
		out, err := h.Command(ctx, nil, r.Binary, "exec", own.GetName(), "--address", h.API(), "--", "nslookup", "-type=a", webName)
		return sameAddresses(out, err, want)
	})
}

// wantOnlyFromInside: what another machine sends to the address of the
// containers' resolver gets no answer.
func wantOnlyFromInside(t *testing.T, r *Rig, h *Host) {
	t.Helper()
	namespace := []string{"ip", "netns", "exec", r.Namespace()}
	if err := run(t.Context(), strings.Join(append(namespace, "ip", "route", "replace", "10.88.0.1/32", "via", h.Address), " ")); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := run(ctx, strings.Join(append(namespace, "busybox", "nslookup", "-type=a", webName, "10.88.0.1"), " ")); err == nil {
		t.Error("the node's DNS answered another machine")
	}
}

// inside runs a command in a container.
func inside(t *testing.T, r *Rig, p *skerryv1.Placement, command ...string) string {
	t.Helper()
	return skerry(t, r, nil, append([]string{"exec", p.GetName(), "--"}, command...)...)
}

func awaitAnswer(t *testing.T, r *Rig, from *skerryv1.Placement, name string, want ...string) {
	t.Helper()
	await(t, r, name+" in "+from.GetName()+" on "+from.GetNode(), patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "exec", from.GetName(), "--", "nslookup", "-type=a", name)
		return sameAddresses(out, err, want)
	})
}

var answered = regexp.MustCompile(`(?m)^Address: (\S+)$`)

// sameAddresses compares what nslookup printed.
func sameAddresses(out string, err error, want []string) error {
	var got []string
	for _, match := range answered.FindAllStringSubmatch(out, -1) {
		if _, err := netip.ParseAddr(match[1]); err == nil {
			got = append(got, match[1])
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("the answer is %v, want %v (%v): %s", got, want, err, out)
	}
	return nil
}

// addressesOf the hosts of placements.
func addressesOf(r *Rig, placements []*skerryv1.Placement) []string {
	var out []string
	for _, p := range placements {
		out = append(out, r.Host(p.GetNode()).Address)
	}
	return out
}
