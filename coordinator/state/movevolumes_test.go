package state

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func (s *site) data() *skerryv1.Volume { return s.store.View().Volume("default", "data") }

// hasData tells that a node has data of the volume, or has it no more.
func (s *site) hasData(node int, gone bool) {
	s.t.Helper()
	s.says(testNode(node).GetName(), machineFacts(node, []*sitev1.HeldVolume{{Project: "default", Name: "data", Used: 7, As: "disk", Gone: gone}}))
}

// movableVolume is a site on whose n1 runs vm-1 with a volume.
func movableVolume(t *testing.T) *site {
	t.Helper()
	s := movable(t, withVolume)
	s.hasData(1, false)
	return s
}

func (s *site) movesData(want string) {
	s.t.Helper()
	v := s.data()
	got := "on " + v.GetNode()
	if to := v.GetStatus().GetComingTo(); to != "" {
		got += ", coming to " + to
	}
	if left := v.GetStatus().GetLeftOn(); left != "" {
		got += ", left on " + left
	}
	if got != want {
		s.t.Errorf("the volume is %s, wanted %s", got, want)
	}
}

func TestAVolumeGoesWithItsMachine(t *testing.T) {
	s := movableVolume(t)
	s.ok(migrateEntry(""))
	s.movesData("on n1, coming to n2")
	s.hasData(2, false) // of no meaning: nobody runs there
	s.movesData("on n1, coming to n2")
	s.moves("n2", &sitev1.MigrationReport{Attempt: s.vm().GetMigration().GetAttempt(), Arrived: true}, false)
	s.movesData("on n2, left on n1")
	s.moves("n1", nil, true)
	s.report("n2", "vm-1", &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Accel: "tcg", Revision: 9}, false)
	s.refused("conflict", migrateEntry("n1")) // its old copy is there
	s.hasData(1, false)
	s.movesData("on n2, left on n1")
	s.hasData(1, true)
	s.movesData("on n2")
	s.hasData(2, false)
	s.ok(migrateEntry("n1"))
	s.restart()
}

func TestAVolumeStaysWhenItsMachineDoes(t *testing.T) {
	s := movableVolume(t)
	s.ok(migrateEntry("n2"))
	s.moves("n1", &sitev1.MigrationReport{Attempt: s.vm().GetMigration().GetAttempt(), Failed: "the line broke"}, false)
	s.movesData("on n1")
	s.moves("n2", nil, true)
	s.movesData("on n1")
	s.ok(migrateEntry("n2"))
	s.moves("n2", nil, true)
	s.movesData("on n1, coming to n2") // it has lost what it should run, and gets it again
	s.lose("n2")
	s.ok(evict("n2", true))
	s.movesData("on n1")
}

// The node that a machine was on is gone for good in the middle: the other one has
// its volume if the machine runs there.
func TestAVolumeIsWhereItsMachineRuns(t *testing.T) {
	s := newVoters(t)
	s.ok(migrateEntry("n2"))
	s.lose("n1")
	s.ok(evict("n1", true))
	s.movesData("on n1, coming to n2")
	s.report("n2", "vm-1", &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_BACKOFF, Revision: 10}, false)
	s.movesData("on n1, coming to n2")
	s.report("n2", "vm-1", &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Revision: 11}, false)
	s.movesData("on n2")
}

// newVoters is movableVolume, of which n1 can be missed.
func newVoters(t *testing.T) *site {
	t.Helper()
	s := movableVolume(t)
	s.trusts("n1", "n2")
	s.index++
	s.store.ApplyVoterChange(s.index, &sitev1.VoterChange{AddNode: "n2", AddRaftId: 2, Role: skerryv1.VoterRole_VOTER_ROLE_VOTER})
	facts := machineFacts(2, nil)
	facts.Authority = []byte("n2")
	s.says("n2", facts)
	return s
}

func TestWhatKeepsAVolumeWhereItIs(t *testing.T) {
	for _, test := range []struct {
		name string
		vm   func(*skerryv1.Workload)
		then func(*site)
	}{
		{name: "it is not made yet", vm: withVolume, then: func(*site) {}},
		{name: "it has snapshots", vm: withVolume, then: func(s *site) {
			s.says("n1", machineFacts(1, []*sitev1.HeldVolume{{Project: "default", Name: "data", Used: 7, As: "disk", Snapshots: []*skerryv1.Snapshot{{Name: "before"}}}}))
		}},
		{name: "it is read-only", vm: func(w *skerryv1.Workload) { withVolume(w); w.Vm.Disks[0].ReadOnly = true }, then: func(s *site) { s.hasData(1, false) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := movable(t, test.vm)
			test.then(s)
			s.refused("conflict", migrateEntry("n2"))
			s.movesData("on n1")
		})
	}
}

func TestAVolumeThatHasLeftACopyIsNotDeleted(t *testing.T) {
	s := movableVolume(t)
	s.ok(migrateEntry("n2"))
	s.moves("n2", &sitev1.MigrationReport{Attempt: s.vm().GetMigration().GetAttempt(), Arrived: true}, false)
	s.moves("n1", nil, true)
	s.ok(deleteEntry("Workload", "vm"))
	s.moves("n2", nil, true)
	remove := deleteEntry("Volume", "data")
	remove.GetDeleteResource().WithData = true
	s.refused("conflict", remove)
	s.hasData(1, true)
	s.ok(remove)
}

