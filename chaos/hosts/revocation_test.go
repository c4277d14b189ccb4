//go:build integration

package hosts

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/agent/identity"
	"skerry.dev/agent/identity/workloads"
	"skerry.dev/agent/seal"
	"skerry.dev/certs/mtls"
	"skerry.dev/chaos/check"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/env"
)

// cutWithin is what the site promises of everything that is revoked.
const cutWithin = 5 * time.Second

// logOf a host's agents.
func logOf(t *testing.T, h *Host) string {
	t.Helper()
	text, err := os.ReadFile(h.AgentLog())
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// without the host that was evicted the site has settled.
func settledWithout(t *testing.T, r *Rig, evicted *Host) {
	t.Helper()
	rest := slices.DeleteFunc(slices.Clone(r.Hosts), func(h *Host) bool { return h == evicted })
	await(t, r, "the site without "+evicted.Name, patience, func(ctx context.Context) error {
		status, err := r.Status(ctx)
		if err != nil {
			return err
		}
		for _, node := range status.GetNodes() {
			if node.GetName() == evicted.Name && (node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED || node.GetRaftId() != 0) {
				return fmt.Errorf("it is still %s with replica %d", node.GetState(), node.GetRaftId())
			}
		}
		return unsettled(status, len(rest))
	})
}

// awaitGossipKeys waits until those who were evicted know no gossip key any
// more: until then one of them may still be heard.
func awaitGossipKeys(t *testing.T, r *Rig, rotated int) {
	t.Helper()
	await(t, r, "a gossip key that those evicted do not know", patience, func(ctx context.Context) error {
		events, err := r.Skerry(ctx, nil, "events")
		if err == nil && strings.Count(events, "GossipKeyRotated") < rotated {
			err = errors.New("the old one is not gone")
		}
		return err
	})
}

func TestEvictedNodesAreOutEverywhereWithinSeconds(t *testing.T) {
	r := newSite(t, 4, 4)
	leader, other, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rotated := 0
	for _, evicted := range []*Host{other, leader} {
		skerry(t, r, nil, "node", "evict", evicted.Name, "--yes")
		begun := time.Now()
		await(t, r, "the node to know of it", cutWithin, func(context.Context) error {
			if !strings.Contains(logOf(t, evicted), "this node was evicted from the site") {
				return errors.New("its log does not say so")
			}
			return nil
		})
		t.Logf("%s knew of it after %s", evicted.Name, time.Since(begun))
		await(t, r, "its containers to end", patience, func(context.Context) error {
			if pids := containerPIDs(t, evicted); len(pids) > 0 {
				return fmt.Errorf("containers: %v", pids)
			}
			return nil
		})
		settledWithout(t, r, evicted)
		awaitHealthyOff(t, r, "web", 4, evicted)
		rotated++
		awaitGossipKeys(t, r, rotated)
		// Also after a restart it has no part in anything.
		if err := evicted.StopAgent(); err != nil {
			t.Fatal(err)
		}
		if err := evicted.StartAgent(); err != nil {
			t.Fatal(err)
		}
		r.Hosts = slices.DeleteFunc(r.Hosts, func(h *Host) bool { return h == evicted })
		defer func() { r.Hosts = append(r.Hosts, evicted) }()
		settled(t, r)
	}
	if got := check.VoterTarget(len(r.Hosts)); got != 1 {
		t.Fatal(got)
	}
}

func TestNodeThatWasEvictedWhileItWasCutOffLearnsOfItBeforeItGossips(t *testing.T) {
	r := newSite(t, 4, 4)
	_, cut, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rest := slices.DeleteFunc(slices.Clone(r.Hosts), func(h *Host) bool { return h == cut })
	if err := r.Cut(t.Context(), []*Host{cut}, rest); err != nil {
		t.Fatal(err)
	}
	awaitHealthyOff(t, r, "web", 4, cut)
	skerry(t, r, nil, "node", "evict", cut.Name, "--yes")
	settledWithout(t, r, cut)
	awaitGossipKeys(t, r, 1)
	before := map[string]int{}
	for _, h := range rest {
		before[h.Name] = strings.Count(logOf(t, h), "pool: member joined\" node="+cut.Name)
	}
	if err := r.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, r, "the node to know of it", patience, func(context.Context) error {
		if !strings.Contains(logOf(t, cut), "this node was evicted from the site") {
			return errors.New("its log does not say so")
		}
		return nil
	})
	await(t, r, "its containers to end", patience, func(context.Context) error {
		if pids := containerPIDs(t, cut); len(pids) > 0 {
			return fmt.Errorf("containers: %v", pids)
		}
		return nil
	})
	for _, h := range rest {
		if after := strings.Count(logOf(t, h), "pool: member joined\" node="+cut.Name); after != before[h.Name] {
			t.Errorf("%s had it in its pool again", h.Name)
		}
	}
}

