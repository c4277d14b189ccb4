package scheduler

import (
	"strings"
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// TestWhyNoNodeFits names the reason against one node, and in the summary.
func TestWhyNoNodeFits(t *testing.T) {
	small := asksFor("100m", "4Mi")
	taken := template("old", 1, asksFor("1700m", "1000Mi"), publishes(8080))
	for _, test := range []struct {
		name    string
		node    *skerryv1.Node
		w       *skerryv1.Workload
		summary string
		reasons string
	}{
		{"it is cordoned", machine("n1", "a", func(n *skerryv1.Node) { n.Duty = &skerryv1.NodeDuty{Duty: skerryv1.Duty_DUTY_CORDONED} }), template("web", 1),
			"no node fits: 1 node out of service", "it is cordoned; 500m CPU asked for, 300m of 2000m free; 64 MiB memory asked for, 24 MiB of 1 GiB free"},
		{"it is lost", machine("n1", "a", isLost), template("web", 1),
			"no node fits: 1 node lost", "it is lost"},
		{"its containerd is down", machine("n1", "a", hasCondition("ContainerdDown")), template("web", 1, small),
			"no node fits: 1 node in need of attention", "it has the condition ContainerdDown"},
		{"its disk is full", machine("n1", "a", hasCondition("DiskFull")), template("web", 1, small),
			"no node fits: 1 node in need of attention", "it has the condition DiskFull"},
		{"a label is missing", machine("n1", "a"), template("web", 1, small, requires("disk", "ssd", "nvme")),
			"no node fits: 1 node without the required labels", "it has no label disk, ssd or nvme is required"},
		{"a label is another", machine("n1", "a", hasLabel("disk", "hdd")), template("web", 1, small, requires("disk", "ssd")),
			"no node fits: 1 node without the required labels", "label disk is hdd, not ssd"},
		{"the zone is another", machine("n1", "a"), template("web", 1, small, requires("zone", "b")),
			"no node fits: 1 node without the required labels", "label zone is a, not b"},
		{"the name is another", machine("n1", "a"), template("web", 1, small, requires("name", "n2")),
			"no node fits: 1 node without the required labels", "label name is n1, not n2"},
		{"the port is taken", machine("n1", "a"), template("web", 1, publishes(8080), asksFor("100m", "4Mi")),
			"no node fits: 1 node with port 8080/tcp taken", "port 8080/tcp is taken by old-1"},
		{"the port is that of its agent", machine("n1", "a", listens("10.0.0.1:7600", "10.0.0.1:7601")), template("web", 1, publishes(7601), asksFor("100m", "4Mi")),
			"no node fits: 1 node with port 7601/tcp taken", "port 7601/tcp is taken by skerry itself"},
		{"there is too little CPU", machine("n1", "a"), template("web", 1, asksFor("301m", "4Mi")),
			"no node fits: 1 node without 301m CPU free", "301m CPU asked for, 300m of 2000m free"},
		{"there is too little memory", machine("n1", "a"), template("web", 1, asksFor("100m", "25Mi")),
			"no node fits: 1 node without 25 MiB memory free", "25 MiB memory asked for, 24 MiB of 1 GiB free"},
		{"there is too little of all", machine("n1", "a"), template("web", 1, requires("disk", "ssd"), publishes(8080), asksFor("1", "1Gi")),
			"no node fits: 1 node without the required labels",
			"it has no label disk, ssd is required; port 8080/tcp is taken by old-1; " +
				"1000m CPU asked for, 300m of 2000m free; 1 GiB memory asked for, 24 MiB of 1 GiB free"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := pending(with(siteOf(test.node), taken, placement(taken, 1, "n1")), test.w, 1)
			postponed := Schedule(in).Postpone
			if len(postponed) != 1 {
				t.Fatalf("%d postponements", len(postponed))
			}
			decision := postponed[0].GetDecision()
			if got := strings.Join(decision.GetVerdicts()[0].GetRuledOut(), "; "); got != test.reasons {
				t.Errorf("n1 is ruled out because %q, want %q", got, test.reasons)
			}
			if decision.GetSummary() != test.summary || decision.GetIndex() != in.Index {
				t.Errorf("at index %d it says %q, want %q at %d", decision.GetIndex(), decision.GetSummary(), test.summary, in.Index)
			}
		})
	}
}

