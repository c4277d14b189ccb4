package scheduler

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func mayMove(*skerryv1.Placement) string { return "" }

func TestWhatWouldBeElsewhere(t *testing.T) {
	apart := func(w *skerryv1.Workload) { w.Place = &skerryv1.Place{Apart: []*skerryv1.Affinity{{Workload: "db"}}} }
	withDB := func(w *skerryv1.Workload) { w.Place = &skerryv1.Place{With: []*skerryv1.Affinity{{Workload: "db"}}} }
	prefersSSD := func(w *skerryv1.Workload) {
		w.Place = &skerryv1.Place{Prefer: []*skerryv1.Preference{{Node: &skerryv1.Requirement{Label: "disk", In: []string{"ssd"}}, Weight: 20}}}
	}
	for _, test := range []struct {
		name  string
		nodes []*skerryv1.Node
		// on: workload and the nodes of its placements.
		on    []placed
		stays bool
		packs bool
		want  string
	}{
		{"what is spread stays", []*skerryv1.Node{machine("n1", "a"), machine("n2", "b")},
			[]placed{{template("web", 2), "n1 n2"}}, false, false, ""},
		{"one more in a zone cannot be helped", []*skerryv1.Node{machine("n1", "a"), machine("n2", "b")},
			[]placed{{template("web", 3), "n1 n1 n2"}}, false, false, ""},
		{"a zone that came back gets its share", []*skerryv1.Node{machine("n1", "a"), machine("n2", "b"), machine("n3", "c")},
			[]placed{{template("web", 3), "n1 n1 n2"}}, false, false, "web-1 to n3: spread over zone: 2 of 3 are in a, 0 in c"},
		{"nodes of one zone share, too", []*skerryv1.Node{machine("n1", "a"), machine("n2", "a")},
			[]placed{{template("web", 2), "n1 n1"}}, false, false, "web-1 to n2: 2 of them are on n1, 0 on n2"},
		{"a label that changed", []*skerryv1.Node{machine("n1", "a", hasLabel("disk", "hdd")), machine("n2", "a", hasLabel("disk", "ssd"))},
			[]placed{{template("web", 1, requires("disk", "ssd")), "n1"}}, false, false, "web-1 to n2: label disk is hdd, not ssd"},
		{"a label that changed, and nowhere to go", []*skerryv1.Node{machine("n1", "a", hasLabel("disk", "hdd"))},
			[]placed{{template("web", 1, requires("disk", "ssd")), "n1"}}, false, false, "held web-1: label disk is hdd, not ssd; no other node fits"},
		{"what may not move is told", []*skerryv1.Node{machine("n1", "a", hasLabel("disk", "hdd")), machine("n2", "a", hasLabel("disk", "ssd"))},
			[]placed{{template("web", 1, requires("disk", "ssd")), "n1"}}, true, false, "held web-1: label disk is hdd, not ssd; it stays"},
		{"what must be apart", []*skerryv1.Node{machine("n1", "a"), machine("n2", "a")},
			[]placed{{template("web", 1, apart), "n1"}, {template("db", 1), "n1"}}, false, false, "db-1 to n2: web is on it, from which it is kept apart"},
		{"a wish that another node meets", []*skerryv1.Node{machine("n1", "a"), machine("n2", "a", hasLabel("disk", "ssd"))},
			[]placed{{template("web", 1, prefersSSD), "n1"}}, false, false, "web-1 to n2: n2 meets more of its wishes: +20 instead of +0"},
		{"a node that is much fuller", []*skerryv1.Node{machine("n1", "a"), machine("n2", "a")},
			[]placed{{template("web", 1), "n1"}, {template("db", 1), "n1"}, {template("mail", 1), "n1"}}, false, false,
			"db-1 to n2: n1 is 75.0 % taken, n2 would be 25.0 % taken with it"},
		{"nodes that are a little fuller", []*skerryv1.Node{machine("n1", "a"), machine("n2", "a")},
			[]placed{{template("web", 1), "n1"}, {template("db", 1), "n1"}, {template("mail", 1), "n2"}}, false, false, ""},
		{"a site that packs", []*skerryv1.Node{machine("n1", "n1"), machine("n2", "n2")},
			[]placed{{template("web", 1), "n1"}, {template("db", 2), "n2 n2"}}, false, true,
			"web-1 to n2: the site packs: n1 is 25.0 % taken, n2 would be 75.0 % taken with it"},
		{"no room elsewhere", []*skerryv1.Node{machine("n1", "a"), machine("n2", "b", hasCPU(100))},
			[]placed{{template("web", 2), "n1 n1"}}, false, false, ""},
		{"what others must be with does not leave them", []*skerryv1.Node{machine("n1", "a"), machine("n2", "b")},
			[]placed{{template("db", 1, prefersSSD), "n1"}, {template("web", 1, withDB), "n1"}, {template("mail", 2), "n1 n1"}}, false, false,
			"mail-1 to n2: spread over zone: 2 of 2 are in a, 0 in b"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := siteOf(test.nodes...)
			in.Policy = state.DefaultPolicy()
			in.Policy.Pack = test.packs
			for _, on := range test.on {
				in = with(in, on.w)
				for i, node := range strings.Fields(on.nodes) {
					in.Placements = append(in.Placements, placement(on.w, i+1, node))
				}
			}
			moves, held := Drift(in, func(*skerryv1.Placement) string {
				if test.stays {
					return "it stays"
				}
				return ""
			})
			var got []string
			for _, m := range moves {
				got = append(got, fmt.Sprintf("%s to %s: %s", m.Placement.GetName(), m.To, m.Why))
			}
			for _, m := range held {
				got = append(got, fmt.Sprintf("held %s: %s", m.Placement.GetName(), m.Why))
			}
			if strings.Join(got, "; ") != test.want {
				t.Errorf("got  %s\nwant %s", strings.Join(got, "; "), test.want)
			}
		})
	}
}

