package scheduler

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func ranks(priority uint32) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) { w.Priority = priority }
}

func needs(least string) func(*skerryv1.Workload) {
	return func(w *skerryv1.Workload) { w.MinAvailable = least }
}

func runsWell(p *skerryv1.Placement) *skerryv1.Placement {
	p.Desired = skerryv1.DesiredState_DESIRED_STATE_RUN
	p.Status = &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING}
	return p
}

// TestWhatIsMoreImportantTakesTheRoom: nodes have two cores, and all is full.
func TestWhatIsMoreImportantTakesTheRoom(t *testing.T) {
	full := func(nodes ...string) Input {
		in := siteOf()
		for _, n := range nodes {
			in.Nodes = append(in.Nodes, machine(n, "a"))
		}
		in.Images = siteOf(in.Nodes...).Images
		return in
	}
	big := asksFor("2", "64Mi")
	half := asksFor("1", "64Mi")
	main := template("main", 1, big, ranks(100))
	for _, test := range []struct {
		name string
		in   Input
		want string
	}{
		{"the lower priority goes", pending(with(full("n1"), template("low", 1, big), placement(template("low", 1, big), 1, "n1")), main, 1),
			"low-1 gives way; main-1: it waits for n1 until low-1 is gone, which makes room for it"},
		{"the same priority stays", pending(with(full("n1"), template("low", 1), placement(template("low", 1, big, ranks(100)), 1, "n1")), main, 1),
			"main-1: no node fits: 1 node without 2000m CPU free"},
		{"a higher priority stays", pending(with(full("n1"), template("low", 1), placement(template("low", 1, big, ranks(101)), 1, "n1")), main, 1),
			"main-1: no node fits: 1 node without 2000m CPU free"},
		{"what stays on its node stays", pending(with(full("n1"), template("low", 1), placement(template("low", 1, big, stays), 1, "n1")), main, 1),
			"main-1: no node fits: 1 node without 2000m CPU free"},
		{"without a priority nothing goes", pending(with(full("n1"), template("low", 1), placement(template("low", 1, big), 1, "n1")), template("main", 1, big), 1),
			"main-1: no node fits: 1 node without 2000m CPU free"},
		{"the lowest of them goes", pending(with(full("n1", "n2"), template("low", 1), placement(template("low", 1, big, ranks(2)), 1, "n1"), placement(template("low", 1, big, ranks(1)), 2, "n2")), main, 1),
			"low-2 gives way; main-1: it waits for n2 until low-2 is gone, which makes room for it"},
		{"one rather than two", pending(with(full("n1", "n2"), template("low", 1), placement(template("low", 1, half), 1, "n1"), placement(template("low", 1, half), 2, "n1"), placement(template("low", 1, big), 3, "n2")), main, 1),
			"low-3 gives way; main-1: it waits for n2 until low-3 is gone, which makes room for it"},
		{"no more than needed", pending(with(full("n1"), template("low", 1), placement(template("low", 1, half), 1, "n1"), placement(template("low", 1, half), 2, "n1")), template("main", 1, half, ranks(1)), 1),
			"low-2 gives way; main-1: it waits for n1 until low-2 is gone, which makes room for it"},
		{"what stops already is waited for", pending(with(full("n1", "n2"), template("low", 1), placement(template("low", 1, big), 1, "n1"), stopping(placement(template("low", 1, big), 2, "n2"))), main, 1),
			"main-1: it waits for n2 until low-2 is gone, which makes room for it"},
		{"each takes the room of another", pending(with(full("n1", "n2"), template("low", 1), placement(template("low", 1, big), 1, "n1"), placement(template("low", 1, big), 2, "n2")), template("main", 2, big, ranks(100)), 3),
			"low-1 gives way; low-2 gives way; main-1: it waits for n1 until low-1 is gone, which makes room for it; " +
				"main-2: it waits for n2 until low-2 is gone, which makes room for it; main-3: no node fits: 2 nodes without 2000m CPU free"},
		{"what its workload cannot spare stays", pending(with(full("n1", "n2"), template("low", 2, half, needs("1")),
			runsWell(placement(template("low", 2, half), 1, "n1")), runsWell(placement(template("low", 2, half), 2, "n1")), runsWell(placement(template("other", 1, big, ranks(99)), 3, "n2"))), main, 1),
			"other-3 gives way; main-1: it waits for n2 until other-3 is gone, which makes room for it"},
		{"no more than its workload can spare in all", pending(with(full("n1", "n2"), template("low", 2, big, needs("50%")),
			runsWell(placement(template("low", 2, big), 1, "n1")), runsWell(placement(template("low", 2, big), 2, "n2"))), template("main", 2, big, ranks(100)), 2),
			"low-1 gives way; main-1: it waits for n1 until low-1 is gone, which makes room for it; main-2: no node fits: 2 nodes without 2000m CPU free"},
		{"where it may not run nothing goes", pending(with(full("n1"), template("low", 1), placement(template("low", 1, big), 1, "n1")), template("main", 1, big, ranks(100), requires("zone", "b")), 1),
			"main-1: no node fits: 1 node without the required labels"},
		{"where it never fits nothing goes", pending(with(full("n1"), template("low", 1), placement(template("low", 1, big), 1, "n1")), template("main", 1, asksFor("3", "4Mi"), ranks(100)), 1),
			"main-1: no node fits: 1 node without 3000m CPU free"},
		{"a port is room, too", pending(with(full("n1"), template("low", 1), placement(template("low", 1, publishes(80)), 1, "n1")), template("main", 1, publishes(80), ranks(100)), 1),
			"low-1 gives way; main-1: it waits for n1 until low-1 is gone, which makes room for it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan := Schedule(test.in)
			var said []string
			for _, e := range plan.Evict {
				said = append(said, e.GetPlacement()+" gives way")
			}
			for _, p := range plan.Postpone {
				said = append(said, p.GetPlacement()+": "+p.GetDecision().GetSummary())
			}
			if got := strings.Join(said, "; "); got != test.want || len(plan.Assign) > 0 {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestEvictionsMakeEnoughRoom: whatever gives way has a lower priority, and what
// it gives way to fits when it is gone.
func TestEvictionsMakeEnoughRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := siteOf(machine("n1", "a"), machine("n2", "b"), machine("n3", "b", hasCPU(500)))
		there := map[string]*skerryv1.Placement{}
		for i := range rapid.IntRange(0, 12).Draw(t, "there") {
			w := template("old", 20, asksFor(fmt.Sprintf("%dm", rapid.IntRange(100, 900).Draw(t, "cpu")), "4Mi"), ranks(rapid.Uint32Range(0, 3).Draw(t, "old priority")))
			p := placement(w, i+1, rapid.SampledFrom([]string{"n1", "n2", "n3"}).Draw(t, "node"))
			in = with(in, w, p)
			there[p.GetName()] = p
		}
		for i := range rapid.IntRange(1, 4).Draw(t, "new") {
			w := template(fmt.Sprintf("new%d", i), 2, asksFor(fmt.Sprintf("%dm", rapid.IntRange(100, 2000).Draw(t, "new cpu")), "4Mi"), ranks(rapid.Uint32Range(0, 4).Draw(t, "priority")))
			in = pending(in, w, 2)
		}
		specs := map[string]*skerryv1.Workload{}
		for _, p := range in.Placements {
			specs[p.GetName()] = p.GetSpec()
		}
		plan := Schedule(in)
		for _, e := range plan.Evict {
			victim := there[e.GetPlacement()]
			if !state.GivesWay(victim, specs[e.GetForPlacement()], state.Unlimited) {
				t.Fatalf("%s ends for %s", e.GetPlacement(), e.GetForPlacement())
			}
			delete(there, e.GetPlacement())
		}
		var left []*skerryv1.Placement
		for _, p := range in.Placements {
			if p.GetNode() == "" || there[p.GetName()] != nil {
				left = append(left, p)
			}
			for _, a := range plan.Assign {
				if a.GetPlacement() == p.GetName() {
					p.Node = a.GetNode()
				}
			}
			for _, postponed := range plan.Postpone {
				if postponed.GetPlacement() == p.GetName() {
					p.Decision = postponed.GetDecision()
				}
			}
		}
		in.Placements = left
		after := map[string]bool{}
		for _, a := range Schedule(in).Assign {
			after[a.GetPlacement()] = true
		}
		for _, e := range plan.Evict {
			if !after[e.GetForPlacement()] {
				t.Fatalf("%s gave way, and %s still has no node", e.GetPlacement(), e.GetForPlacement())
			}
		}
	})
}

func TestTheSmallestChangeThatWouldHelp(t *testing.T) {
	web := template("web", 9, asksFor("900m", "64Mi"))
	for _, test := range []struct {
		name string
		in   Input
		want string
	}{
		{"a little more of one thing", pending(with(siteOf(machine("n1", "a"), machine("n2", "a")), web, placement(web, 1, "n1"), placement(web, 2, "n1"), placement(web, 3, "n2"), placement(template("old", 1), 4, "n2")), web, 1),
			"needs 300m CPU more on n2, or one more node like n1"},
		{"of several things", pending(siteOf(machine("n1", "a")), template("web", 1, asksFor("3", "1025Mi")), 1),
			"needs 1000m CPU and 1 MiB memory more on n1"},
		{"of disk and devices", pending(siteOf(machine("n1", "a", func(n *skerryv1.Node) { n.Capacity.Devices = map[string]uint32{"gpu": 1} })),
			template("web", 1, func(w *skerryv1.Workload) {
				w.Container.Resources.Disk, w.Container.Resources.Devices = "1Mi", map[string]uint32{"gpu": 2}
			}), 1), "needs 1 MiB disk and 1 of device gpu more on n1"},
		{"a port", pending(with(siteOf(machine("n1", "a")), web, placement(template("old", 1, publishes(80)), 1, "n1")), template("web", 1, publishes(80)), 1),
			"needs port 80/tcp, which old-1 has, more on n1, or one more node like n1"},
		{"nodes that it may have are lost", pending(siteOf(machine("n1", "a", isLost)), template("web", 1), 1),
			"needs a node that is ready and has 500m CPU and 64 MiB memory"},
		{"labels that no node has", pending(siteOf(machine("n1", "a")), template("web", 1, requires("disk", "ssd")), 1),
			"needs a node that is ready, meets its conditions and has 500m CPU and 64 MiB memory"},
	} {
		t.Run(test.name, func(t *testing.T) {
			postponed := Schedule(test.in).Postpone
			if len(postponed) != 1 || postponed[0].GetDecision().GetRemedy() != test.want {
				t.Errorf("got  %v\nwant %s", postponed, test.want)
			}
		})
	}
}