func TestWhatARevokedOperatorHasOpenIsCut(t *testing.T) {
	r := newSite(t, 3, 3)
	home, err := r.Operator(t.Context(), "mara")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(home) }()
	open := map[string]*os.File{}
	for name, args := range map[string][]string{
		"logs": {"logs", "-f", "web-1"}, "exec": {"exec", "web-2", "--", "sh", "-c", "echo begun; sleep 1000"}, "events": {"events", "-f"},
	} {
		out, err := os.Create(filepath.Join(home, name))
		if err != nil {
			t.Fatal(err)
		}
		command, err := r.As(t.Context(), home, out, args...)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			_ = command.Process.Kill() // it may have ended
			_ = command.Wait()
			_ = out.Close()
		}()
		open[name] = out
	}
	says := func(name string, words ...string) func(context.Context) error {
		return func(context.Context) error {
			text, err := os.ReadFile(open[name].Name())
			if err == nil && !slices.ContainsFunc(words, func(w string) bool { return strings.Contains(string(text), w) }) {
				err = fmt.Errorf("%s wrote %q", name, text)
			}
			return err
		}
	}
	await(t, r, "the streams to be open", patience, says("exec", "begun"))
	await(t, r, "the streams to be open", patience, says("events", "NodeJoined"))
	skerry(t, r, nil, "operator", "revoke", "mara", "--yes")
	begun := time.Now()
	for name := range open {
		// Either its connection is cut, or it is asked first whether he still may.
		await(t, r, name+" to be cut", cutWithin-time.Since(begun), says(name, "connection was lost", "trying again", "mara may not"))
		t.Logf("%s was cut after %s at most", name, time.Since(begun))
	}
	if text, err := output(r.as(t.Context(), "status"), nil, home); err == nil {
		t.Errorf("a revoked operator got an answer:\n%s", text)
	}
}

func TestRotatingTheCAsStopsNothing(t *testing.T) {
	r := newSite(t, 4, 4)
	// SVIDs of workloads hang on the CAs too, for days if nobody renews them.
	apply(t, r, strings.Replace(web(4), "kind: Workload", "kind: Workload\nidentity: true", 1))
	awaitHealthy(t, r, "web", 4)
	await(t, r, "identities of the workloads", patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "get", "placements", "-o", "json")
		if err == nil && strings.Count(out, "identityUntil") < 4 {
			err = errors.New("not all have one")
		}
		if running := allPIDs(t, r); err == nil && len(running) != 4 {
			err = fmt.Errorf("the update has not ended: %v", running)
		}
		return err
	})
	before := allPIDs(t, r)
	for range 2 {
		old := skerry(t, r, nil, "ca", "list")
		begun := time.Now()
		out := skerry(t, r, nil, "ca", "rotate")
		t.Logf("a rotation took %s: %s", time.Since(begun), out)
		now := skerry(t, r, nil, "ca", "list")
		for line := range strings.Lines(old) {
			if word := strings.Fields(line); len(word) > 0 && word[0] != "CA" && strings.Contains(now, word[0]) {
				t.Errorf("CA %s is still there:\n%s", word[0], now)
			}
		}
	}
	settled(t, r)
	if after := allPIDs(t, r); !slices.Equal(before, after) {
		t.Errorf("containers were %v, are %v", before, after)
	}
	if events := skerry(t, r, nil, "events"); strings.Contains(events, "NodeLost") {
		t.Errorf("a node was lost:\n%s", events)
	}
	// The new CAs serve joiners, and nodes that start anew.
	if _, err := r.Add(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, h := range r.Hosts {
		if err := h.StopAgent(); err != nil {
			t.Fatal(err)
		}
		if err := h.StartAgent(); err != nil {
			t.Fatal(err)
		}
	}
	settled(t, r)
}

