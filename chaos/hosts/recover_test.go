//go:build integration

package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// TestASiteIsRestoredOnFreshHardwareAndNothingRestarts: all voters are gone for
// good, and not before is it restored; on a node that does not vote the containers run
// on, also those that the backup does not know.
func TestASiteIsRestoredOnFreshHardwareAndNothingRestarts(t *testing.T) {
	r := newSite(t, 3, 0)
	plain, err := r.Add(t.Context(), "--may-vote=false")
	if err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	loadImage(t, r, "web.tar", webImage)
	key, file := filepath.Join(r.Dir, "safe.key"), filepath.Join(r.Dir, "harbour.skerry-backup")
	if out := refused(t, r, nil, "backup", "create", "--to", file); !strings.Contains(out, "no recovery key") {
		t.Errorf("without a recovery key it said %q", out)
	}
	skerry(t, r, nil, "secret", "recovery-key", "create", "safe", "--out", key)
	apply(t, r, onNode("known", plain.Name, "partition: {mode: stay}\n")+"---"+onNode("gone", r.Hosts[1].Name, "partition: {mode: stay}\n"))
	awaitHealthy(t, r, "known", 1)
	awaitHealthy(t, r, "gone", 1)
	skerry(t, r, nil, "backup", "create", "--to", file)
	if out := skerry(t, r, nil, "backup", "verify", file, "--key", key); !strings.Contains(out, "is whole") || !strings.Contains(out, "4 nodes, 2 workloads") {
		t.Errorf("the backup is %s", out)
	}
	apply(t, r, onNode("late", plain.Name, ""))
	awaitHealthy(t, r, "late", 1)
	before := containerPIDs(t, plain)
	if len(before) != 2 {
		t.Fatalf("%s runs %v", plain.Name, before)
	}
	fresh := freshHost(t, r)
	restore := []string{"site", "restore", file, "--key", key, "--yes", "--config", fresh.Config()}
	if out, err := fresh.Skerry(t.Context(), restore...); err == nil || !strings.Contains(fmt.Sprint(out, err), "reaches a coordinator") {
		t.Errorf("while the site lives it said %s %v", out, err)
	}
	if err := r.Cut(t.Context(), []*Host{fresh}, r.Hosts[:3]); err != nil {
		t.Fatal(err)
	}
	if out, err := fresh.Skerry(t.Context(), restore...); err == nil || !strings.Contains(fmt.Sprint(out, err), plain.Name) {
		t.Errorf("while a node reaches the voters, which it does not, it said %s %v", out, err)
	}
	if err := r.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, h := range r.Hosts[:2] {
		if err := h.PowerOff(); err != nil {
			t.Fatal(err)
		}
	}
	await(t, r, "the newer log of node-3", patience, func(ctx context.Context) error {
		out, err := fresh.Skerry(ctx, restore...)
		if err == nil {
			t.Fatalf("while a voter is left it said %s", out)
		}
		if said := fmt.Sprint(out, err); !strings.Contains(said, "node-3") || !strings.Contains(said, "has a newer log") {
			return errors.New(said)
		}
		return nil
	})
	if _, err := os.Stat(filepath.Join(fresh.StateDir(), "identity")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of what was refused something is on the disk: %v", err)
	}
	if err := r.Hosts[2].PowerOff(); err != nil {
		t.Fatal(err)
	}
	if out, err := plain.Skerry(t.Context(), "site", "restore", file, "--key", key, "--yes", "--config", plain.Config()); err == nil || !strings.Contains(err.Error()+out, "belongs to a site") {
		t.Errorf("a node of the site took a backup: %s %v", out, err)
	}
	out, err := fresh.Skerry(t.Context(), restore...)
	if err != nil || !strings.Contains(out, "Not reached: node-1 (voter, ") || strings.Contains(out, plain.Name) {
		t.Fatal(out, err)
	}
	if err := fresh.StartAgent(); err != nil {
		t.Fatal(err)
	}
	report := awaitReport(t, r, fresh, "adopted  Placement/default/late-1")
	if !strings.Contains(report, "node-1,node-2,node-3") || !strings.Contains(report, "(restore)") {
		t.Errorf("the report is\n%s", report)
	}
	await(t, r, "known and late on "+plain.Name, patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "get", "placements", "--address", fresh.API())
		if err != nil {
			return err
		}
		for _, name := range []string{"known-1", "late-1"} {
			if !strings.Contains(out, name+" ") {
				return fmt.Errorf("%s is missing in\n%s", name, out)
			}
		}
		return nil
	})
	if why := skerry(t, r, nil, "status", "--address", fresh.API()); !strings.Contains(why, "gone-1 stays on node-2") {
		t.Errorf("the status does not say that gone-1 waits for node-2:\n%s", why)
	}
	if after := containerPIDs(t, plain); !slices.Equal(before, after) {
		t.Errorf("%s ran %v, now %v", plain.Name, before, after)
	}
	if out := skerry(t, r, nil, "audit", "list", "--verb", "restore", "--address", fresh.API()); !strings.Contains(out, "Node/"+fresh.Name) {
		t.Errorf("the audit log does not tell of it: %s", out)
	}

	// A former voter comes back after all: it proves itself by its key, and ends its
	// replica.
	back := r.Hosts[1]
	if err := errors.Join(back.Boot(t.Context()), back.StartAgent()); err != nil {
		t.Fatal(err)
	}
	awaitReport(t, r, fresh, "node-1,node-3")
	third := r.Hosts[0]
	if err := errors.Join(third.Boot(t.Context()), third.StartAgent()); err != nil {
		t.Fatal(err)
	}
	await(t, r, back.Name+" as a voter again", patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "get", "node", back.Name, "-o", "json", "--address", fresh.API())
		if err == nil && !strings.Contains(out, "VOTER_ROLE_VOTER") {
			err = fmt.Errorf("it is %s", out)
		}
		return err
	})
	await(t, r, "its audit log", patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "audit", "list", "--verb", "restore", "--address", back.API())
		if err == nil && !strings.Contains(out, "Node/"+fresh.Name) {
			err = fmt.Errorf("it is\n%s", out)
		}
		return err
	})
	await(t, r, "gone-1 on "+back.Name, patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "get", "placements", "--address", fresh.API())
		if err == nil && !strings.Contains(out, "gone-1 ") {
			err = fmt.Errorf("it is missing in\n%s", out)
		}
		return err
	})
	if after := containerPIDs(t, plain); !slices.Equal(before, after) {
		t.Errorf("%s ran %v, now %v", plain.Name, before, after)
	}
}