// TestNothingThatAGuestWroteIsLostWhateverIsLost plays both nodes as agents behave:
// messages come late, twice, or never, and the workload may be deleted at any
// moment. What the guest wrote last is on the node that the log names, or on one
// whose word the log waits for.
func TestNothingThatAGuestWroteIsLostWhateverIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := movableVolume(t)
		const none = -1
		type guest struct {
			runs, leaving, incoming bool
			attempt, failed         uint64
			data                    int
		}
		at := map[string]*guest{"n1": {runs: true}, "n2": {data: none}}
		number := map[string]int{"n1": 1, "n2": 2}
		latest := 0
		rt.Repeat(map[string]func(*rapid.T){
			"somebody wants it to move": func(*rapid.T) { s.apply(migrateEntry("")) },
			"somebody deletes the workload": func(rt *rapid.T) {
				if rapid.IntRange(0, 4).Draw(rt, "unlikely") > 0 {
					rt.Skip()
				}
				s.apply(deleteEntry("Workload", "vm"))
			},
			"the guest writes": func(rt *rapid.T) {
				for _, g := range at {
					if g.runs {
						g.data++
						latest = g.data
					}
				}
			},
			"it is handed over": func(rt *rapid.T) {
				p := s.vm()
				from, to := at[p.GetNode()], at[otherOf(p)]
				attempt := p.GetMigration().GetAttempt()
				if !copying(p) || p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN || !from.runs || from.failed == attempt || to.runs || to.data != none {
					rt.Skip()
				}
				from.runs, from.leaving, from.attempt = false, true, attempt
				to.incoming, to.attempt, to.data = true, attempt, from.data
			},
			"it is taken over": func(rt *rapid.T) {
				p := s.vm()
				if to := at[otherOf(p)]; to == nil || !copying(p) || !to.incoming || to.attempt != p.GetMigration().GetAttempt() {
					rt.Skip()
				} else {
					to.incoming, to.runs = false, true
				}
			},
			"the target forgets it": func(rt *rapid.T) {
				if to := at[otherOf(s.vm())]; to != nil && to.incoming {
					to.incoming, to.data = false, none
				}
			},
			"the source asks": func(rt *rapid.T) {
				p := s.vm()
				from, to := at[p.GetNode()], at[otherOf(p)]
				if !copying(p) || !from.leaving || to.runs {
					rt.Skip()
				}
				if to.incoming {
					to.incoming, to.data = false, none // before it says that it is gone
				}
				from.leaving, from.runs, from.failed = false, true, from.attempt
			},
			"the source fails before": func(rt *rapid.T) {
				p := s.vm()
				if from := at[p.GetNode()]; from != nil && copying(p) && from.runs {
					from.failed = p.GetMigration().GetAttempt()
				}
			},
			"a node reports": func(rt *rapid.T) {
				node := rapid.SampledFrom([]string{"n1", "n2"}).Draw(rt, "node")
				p, g := s.vm(), at[node]
				stops := p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP
				switch {
				case p == nil || p.GetNode() != node && otherOf(p) != node:
				case copying(p) && node == otherOf(p) && g.runs:
					s.moves(node, &sitev1.MigrationReport{Attempt: p.GetMigration().GetAttempt(), Arrived: true}, false)
				case copying(p) && node == p.GetNode() && g.runs && g.failed == p.GetMigration().GetAttempt():
					s.moves(node, &sitev1.MigrationReport{Attempt: g.failed, Failed: "it failed"}, false)
				case copying(p) && node == p.GetNode() && g.leaving: // it asks first
				case !HeldBy(p, node) || stops:
					if g.incoming {
						g.data = none
					}
					*g = guest{failed: g.failed, data: g.data} // it removes what it has
					s.moves(node, nil, true)
				case p.GetNode() == node && g.runs:
					s.report(node, "vm-1", &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Accel: "tcg", Revision: s.index}, false)
				}
				if s.data().GetNode() == node && g.data != none {
					s.hasData(number[node], false)
				}
			},
			"an old copy is deleted": func(rt *rapid.T) {
				left := s.data().GetStatus().GetLeftOn()
				if p := s.vm(); left == "" || p.GetNode() == left || otherOf(p) == left {
					rt.Skip()
				}
				at[left].data = none
				s.hasData(number[left], true)
			},
			"": func(rt *rapid.T) {
				p, v := s.vm(), s.data()
				owner, other := at[v.GetNode()], at[otherOf(p)]
				if owner.data != latest && !(copying(p) && other.runs && other.data == latest) {
					rt.Fatalf("what was written last is not where the log says: %v, %v, n1 %+v, n2 %+v, wanted %d", v, p.GetMigration(), *at["n1"], *at["n2"], latest)
				}
			},
		})
	})
}

