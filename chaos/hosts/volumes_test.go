//go:build integration

package hosts

import (
	"context"
	"fmt"
	"strings"
	"testing"
)

// withData is a web server that keeps what it is told on a volume.
func withData() string {
	text := strings.Replace(web(1), "name: web", "name: db", 1)
	return strings.Replace(text, "  image:", "  mounts: [{target: /data, volume: orders, size: 64Mi}]\n  image:", 1)
}

// TestAContainersVolumeOutlivesAllOfThem: what is on it survives a change of the
// container, a power cut of its node, and the workload itself; and it is used on
// that node alone.
func TestAContainersVolumeOutlivesAllOfThem(t *testing.T) {
	r := newSite(t, 3, 3)
	apply(t, r, withData())
	first := awaitHealthy(t, r, "db", 1)[0]
	home := r.Host(first.GetNode())
	skerry(t, r, nil, "exec", first.GetName(), "--", "sh", "-c", "echo paid > /data/orders && sync")
	remembers := func(what string) {
		t.Helper()
		p := awaitHealthy(t, r, "db", 1)[0]
		if out := skerry(t, r, nil, "exec", p.GetName(), "--", "cat", "/data/orders"); strings.TrimSpace(out) != "paid" || p.GetNode() != home.Name {
			t.Errorf("%s: %s on %s reads %q", what, p.GetName(), p.GetNode(), out)
		}
	}
	awaitLine(t, r, []string{"get", "volume", "orders"}, "made")
	if text := refused(t, r, nil, "delete", "volume", "orders", "--with-data"); !strings.Contains(text, "uses it") {
		t.Errorf("deleting it in use: %s", text)
	}

	apply(t, r, strings.Replace(withData(), "  image:", "  env: {A: b}\n  image:", 1))
	awaitLine(t, r, []string{"get", "placements"}, "db-2")
	remembers("after a change")

	if err := home.PowerOff(); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, r, []string{"get", "node", home.Name}, "lost")
	if err := home.Boot(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := home.StartAgent(); err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	remembers("after a power cut")

	skerry(t, r, nil, "delete", "workload", "db")
	awaitGone(t, r, "db")
	apply(t, r, withData())
	remembers("as another workload")

	// Where its node is not to be had, it waits, and says for what.
	skerry(t, r, nil, "delete", "workload", "db")
	awaitGone(t, r, "db")
	skerry(t, r, nil, "cordon", home.Name)
	apply(t, r, withData())
	awaitLine(t, r, []string{"why", "db"}, "volume orders is on node "+home.Name)
	skerry(t, r, nil, "delete", "workload", "db")
	awaitGone(t, r, "db")
	if text := refused(t, r, nil, "delete", "volume", "orders"); !strings.Contains(text, "--with-data") {
		t.Errorf("deleting it without a word of its data: %s", text)
	}
	skerry(t, r, nil, "delete", "volume", "orders", "--with-data")
	awaitLine(t, r, []string{"events"}, "VolumeDeleted")
}

// awaitGone waits until nothing of a workload is left on any node.
func awaitGone(t *testing.T, r *Rig, workload string) {
	t.Helper()
	c := clientOf(t, r)
	await(t, r, "the end of "+workload, patience, func(ctx context.Context) error {
		all, err := placements(ctx, c)
		for _, p := range all {
			if p.GetWorkload() == workload {
				err = fmt.Errorf("%s is still there", p.GetName())
			}
		}
		return err
	})
}
