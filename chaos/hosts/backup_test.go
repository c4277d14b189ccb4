//go:build integration

package hosts

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBackupsThatTheSiteMakesAreRestored: whoever coordinates makes them, as many
// are kept as should, each is whole, and the newest brings the site back on a machine
// that knows nothing.
func TestBackupsThatTheSiteMakesAreRestored(t *testing.T) {
	r := newSite(t, 3, 0)
	key, folder := filepath.Join(r.Dir, "safe.key"), filepath.Join(r.Dir, "backups")
	skerry(t, r, nil, "secret", "recovery-key", "create", "safe", "--out", key)
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	apply(t, r, fmt.Sprintf("kind: Settings\nname: site\nbackups: {folder: %s, every: 5m, keep: 2}\n", folder))
	last, ahead, clocks := awaitBackup(t, r, folder, ""), time.Duration(0), clocks(t, r)
	for number := range 3 {
		// The next backup is the first that knows this one.
		apply(t, r, strings.Replace(web(0), "name: web", fmt.Sprintf("name: known-%d", number), 1))
		if number == 1 { // another voter makes those that follow
			leader, _, err := r.Coordinator(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := leader.StopAgent(); err != nil {
				t.Fatal(err)
			}
			delete(clocks, leader)
		}
		ahead += 6 * time.Minute
		for _, clock := range clocks {
			if err := clock.Set(ahead); err != nil {
				t.Fatal(err)
			}
		}
		last = awaitBackup(t, r, folder, last)
		if out := skerry(t, r, nil, "backup", "verify", last, "--key", key); !strings.Contains(out, "is whole") || !strings.Contains(out, fmt.Sprintf("%d workload", number+1)) {
			t.Errorf("the backup is %s", out)
		}
	}
	if out := skerry(t, r, nil, "backup", "list"); strings.Count(out, ".skerry-backup") != 2 || !strings.Contains(out, filepath.Base(last)) {
		t.Errorf("two should be kept, %s the newest:\n%s", last, out)
	}
	for _, h := range r.Hosts[:3] {
		if err := h.PowerOff(); err != nil {
			t.Fatal(err)
		}
	}
	fresh := freshHost(t, r)
	if out, err := fresh.Skerry(t.Context(), "site", "restore", last, "--key", key, "--yes", "--config", fresh.Config()); err != nil {
		t.Fatal(out, err)
	}
	if err := fresh.StartAgent(); err != nil {
		t.Fatal(err)
	}
	await(t, r, "what the backup knew", patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "get", "workloads", "--address", fresh.API())
		if err == nil && strings.Count(out, "known-") != 3 {
			err = fmt.Errorf("there is\n%s", out)
		}
		return err
	})
}

// clocks of the agents of some hosts. Site time that an operator sets takes the
// last backup along, that of the voters' clocks does not.
func clocks(t *testing.T, r *Rig) map[*Host]*Clock {
	t.Helper()
	all := map[*Host]*Clock{}
	for _, h := range r.Hosts {
		clock, err := h.AgentClock()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = clock.Close() }) // its process may have ended
		all[h] = clock
	}
	return all
}

// awaitBackup waits for a newer backup in the folder, two at most, and returns its
// name.
func awaitBackup(t *testing.T, r *Rig, folder, before string) (newest string) {
	t.Helper()
	await(t, r, "a backup after "+before, patience, func(context.Context) error {
		// Their names hold the time, so that they sort by it.
		all, err := filepath.Glob(filepath.Join(folder, "*.skerry-backup"))
		if err != nil {
			return err
		}
		if len(all) == 0 || len(all) > 2 || all[len(all)-1] <= before {
			return fmt.Errorf("there are %v", all)
		}
		newest = all[len(all)-1]
		return nil
	})
	return newest
}