type placed struct {
	w     *skerryv1.Workload
	nodes string
}

// TestWhatHasMovedMovesNoMore throws placements about, moves what would be
// elsewhere, and looks again.
func TestWhatHasMovedMovesNoMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawSite(t)
		for _, p := range in.Placements {
			n := rapid.SampledFrom(in.Nodes).Draw(t, "node")
			if fitsOn(in, n, p) {
				p.Node = n.GetName()
			}
		}
		moves, _ := Drift(in, mayMove)
		for _, m := range moves {
			if m.To == m.Placement.GetNode() || m.Why == "" {
				t.Fatalf("%s moves from %s to %s: %q", m.Placement.GetName(), m.Placement.GetNode(), m.To, m.Why)
			}
			m.Placement.Node = m.To
		}
		for _, n := range in.Nodes {
			if over := overfull(in, n); over {
				t.Fatalf("%s holds more than it can", n.GetName())
			}
		}
		if again, _ := Drift(in, mayMove); len(again) > 0 {
			m := again[0]
			t.Fatalf("%d more, such as %s from %s to %s: %s", len(again), m.Placement.GetName(), m.Placement.GetNode(), m.To, m.Why)
		}
	})
}

func on(in Input, n *skerryv1.Node) []*skerryv1.Placement {
	var here []*skerryv1.Placement
	for _, p := range in.Placements {
		if p.GetNode() == n.GetName() {
			here = append(here, p)
		}
	}
	return here
}

func fitsOn(in Input, n *skerryv1.Node, p *skerryv1.Placement) bool {
	needs, err := state.NeedsOf(p.GetSpec())
	return err == nil && state.UsageOf(on(in, n)).Fits(in.Policy.Room(n.GetCapacity()), needs)
}

// overfull: one of those that are there would not fit beside the others.
func overfull(in Input, n *skerryv1.Node) bool {
	here := on(in, n)
	usage := &state.Usage{Ports: map[string]string{}}
	for _, p := range here {
		needs, err := state.NeedsOf(p.GetSpec())
		if err != nil || !usage.Fits(in.Policy.Room(n.GetCapacity()), needs) {
			return true
		}
		usage.Add(p.GetName(), needs)
	}
	return false
}