// TestARestoredSiteWhoseTimeIsSetIsStillFoundByItsNodes: its first machine would renew
// its SVID then, and has a CA of its own that no node knows before it was heard.
func TestARestoredSiteWhoseTimeIsSetIsStillFoundByItsNodes(t *testing.T) {
	r := newSite(t, 2, 0)
	key, file := filepath.Join(r.Dir, "safe.key"), filepath.Join(r.Dir, "harbour.skerry-backup")
	skerry(t, r, nil, "secret", "recovery-key", "create", "safe", "--out", key)
	skerry(t, r, nil, "backup", "create", "--to", file)
	voter, left := r.Hosts[0], r.Hosts[1]
	if err := voter.PowerOff(); err != nil {
		t.Fatal(err)
	}
	fresh := freshHost(t, r)
	await(t, r, "a site that nobody hears of", patience, func(ctx context.Context) error {
		_, err := fresh.Skerry(ctx, "site", "restore", file, "--key", key, "--yes", "--config", fresh.Config())
		return err
	})
	if err := errors.Join(r.Cut(t.Context(), []*Host{fresh}, []*Host{left}), fresh.StartAgent()); err != nil {
		t.Fatal(err)
	}
	awaitReport(t, r, fresh, "node-1,node-2\n")
	const day = 24 * time.Hour
	await(t, r, "a site that takes its time", patience, func(ctx context.Context) error {
		_, err := r.Skerry(ctx, nil, "site", "time", "set", time.Now().Add(60*day).UTC().Format(time.RFC3339), "--address", fresh.API())
		return err
	})
	if err := errors.Join(fresh.StopAgent(), fresh.StartAgent()); err != nil { // it looks at once whether a renewal is due
		t.Fatal(err)
	}
	awaitSVID(t, r, fresh, func(left time.Duration) bool { return left > 100*day })
	if err := r.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitReport(t, r, fresh, "node-1\n")
	skerry(t, r, nil, "node", "evict", voter.Name, "--off", "--yes", "--address", fresh.API()) // nobody is awaited any more
	awaitSVID(t, r, fresh, func(left time.Duration) bool { return left < 365*day })
}

