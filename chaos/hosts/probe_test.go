//go:build integration

package hosts

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/agent/runtime/testimage"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

const (
	webImage = "site.local/web:1"
	webPort  = "18080"
	// patience bounds the wait for one thing, on a machine that may do much else.
	patience = 2 * time.Minute
)

// newSite brings up a site of n hosts that runs web with so many replicas.
func newSite(t *testing.T, n, replicas int) *Rig {
	t.Helper()
	r := newRig(t)
	if err := r.Up(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if replicas > 0 {
		loadImage(t, r, "web.tar", webImage)
		apply(t, r, web(replicas))
		awaitHealthy(t, r, "web", replicas)
	}
	return r
}

// web is the manifest of a small web server.
func web(replicas int) string {
	return fmt.Sprintf(`
kind: Workload
name: web
replicas: %d
container:
  image: %s
  ports: [{name: http, port: 8080, hostPort: %s, hostPortLast: 18089}]
  resources: {cpu: 50m, memory: 16Mi}
health: {http: {port: http, path: /healthz}, interval: 500ms}
stopGrace: 0s
`, replicas, webImage, webPort)
}

func loadImage(t *testing.T, r *Rig, file, name string, programs ...string) {
	t.Helper()
	var archive bytes.Buffer
	if err := testimage.WriteDockerArchive(&archive, name, programs...); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.Dir, file)
	if err := os.WriteFile(path, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	skerry(t, r, nil, "image", "load", path)
}

func apply(t *testing.T, r *Rig, manifest string) {
	t.Helper()
	skerry(t, r, strings.NewReader(manifest), "apply", "-f", "-")
}

// skerry runs an operator's command that must succeed. On a machine that does much
// else no node may answer within a second: then nothing was done, and it is tried
// again.
func skerry(t *testing.T, r *Rig, stdin *strings.Reader, args ...string) string {
	t.Helper()
	for try := 1; ; try++ {
		var out string
		var err error
		if stdin == nil {
			out, err = r.Skerry(t.Context(), nil, args...)
		} else {
			again := *stdin
			out, err = r.Skerry(t.Context(), &again, args...)
		}
		if err == nil {
			return out
		}
		if try == 5 || !strings.Contains(err.Error(), "no node answers") {
			t.Fatal(err)
		}
	}
}

// refused runs an operator's command that must fail, and returns what it said.
func refused(t *testing.T, r *Rig, stdin *strings.Reader, args ...string) string {
	t.Helper()
	var err error
	if stdin == nil {
		_, err = r.Skerry(t.Context(), nil, args...)
	} else {
		_, err = r.Skerry(t.Context(), stdin, args...)
	}
	if err == nil {
		t.Fatalf("skerry %s succeeded", strings.Join(args, " "))
	}
	if strings.Contains(err.Error(), "panic") {
		t.Fatal(err)
	}
	return err.Error()
}

func clientOf(t *testing.T, r *Rig, hosts ...*Host) *client.Client {
	t.Helper()
	c, err := r.Client(hosts...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func await(t *testing.T, r *Rig, what string, limit time.Duration, look func(context.Context) error) {
	t.Helper()
	if err := r.Until(t.Context(), what, limit, look); err != nil {
		t.Fatal(err)
	}
}

func placements(ctx context.Context, c *client.Client) ([]*skerryv1.Placement, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	got, err := c.Resources().List(ctx, connect.NewRequest(&skerryv1.ListRequest{Kind: "Placement"}))
	if err != nil {
		return nil, err
	}
	var all []*skerryv1.Placement
	for _, resource := range got.Msg.GetResources() {
		all = append(all, resource.GetPlacement())
	}
	return all, nil
}

func healthy(p *skerryv1.Placement) bool {
	return p.GetStatus().GetReadiness() == skerryv1.Readiness_READINESS_HEALTHY &&
		p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && p.GetLostSince() == nil
}

// awaitHealthy waits until a workload has exactly so many healthy placements,
// and returns them, as the given hosts tell it.
func awaitHealthy(t *testing.T, r *Rig, workload string, wanted int, ask ...*Host) []*skerryv1.Placement {
	t.Helper()
	c := clientOf(t, r, ask...)
	var found []*skerryv1.Placement
	await(t, r, fmt.Sprintf("%d healthy placements of %s", wanted, workload), patience, func(ctx context.Context) error {
		all, err := placements(ctx, c)
		if err != nil {
			return err
		}
		found = slices.DeleteFunc(slices.Clone(all), func(p *skerryv1.Placement) bool { return p.GetWorkload() != workload || !healthy(p) })
		if len(found) != wanted {
			return fmt.Errorf("%d are, of %s", len(found), inShort(all, workload))
		}
		return nil
	})
	return found
}

// inShort says how the placements of a workload are.
func inShort(all []*skerryv1.Placement, workload string) string {
	var each []string
	for _, p := range all {
		if p.GetWorkload() == workload {
			each = append(each, fmt.Sprintf("%s on %q: %s %s", p.GetName(), p.GetNode(), p.GetStatus().GetPhase(), cmp.Or(p.GetStatus().GetMessage(), p.GetDecision().GetSummary())))
		}
	}
	return strings.Join(each, "; ")
}

// awaitHealthyOff waits until so many healthy placements are on other hosts
// than one, and returns them.
func awaitHealthyOff(t *testing.T, r *Rig, workload string, wanted int, off *Host) []*skerryv1.Placement {
	t.Helper()
	c := clientOf(t, r, slices.DeleteFunc(slices.Clone(r.Hosts), func(h *Host) bool { return h == off })...)
	var found []*skerryv1.Placement
	await(t, r, fmt.Sprintf("%d healthy placements of %s off %s", wanted, workload, off.Name), patience, func(ctx context.Context) error {
		all, err := placements(ctx, c)
		if err != nil {
			return err
		}
		found = slices.DeleteFunc(all, func(p *skerryv1.Placement) bool {
			return p.GetWorkload() != workload || !healthy(p) || p.GetNode() == off.Name
		})
		if len(found) != wanted {
			return fmt.Errorf("%d are", len(found))
		}
		return nil
	})
	return found
}

func settled(t *testing.T, r *Rig) {
	t.Helper()
	if err := r.Settled(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// containerPIDs are the first processes of all containers on a host, as its
// own containerd knows them.
func containerPIDs(t *testing.T, h *Host) []string {
	t.Helper()
	out, err := h.Command(t.Context(), nil, "ctr", "-n", "skerry", "tasks", "ls")
	if err != nil {
		t.Fatal(err)
	}
	var pids []string
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) == 3 && fields[2] == "RUNNING" {
			pids = append(pids, fields[0]+"="+fields[1])
		}
	}
	slices.Sort(pids)
	return pids
}

// allPIDs of the hosts that have power.
func allPIDs(t *testing.T, r *Rig) []string {
	t.Helper()
	var all []string
	for _, h := range r.Hosts {
		if h.first != 0 {
			all = append(all, containerPIDs(t, h)...)
		}
	}
	return all
}
