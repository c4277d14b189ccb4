package state

import (
	"strings"
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func stopEntry(reason string) *sitev1.Entry {
	return &sitev1.Entry{Principal: "spiffe://reef/operator/mia", Change: &sitev1.Entry_StopSite{StopSite: &sitev1.StopSite{Reason: reason, Known: []string{"n1", "n2", "n3"}}}}
}

func startEntry(powerOn bool) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_StartSite{StartSite: &sitev1.StartSite{PowerOn: powerOn}}}
}

func TestMachinesThatWereOnBeforeTheStopDoNotStartTheSite(t *testing.T) {
	s := newSite(t, 1)
	// It was switched on again, and has not said so yet.
	s.says("n1", &sitev1.NodeFacts{Run: "first", Capacity: testNode(1).GetCapacity()})
	stop := stopEntry("the yard")
	stop.GetStopSite().Known = nil
	s.ok(stop)
	s.says("n1", &sitev1.NodeFacts{Run: "second", Capacity: testNode(1).GetCapacity()})
	s.refused("conflict", startEntry(true))
}

func TestAStoppedSiteTakesNoPlanThatStartsSomething(t *testing.T) {
	s := newSite(t, 1)
	s.says("n1", &sitev1.NodeFacts{Run: "first", Capacity: testNode(1).GetCapacity(), Images: []string{testDigest("web1")}})
	s.ok(applyEntry(testWorkload("web", 2)))
	generation := s.store.View().Workload("default", "web").GetGeneration()
	create := func() *sitev1.Plan {
		return &sitev1.Plan{Create: []*sitev1.NewPlacement{{Project: "default", Workload: "web", Generation: generation}}}
	}
	assign := func(name string) *sitev1.Plan {
		return &sitev1.Plan{Assign: []*sitev1.Assignment{{Project: "default", Placement: name, Node: "n1"}}}
	}
	remove := func() *sitev1.Plan {
		return &sitev1.Plan{Remove: []*sitev1.Removal{{Project: "default", Placement: "web-1", SiteStop: true}}}
	}
	s.want(0, create())
	s.want(0, assign("web-1"))
	s.want(0, create())
	s.want(1, remove())
	s.want(1, &sitev1.Plan{SiteStopped: true})
	s.ok(stopEntry("shore power goes"))
	s.ok(stopEntry("once more"))
	s.restart()
	if got := s.store.View().Stop(); got.GetReason() != "shore power goes" || got.GetBy() == "" || got.GetRuns()[0].GetRun() != "first" {
		t.Errorf("the stop is %v", got)
	}
	s.want(1, create())
	s.want(1, assign("web-2"))
	s.want(1, &sitev1.Plan{SiteStopped: true}) // web-1 runs
	s.want(0, remove())
	s.want(1, &sitev1.Plan{SiteStopped: true}) // it stops
	s.report("n1", "web-1", nil, true)
	s.want(0, &sitev1.Plan{SiteStopped: true})
	s.want(1, &sitev1.Plan{SiteStopped: true})
	s.restart()
	if s.store.View().Stop().GetStopped() == nil {
		t.Error("it is not stopped")
	}

	s.refused("conflict", startEntry(true))
	s.says("n1", &sitev1.NodeFacts{Run: "second", Capacity: testNode(1).GetCapacity(), Images: []string{testDigest("web1")}})
	s.ok(startEntry(true))
	s.ok(startEntry(true))
	s.restart()
	if got := s.store.View().Stop(); got != nil {
		t.Errorf("it is still stopped: %v", got)
	}
	s.want(0, assign("web-2"))
	s.ok(stopEntry(""))
	s.ok(startEntry(false))
	s.want(0, create())
	s.refused("invalid", stopEntry(strings.Repeat("x", maxMessage+1)))
}

func TestMostVotersDecideWhetherPowerCame(t *testing.T) {
	voter := func(name, run string) *skerryv1.Node {
		return &skerryv1.Node{Name: name, Run: run, Voter: skerryv1.VoterRole_VOTER_ROLE_VOTER}
	}
	stop := &skerryv1.SiteStop{Runs: []*skerryv1.MachineRun{{Node: "a", Run: "1"}, {Node: "b", Run: "1"}, {Node: "c", Run: "1"}}}
	learner := &skerryv1.Node{Name: "a", Run: "2"}
	for _, test := range []struct {
		name     string
		replicas []*skerryv1.Node
		want     bool
	}{
		{"none", []*skerryv1.Node{voter("a", "1"), voter("b", "1"), voter("c", "1")}, false},
		{"one of three", []*skerryv1.Node{voter("a", "2"), voter("b", "1"), voter("c", "1")}, false},
		{"two of three", []*skerryv1.Node{voter("a", "2"), voter("b", "2"), voter("c", "1")}, true},
		{"one of two", []*skerryv1.Node{voter("a", "2"), voter("b", "1")}, false},
		{"those of which nothing is known", []*skerryv1.Node{voter("a", ""), voter("b", ""), voter("c", "2")}, false},
		{"a voter that was none then", []*skerryv1.Node{voter("d", "2"), voter("b", "2"), voter("c", "1")}, false},
		{"a learner", []*skerryv1.Node{learner, voter("b", "2"), voter("c", "1")}, false},
	} {
		if got := PowerCame(stop, test.replicas); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}