// After a backup a machine has moved, and another volume was made: what runs has
// its volumes, so that it can begin again.
func TestVolumesAreWhereWhatIsAdoptedRuns(t *testing.T) {
	s := newSite(t, 3)
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Volume{Volume: &skerryv1.Volume{
			Kind: "Volume", Name: "data", Project: "default", Class: "local", Size: "1Gi", Node: "n3",
		}}}},
	}}})
	s.recoverOn("n2")
	vm := aVM(withVolume, func(w *skerryv1.Workload) {
		w.Vm.Disks = append(w.Vm.Disks, &skerryv1.Disk{Name: "logs", Volume: "logs"})
	})
	s.adopt("n1", ordered(vm, 2, 1, "n1"))
	s.movesData("on n1")
	logs := s.store.View().Volume("default", "logs")
	if logs.GetNode() != "n1" || !logs.GetStatus().GetMade() || logs.GetAs() != "disk" {
		t.Errorf("the volume that the backup does not know is %v", logs)
	}
	if got := s.differences(); !strings.Contains(got, "newer Placement/default/vm-1 on n1") {
		t.Errorf("the report is %s", got)
	}
	s.restart()
}

func (s *site) lose(node string) {
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_SetNodeState{SetNodeState: &sitev1.SetNodeState{Node: node, State: skerryv1.NodeState_NODE_STATE_LOST}}})
}

func confirmOffEntry(node string) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_ConfirmOff{ConfirmOff: &sitev1.ConfirmOff{Node: node}}}
}

func TestWhatMovesKeepsItsDisksUntilItIsThere(t *testing.T) {
	s := movableVolume(t)
	s.ok(migrateEntry("n2"))
	s.refused("conflict", applyEntry(aVM()))
	s.refused("conflict", applyEntry(aVM(withVolume, func(w *skerryv1.Workload) {
		w.Vm.Disks = append(w.Vm.Disks, &skerryv1.Disk{Name: "logs", Volume: "logs", Size: "1Gi"})
	})))
	s.moves("n2", &sitev1.MigrationReport{Attempt: s.vm().GetMigration().GetAttempt(), Arrived: true}, false)
	s.moves("n1", nil, true)
	s.ok(applyEntry(aVM()))
}

// While nobody knows where a volume is nothing else gets it.
func TestNothingElseGetsAVolumeThatIsOnItsWay(t *testing.T) {
	s := movableVolume(t)
	s.ok(migrateEntry("n2"))
	s.ok(deleteEntry("Workload", "vm"))
	s.ok(applyEntry(aVM(withVolume, func(w *skerryv1.Workload) { w.Name = "other"; w.Vm.Memory = "16Mi" })))
	s.plan(creates(create("other", s.store.View().Workload("default", "other").GetGeneration())))
	for _, node := range []string{"n1", "n2"} {
		if s.plan(assigns(assign("other-1", node))) == 0 {
			t.Errorf("another machine gets it on %s", node)
		}
	}
	s.moves("n2", nil, true)
	s.moves("n1", nil, true)
	if s.plan(assigns(assign("other-1", "n1"))) != 0 {
		t.Error("nobody gets it when it is known where it is")
	}
}

// An operator's word frees the other node of the two.
func TestOneOfTheTwoNodesOfAMoveIsConfirmedOff(t *testing.T) {
	for _, test := range []struct{ off, stays, data string }{
		{"n1", "n2", "on n1, coming to n2"},
		{"n2", "n1", "on n1"},
	} {
		s := movableVolume(t)
		s.ok(migrateEntry("n2"))
		s.lose(test.off)
		s.ok(confirmOffEntry(test.off))
		if p := s.vm(); p.GetNode() != test.stays || p.GetMigration() != nil {
			t.Fatalf("when %s is off it is %v", test.off, p)
		}
		s.movesData(test.data)
		if test.stays == "n2" {
			s.report("n2", "vm-1", &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Revision: 11}, false)
			s.movesData("on n2, left on n1")
		}
	}
}

// A backup from before a move: it is where it runs, whoever is heard first.
func TestWhatHasMovedSinceTheBackupIsWhereItRuns(t *testing.T) {
	for _, first := range []string{"n1", "n2"} {
		s := newSite(t, 3)
		s.ok(&sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{Image: &skerryv1.Image{
			Name: "disk", Digest: testDigest("disk"), Size: 10, DiskBytes: 1 << 30, Nodes: []string{"n1"},
		}}}})
		for n, name := range []string{"n1", "n2", "n3"} {
			s.says(name, machineFacts(n+1, nil))
		}
		s.ok(applyEntry(aVM(withVolume)))
		s.runsVM("n1")
		s.hasData(1, false)
		s.recoverOn("n3")
		if first == "n1" {
			s.adopt("n1")
		}
		s.adopt("n2", ordered(aVM(withVolume), 1, 1, "n2"))
		if first == "n2" {
			s.adopt("n1")
		}
		if p := s.vm(); p.GetNode() != "n2" || p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
			t.Errorf("with %s first it is %v", first, p)
		}
		s.movesData("on n2")
		s.restart()
	}
}