// stolen is what somebody has who took the identity of a workload off a disk.
type stolen struct {
	*identity.Node
	cert tls.Certificate
}

func (s stolen) Certificate() *tls.Certificate { return &s.cert }

// steal the identity of a placement, once its node has it.
func steal(t *testing.T, r *Rig, h *Host, placement string) *mtls.Dialer {
	t.Helper()
	dir, system := identity.Dir(h.StateDir()), env.NewSystem()
	var svid *workloads.SVID
	await(t, r, "the SVID of "+placement, patience, func(context.Context) error {
		sealer, err := seal.Open(system.FS, system.Rand, dir)
		if err != nil {
			return err
		}
		kept, err := workloads.Open(workloads.Config{Dir: filepath.Join(dir, "workloads"), Seal: sealer, Env: system, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		if svid = kept.SVID("default", placement); svid == nil {
			return errors.New("there is none")
		}
		return nil
	})
	key, err := x509.ParsePKCS8PrivateKey(svid.Key)
	if err != nil {
		t.Fatal(err)
	}
	node, err := identity.Load(system, dir)
	if err != nil {
		t.Fatal(err)
	}
	return &mtls.Dialer{Net: namespaceNet{r.Namespace()}, Source: stolen{node, tls.Certificate{Certificate: svid.Chain, PrivateKey: key, Leaf: svid.Leaf}}}
}

func TestWhatAWorkloadGotOnANodeIsRefusedWithinSecondsOfItsEviction(t *testing.T) {
	r := newSite(t, 3, 0)
	loadImage(t, r, "web.tar", webImage)
	_, evicted, err := r.Coordinator(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	apply(t, r, strings.Replace(web(1), "name: web\n", "name: web\nidentity: true\nplace: {require: [{label: name, in: ["+evicted.Name+"]}]}\n", 1))
	awaitHealthy(t, r, "web", 1)
	thief := steal(t, r, evicted, "web-1")
	rest := slices.DeleteFunc(slices.Clone(r.Hosts), func(h *Host) bool { return h == evicted })
	locate := func(h *Host) func(context.Context) error {
		// One connection for all calls: it was made while the SVID counted.
		c := skerryv1connect.NewSiteServiceClient(thief.HTTPClient(mtls.API2, mtls.ExpectNode(h.Name)), "https://"+h.API())
		return func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			_, err := c.Locate(ctx, connect.NewRequest(&skerryv1.LocateRequest{}))
			return err
		}
	}
	calls := map[*Host]func(context.Context) error{}
	for _, h := range rest {
		if calls[h] = locate(h); calls[h](t.Context()) != nil {
			t.Fatalf("before, %s says %v", h.Name, calls[h](t.Context()))
		}
	}
	begun := time.Now()
	skerry(t, r, nil, "node", "evict", evicted.Name, "--yes")
	for _, h := range rest {
		await(t, r, h.Name+" to refuse it", cutWithin-time.Since(begun), func(ctx context.Context) error {
			if calls[h](ctx) == nil {
				return errors.New("it answers")
			}
			return nil
		})
		t.Logf("%s refused it after %s at most", h.Name, time.Since(begun))
		if err := locate(h)(t.Context()); err == nil {
			t.Errorf("on a new connection %s answers", h.Name)
		}
	}
}
