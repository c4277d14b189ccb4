//go:build integration

package hosts

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	peerImage  = "site.local/peer:1"
	serverID   = "spiffe://" + Site + "/workload/default/server"
	clientID   = "spiffe://" + Site + "/workload/default/client"
	serverPort = "18443"
)

// spiffePeer builds the program that uses the Workload API.
func spiffePeer(t *testing.T, r *Rig) string {
	t.Helper()
	path := filepath.Join(r.Dir, "spiffepeer")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./spiffepeer")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// peers are a server on node-1, a client on node-2, and one beside it that has
// the socket and asks for no identity.
func peers() string {
	return fmt.Sprintf(`
kind: Workload
name: server
identity: true
container:
  image: %[1]s
  command: [/bin/spiffepeer, serve, ":8443", %[2]s]
  user: www
  readOnlyRoot: true
  ports: [{name: https, port: 8443, hostPort: %[3]s}]
place: {require: [{label: name, in: [node-1]}]}
health: {tcp: {port: https}, interval: 500ms}
---
kind: Workload
name: client
identity: true
container: {image: %[1]s, command: [/bin/serve, /bin/spiffepeer, watch], user: www}
place: {require: [{label: name, in: [node-2]}]}
stopGrace: 0s
---
kind: Workload
name: plain
container:
  image: %[1]s
  env: {SPIFFE_ENDPOINT_SOCKET: "unix:///stolen/workload.sock"}
  mounts: [{target: /stolen, hostPath: /run/skerry/workload}]
place: {require: [{label: name, in: [node-2]}]}
stopGrace: 0s
`, peerImage, clientID, serverPort)
}

// svids are the lines about SVIDs that the client printed, as its node has them
// on its disk.
func svids(h *Host) []string {
	var lines []string
	files, err := filepath.Glob(h.StateDir() + "/logs/default.client-*/0")
	if err != nil {
		return nil
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "svid ") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
	}
	return lines
}

func TestWorkloadsGetAndKeepTheirIdentities(t *testing.T) {
	r := newSite(t, 2, 0)
	loadImage(t, r, "peer.tar", peerImage, spiffePeer(t, r))
	apply(t, r, "kind: Settings\nname: site\nlifetimes: {workload: 1h}\n")
	apply(t, r, peers())
	awaitHealthy(t, r, "server", 1)
	one, two := r.Hosts[0], r.Hosts[1]
	awaitSVIDs := func(what string, more int) []string {
		t.Helper()
		var lines []string
		await(t, r, what, patience, func(context.Context) error {
			if lines = svids(two); len(lines) < more {
				return fmt.Errorf("the client printed %q", lines)
			}
			return nil
		})
		return lines
	}
	first := awaitSVIDs("the client's SVID", 1)[0]
	if !strings.HasPrefix(first, "svid "+clientID+" ") || !strings.HasSuffix(first, "verified true") {
		t.Errorf("its SVID is %q", first)
	}

	call := func(id string) (string, error) {
		return r.Skerry(t.Context(), nil, "exec", "client-1", "--", "/bin/spiffepeer", "call", one.Address+":"+serverPort, id)
	}
	out, err := call(serverID)
	if err != nil || !strings.Contains(out, "it sees "+clientID) {
		t.Fatalf("mutual TLS between two nodes gave %q, %v", out, err)
	}
	if out, err := call(clientID); err == nil {
		t.Errorf("it took the server for another workload: %q", out)
	}

	// A JWT-SVID that a voter issued on one node is believed on the other, by who
	// it is for and nobody else.
	token := strings.TrimSpace(skerry(t, r, nil, "exec", "client-1", "--", "/bin/spiffepeer", "jwt", "bank"))
	out = skerry(t, r, nil, "exec", "server-1", "--", "/bin/spiffepeer", "believe", "bank", token)
	if !strings.Contains(out, "it is of "+clientID+", and the node says "+clientID) {
		t.Errorf("of its JWT-SVID the other one says %q", out)
	}
	if out, err := r.Skerry(t.Context(), nil, "exec", "server-1", "--", "/bin/spiffepeer", "believe", "post", token); err == nil {
		t.Errorf("a JWT-SVID for another audience is believed: %q", out)
	}

	// Who is no placement with an identity is refused, and told why.
	out = skerry(t, r, nil, "exec", "plain-1", "--", "/bin/spiffepeer", "deny")
	if !strings.Contains(out, "asks for no identity") {
		t.Errorf("the workload without identity was told %q", out)
	}
	out, err = two.Command(t.Context(), nil, "env", "SPIFFE_ENDPOINT_SOCKET=unix:///run/skerry/workload/workload.sock",
		filepath.Join(r.Dir, "spiffepeer"), "deny")
	if err != nil || !strings.Contains(out, "no placement") {
		t.Errorf("a process of the machine was told %q, %v", out, err)
	}

	out = skerry(t, r, nil, "describe", "placement", "client-1")
	if !strings.Contains(out, clientID+" until ") || !strings.Contains(out, "for 59m") {
		t.Errorf("describe says %s", out)
	}
	if out := skerry(t, r, nil, "status"); !strings.Contains(out, "node-2 for 59m") {
		t.Errorf("status says %s", out)
	}

	// The next agent serves what is mounted, and the client comes back to it.
	before := allPIDs(t, r)
	if err := two.KillAgent(); err != nil {
		t.Fatal(err)
	}
	if err := two.StartAgent(); err != nil {
		t.Fatal(err)
	}
	again := awaitSVIDs("the SVID from the next agent", 2)
	if again[1] != first {
		t.Errorf("it is another one: %q, was %q", again[1], first)
	}
	if after := allPIDs(t, r); !slices.Equal(before, after) {
		t.Errorf("containers were %v, are %v", before, after)
	}

	// Past half of its life it is renewed, and the running programs take it over.
	skerry(t, r, nil, "site", "time", "set", time.Now().Add(40*time.Minute).UTC().Format(time.RFC3339))
	again = awaitSVIDs("the next SVID", len(again)+1)
	if renewed := again[len(again)-1]; renewed == first || !strings.HasSuffix(renewed, "verified true") {
		t.Errorf("it is renewed as %q, was %q", renewed, first)
	} else {
		first = renewed
	}
	if out, err := call(serverID); err != nil || !strings.Contains(out, "it sees "+clientID) {
		t.Errorf("after the renewal mutual TLS gave %q, %v", out, err)
	}

	// Both without power; the client's node comes back with no voter in reach.
	for _, h := range r.Hosts {
		if err := h.PowerOff(); err != nil {
			t.Fatal(err)
		}
	}
	if err := two.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := two.StartAgent(); err != nil {
		t.Fatal(err)
	}
	alone := awaitSVIDs("the SVID with no voter in reach", len(again)+1)
	t.Logf("%s after the start of the agent, with no voter in reach, the workload had its identity", time.Since(begun).Round(time.Millisecond))
	if alone[len(alone)-1] != first {
		t.Errorf("it is another one: %q, was %q", alone[len(alone)-1], first)
	}
	sealed, err := filepath.Glob(two.StateDir() + "/identity/workloads/*.svid")
	if err != nil || len(sealed) != 1 {
		t.Errorf("on the disk there is %v, %v", sealed, err)
	}
}