// awaitSVID waits until the SVID of a node counts for as long as is wanted.
func awaitSVID(t *testing.T, r *Rig, h *Host, wanted func(left time.Duration) bool) {
	t.Helper()
	await(t, r, "another SVID", patience, func(ctx context.Context) error {
		service, err := r.Direct(h)
		if err != nil {
			return err
		}
		got, err := service.Get(ctx, connect.NewRequest(&skerryv1.GetRequest{Kind: "Node", Name: h.Name}))
		if err != nil {
			return err
		}
		if until := got.Msg.GetResource().GetNode().GetSvidExpires().AsTime(); !wanted(time.Until(until)) {
			return fmt.Errorf("it counts until %s", until)
		}
		return nil
	})
}

// TestABackupOfTheFirstVersionThatMadeThemIsRestored: its file is never made anew,
// so that what this version changes in the state does not lose a site that has only
// an old backup. It is of `skerry dev` at 301edf2, of 2026-11-21.
func TestABackupOfTheFirstVersionThatMadeThemIsRestored(t *testing.T) {
	r := newRig(t)
	h := freshHost(t, r)
	file, key := fixture(t, "first.skerry-backup"), fixture(t, "first.key")
	restore := []string{"site", "restore", file, "--key", key, "--yes", "--config", h.Config()}
	if out, err := h.Skerry(t.Context(), restore...); err == nil || !strings.Contains(err.Error()+out, "--replace") {
		t.Errorf("in the name of a machine that may be there it gave %s %v", out, err)
	}
	if out, err := h.Skerry(t.Context(), append(restore, "--replace")...); err != nil {
		t.Fatal(out, err)
	}
	if err := h.StartAgent(); err != nil {
		t.Fatal(err)
	}
	await(t, r, "an operator made by root", patience, func(ctx context.Context) error {
		_, err := h.Skerry(ctx, "operator", "create", "--local", "rescue", "--config", h.Config())
		return err
	})
	for _, test := range []struct{ command, want string }{
		{"get workloads", "web gateway nightly old-box"},
		{"describe workload gateway --project lab", "stay 0"},
		{"describe workload nightly", "0 3 * * *"},
		{"get volumes", "data 1Gi"},
		{"get accesspolicies", "freeze"},
		{"describe settings site", "720h"},
		{"history web", "150m"},
		{"secret reveal db password", "s3cret"},
		{"operator list", "admin rescue"},
		{"site report", "restore"},
		{"audit list", "restore rotate"},
	} {
		got, err := r.Skerry(t.Context(), nil, append(strings.Fields(test.command), "--address", h.API())...)
		for want := range strings.FieldsSeq(test.want) {
			if !strings.Contains(got, want) {
				t.Errorf("%s says nothing of %s (%v):\n%s", test.command, want, err, got)
			}
		}
	}
	if out, err := r.Skerry(t.Context(), nil, "scale", "web", "--replicas", "2", "--address", h.API()); err != nil {
		t.Errorf("it takes no change: %s %v", out, err)
	}
}