func TestWhyNothingCanBegin(t *testing.T) {
	web := template("web", 1)
	for _, test := range []struct {
		name string
		in   Input
		want string
	}{
		{"the site has no nodes", pending(siteOf(), web, 1), "web-1: no node fits: the site has no nodes"},
		{"the image is not loaded", pending(siteOf(machine("n1", "a")), template("web", 1, runs("other:2")), 1),
			"web-1: image other:2 is not loaded: skerry image load FILE"},
		{"the quantities make no sense", pending(siteOf(machine("n1", "a")), template("web", 1, asksFor("much", "1Mi")), 1),
			"web-1: what it asks for makes no sense: "},
		{"the workload was deleted", Input{Nodes: siteOf(machine("n1", "a")).Nodes, Images: siteOf(machine("n1", "a")).Images,
			Placements: []*skerryv1.Placement{placement(web, 1, "")}},
			"web-1: its predecessor may still run on its node"},
		{"each kind of reason is counted", pending(siteOf(
			machine("n1", "a", isLost), machine("n2", "a", isLost), machine("n3", "a", hasCPU(100)), machine("n4", "b", hasCondition("DiskFull"))), web, 1),
			"web-1: no node fits: 2 nodes lost, 1 node in need of attention, 1 node without 500m CPU free"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := say(test.in); !strings.HasPrefix(got, test.want) {
				t.Errorf("it says %q, want %q", got, test.want)
			}
		})
	}
}

func TestTheImageMustBeInReach(t *testing.T) {
	in := pending(siteOf(machine("n1", "a"), machine("n2", "b", isLost)), template("web", 1), 1)
	in.Images[0].Nodes = []string{"n2"}
	if got, want := say(in), "web-1: no node fits: 1 node lost, 1 node cannot fetch image web:1 from anywhere"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	in.Nodes[1].State = skerryv1.NodeState_NODE_STATE_READY
	in.Nodes[1].Capacity.CpuMilli = 0
	if got, want := say(in), "web-1:n1"; got != want {
		t.Errorf("it says %q, want %q: n1 can fetch the image", got, want)
	}
}

func TestNothingIsSaidTwice(t *testing.T) {
	in := pending(siteOf(machine("n1", "a", hasCPU(100))), template("web", 2), 2)
	postponed := Schedule(in).Postpone
	if len(postponed) != 2 {
		t.Fatalf("%d postponements, want 2", len(postponed))
	}
	for i, p := range postponed {
		in.Placements[i].Decision = p.GetDecision()
	}
	in.Index++
	if got := say(in); got != "" {
		t.Errorf("it says %q once more", got)
	}
}

func TestWhatFindsNoNodeDoesNotStandInTheWay(t *testing.T) {
	big := template("big", 3*MaxDecisions, asksFor("1000", "1Gi"))
	in := pending(siteOf(machine("n1", "a")), big, 3*MaxDecisions)
	for range 3 {
		postponed := Schedule(in).Postpone
		if len(postponed) != MaxDecisions {
			t.Fatalf("%d postponements at once, want %d", len(postponed), MaxDecisions)
		}
		said := map[string]*skerryv1.Decision{}
		for _, p := range postponed {
			said[p.GetPlacement()] = p.GetDecision()
		}
		for _, p := range in.Placements {
			if d := said[p.GetName()]; d != nil {
				p.Decision = d
			}
		}
	}
	late := template("late", 1)
	in = with(in, late, placement(late, 5000, ""))
	if got := say(in); got != "late-5000:n1" {
		t.Errorf("it says %q, want the late one on n1", got)
	}
}