// fixture is a file that hosts see.
func fixture(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// freshHost is on, and belongs to no site.
func freshHost(t *testing.T, r *Rig) *Host {
	t.Helper()
	number := len(r.Hosts) + 1
	h, err := r.AddHost(t.Context(), fmt.Sprintf("node-%d", number), fmt.Sprintf("zone-%d", number))
	if err == nil {
		err = h.Boot(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// awaitReport waits until the report of the site's recovery holds a text.
func awaitReport(t *testing.T, r *Rig, at *Host, want string) (report string) {
	t.Helper()
	await(t, r, "a report with "+want, patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "site", "report", "--address", at.API())
		if err == nil && !strings.Contains(out, want) {
			err = fmt.Errorf("it is\n%s", out)
		}
		report = out
		return err
	})
	return report
}

// TestASurvivorOfALostQuorumGoesOnAndNothingRestarts: two of three voters are lost
// for good.
func TestASurvivorOfALostQuorumGoesOnAndNothingRestarts(t *testing.T) {
	r := newSite(t, 3, 0)
	plain, err := r.Add(t.Context(), "--may-vote=false")
	if err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	left := r.Hosts[2]
	loadImage(t, r, "web.tar", webImage)
	recoverSite := func(args ...string) (string, error) {
		out, err := left.Skerry(t.Context(), append([]string{"site", "recover", "--config", left.Config()}, args...)...)
		return fmt.Sprint(out, err), err
	}
	if out, err := recoverSite("--yes"); err == nil || !strings.Contains(out, "the agent runs") {
		t.Errorf("under a running agent it said %s", out)
	}
	if err := left.StopAgent(); err != nil {
		t.Fatal(err)
	}
	if out, err := recoverSite("--yes"); err == nil || !strings.Contains(out, "nothing was changed") {
		t.Errorf("while the others have a quorum it said %s", out)
	}
	if err := r.Cut(t.Context(), []*Host{left}, r.Hosts[:2]); err != nil {
		t.Fatal(err)
	}
	if out, err := recoverSite("--yes"); err == nil || !strings.Contains(out, plain.Name+" (") || !strings.Contains(out, "reaches a coordinator") {
		t.Errorf("while it reaches nobody but a node without a replica, which has a coordinator, it said %s", out)
	}
	if err := r.Heal(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := left.StartAgent(); err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	apply(t, r, onNode("here", left.Name, "")+"---"+onNode("there", plain.Name, "")+"---"+onNode("db", r.Hosts[0].Name, "partition: {mode: stay}\n"))
	for _, name := range []string{"here", "there", "db"} {
		awaitHealthy(t, r, name, 1)
	}
	before := [][]string{containerPIDs(t, left), containerPIDs(t, plain)}
	for _, h := range r.Hosts[:2] {
		if err := h.PowerOff(); err != nil {
			t.Fatal(err)
		}
	}
	if err := left.StopAgent(); err != nil {
		t.Fatal(err)
	}
	await(t, r, "a question", patience, func(context.Context) error { // the plain node takes a while to miss its coordinator
		out, err := recoverSite()
		if err == nil {
			t.Fatalf("without an answer it said %s", out)
		}
		if !strings.Contains(out, "was not typed") {
			return errors.New(out)
		}
		return nil
	})
	out, err := recoverSite("--yes")
	if err != nil || !strings.Contains(out, "node-1 (voter") || !strings.Contains(out, "is lost") {
		t.Fatal(out)
	}
	if out, err := recoverSite("--yes"); err == nil || !strings.Contains(out, "has recovered the site already") || strings.Contains(out, "restore a backup") {
		t.Errorf("a second time it said %s", out)
	}
	if err := left.StartAgent(); err != nil {
		t.Fatal(err)
	}
	awaitReport(t, r, left, "node-1,node-2\n")
	await(t, r, "a change", patience, func(ctx context.Context) error {
		_, err := r.Skerry(ctx, strings.NewReader(onNode("more", plain.Name, "")), "apply", "-f", "-", "--address", left.API())
		return err
	})
	if after := [][]string{containerPIDs(t, left), containerPIDs(t, plain)}; !slices.Equal(before[0], after[0]) || !containsAll(after[1], before[1]) {
		t.Errorf("there ran %v, now %v", before, after)
	}
	if out := skerry(t, r, nil, "audit", "list", "--verb", "recover", "--address", left.API()); !strings.Contains(out, "Node/"+left.Name) {
		t.Errorf("the audit log does not tell of it: %s", out)
	}
	skerry(t, r, nil, "node", "confirm-off", "node-1", "--yes", "--address", left.API())
	back := r.Hosts[1]
	if err := errors.Join(back.Boot(t.Context()), back.StartAgent()); err != nil {
		t.Fatal(err)
	}
	await(t, r, "node-2 as a voter or learner of the new epoch", patience, func(ctx context.Context) error {
		out, err := r.Skerry(ctx, nil, "get", "node", "node-2", "-o", "json", "--address", left.API())
		if err == nil && (!strings.Contains(out, `"siteEpoch": "2"`) || !strings.Contains(out, "VOTER_ROLE_")) {
			err = fmt.Errorf("it is %s", out)
		}
		return err
	})
	if after := [][]string{containerPIDs(t, left), containerPIDs(t, plain)}; !slices.Equal(before[0], after[0]) || !containsAll(after[1], before[1]) {
		t.Errorf("there ran %v, now %v", before, after)
	}
}

// TestANodeThatLearnsDoesNotKeepASurvivorFromRecovering: nobody leads it any more, and it
// stays up. Nor does an audit log that is damaged.
func TestANodeThatLearnsDoesNotKeepASurvivorFromRecovering(t *testing.T) {
	r := newSite(t, 3, 0)
	learner, err := r.Add(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	settled(t, r)
	await(t, r, "a node that learns", patience, func(context.Context) error {
		_, err := os.Stat(filepath.Join(learner.StateDir(), "raft", "4"))
		return err
	})
	loadImage(t, r, "web.tar", webImage)
	apply(t, r, onNode("there", learner.Name, ""))
	awaitHealthy(t, r, "there", 1) // by now its replica has heard who leads
	left := r.Hosts[2]
	if err := errors.Join(r.Hosts[0].PowerOff(), r.Hosts[1].PowerOff(), left.StopAgent()); err != nil {
		t.Fatal(err)
	}
	manifests, err := filepath.Glob(filepath.Join(left.StateDir(), "audit", "MANIFEST-*"))
	if err != nil || len(manifests) == 0 {
		t.Fatalf("manifests of the audit log %q: %v", manifests, err)
	}
	for _, manifest := range manifests {
		if err := os.Remove(manifest); err != nil {
			t.Fatal(err)
		}
	}
	await(t, r, "a survivor that may recover", 10*time.Second, func(ctx context.Context) error {
		out, err := left.Skerry(ctx, "site", "recover", "--config", left.Config())
		if !strings.Contains(out, "Type the site's name") {
			return fmt.Errorf("%s %w", out, err)
		}
		before, _, _ := strings.Cut(out, "Type the site's name")
		if err == nil || !strings.Contains(before, "audit log on this disk is damaged") {
			t.Errorf("before it asks it says nothing of its damaged audit log: %v\n%s", err, out)
		}
		out, err = left.Skerry(ctx, "site", "recover", "--yes", "--config", left.Config())
		if err != nil {
			return fmt.Errorf("%s %w", out, err)
		}
		if !strings.Contains(out, "audit-damaged-1") {
			t.Errorf("where its damaged audit log is it does not say:\n%s", out)
		}
		return nil
	})
	if err := left.StartAgent(); err != nil {
		t.Fatal(err)
	}
	awaitReport(t, r, left, "node-1,node-2\n")
}

func containsAll(all, some []string) bool {
	for _, one := range some {
		if !slices.Contains(all, one) {
			return false
		}
	}
	return true
}
