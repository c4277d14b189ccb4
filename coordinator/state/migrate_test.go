package state

import (
	"testing"

	"pgregory.net/rapid"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func migrateEntry(to string) *sitev1.Entry {
	return powerEntry(&sitev1.SetPower{Migrate: true, To: to})
}

// says of vm-1, from a node.
func (s *site) moves(node string, report *sitev1.MigrationReport, gone bool) uint32 {
	return s.apply(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{{
		Node: node, Placements: []*sitev1.PlacementReport{{Project: "default", Placement: "vm-1", Migration: report, Gone: gone}},
	}}}}}).GetRejected()
}

func (s *site) vm() *skerryv1.Placement { return s.store.View().Placement("default", "vm-1") }

// movable is a site on whose n1 runs vm-1.
func movable(t *testing.T, change ...func(*skerryv1.Workload)) *site {
	t.Helper()
	s := withMachines(t)
	s.ok(applyEntry(aVM(change...)))
	s.runsVM("n1")
	s.report("n1", "vm-1", &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Accel: "tcg"}, false)
	return s
}

func TestAPlacementThatMovesIsOnTwoNodesUntilOneHasNothingOfIt(t *testing.T) {
	s := movable(t)
	s.refused("conflict", migrateEntry("n1"))
	s.refused("not_found", migrateEntry("n9"))
	s.ok(migrateEntry(""))
	p := s.vm()
	attempt := p.GetMigration().GetAttempt()
	if p.GetNode() != "n1" || p.GetMigration().GetOther() != "n2" || !HeldBy(p, "n1") || !HeldBy(p, "n2") {
		t.Fatalf("on its way it is %v", p)
	}
	s.refused("conflict", migrateEntry("n2"))
	s.refused("conflict", powerEntry(&sitev1.SetPower{Restart: true}))
	if s.moves("n1", &sitev1.MigrationReport{Attempt: attempt, Arrived: true}, false); s.vm().GetNode() != "n1" {
		t.Error("its own node says that it arrived")
	}
	if s.moves("n2", &sitev1.MigrationReport{Attempt: attempt - 1, Arrived: true}, false); s.vm().GetNode() != "n1" {
		t.Error("another attempt arrived")
	}
	s.moves("n2", &sitev1.MigrationReport{Attempt: attempt, Arrived: true}, false)
	p = s.vm()
	if p.GetNode() != "n2" || p.GetMigration().GetOther() != "n1" || HeldBy(p, "n1") || len(s.store.View().PlacementsComingTo("n1")) != 1 {
		t.Fatalf("once it arrived it is %v", p)
	}
	s.refused("conflict", migrateEntry("n1"))
	s.moves("n1", nil, true)
	if p = s.vm(); p.GetMigration() != nil || p.GetNode() != "n2" || p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
		t.Errorf("at the end it is %v", p)
	}
	s.restart()
}

func TestAMoveThatFailsLeavesAPlacementWhereItIs(t *testing.T) {
	s := movable(t)
	s.ok(migrateEntry("n2"))
	attempt := s.vm().GetMigration().GetAttempt()
	s.moves("n1", &sitev1.MigrationReport{Attempt: attempt, Failed: "the line broke"}, false)
	if s.moves("n2", &sitev1.MigrationReport{Attempt: attempt, Arrived: true}, false); s.vm().GetNode() != "n1" {
		t.Error("it arrived after it had failed")
	}
	s.refused("conflict", migrateEntry("n2")) // something of it may be there
	s.moves("n2", nil, true)
	if m := s.vm().GetMigration(); m.GetOther() != "" || m.GetWhy() != "the line broke" {
		t.Errorf("after it failed it is %v", m)
	}
	s.ok(migrateEntry("n2"))
}

func TestWhatIsStoppedWhileItMovesMustBeGoneFromBothNodes(t *testing.T) {
	for _, first := range []string{"n1", "n2"} {
		s := movable(t)
		s.ok(migrateEntry("n2"))
		s.ok(deleteEntry("Workload", "vm"))
		s.moves(first, nil, true)
		if p := s.vm(); p == nil || p.GetNode() == first || p.GetMigration() != nil {
			t.Errorf("when %s has nothing of it left it is %v", first, p)
		}
		s.moves(map[string]string{"n1": "n2", "n2": "n1"}[first], nil, true)
		if p := s.vm(); p != nil {
			t.Errorf("at the end it is %v", p)
		}
	}
}

func TestWhatHasVolumesOrIsOffDoesNotMove(t *testing.T) {
	s := movable(t, withVolume)
	s.refused("conflict", migrateEntry("n2"))
	s = movable(t)
	s.ok(powerEntry(&sitev1.SetPower{State: skerryv1.PowerState_POWER_STATE_OFF}))
	s.refused("conflict", migrateEntry("n2"))
}

func TestAMachineTakesRoomOnBothNodesWhileItMoves(t *testing.T) {
	s := movable(t) // 512Mi of the 1Gi of each node
	s.ok(migrateEntry("n2"))
	s.ok(applyEntry(aVM(func(w *skerryv1.Workload) { w.Name = "big" })))
	s.plan(&sitev1.Plan{Create: []*sitev1.NewPlacement{create("big", s.store.View().Workload("default", "big").GetGeneration())}})
	if s.plan(&sitev1.Plan{Assign: []*sitev1.Assignment{assign("big-1", "n2")}}) == 0 {
		t.Error("something else got the room that it needs")
	}
}

// TestAMachineThatMovesRunsOnceWhateverIsLost plays both nodes as agents behave:
// messages come late, twice, or never. The guest acts on one node at most, and the
// log names every node that has it.
func TestAMachineThatMovesRunsOnceWhateverIsLost(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := movable(t)
		nodes := []string{"n1", "n2"}
		type guest struct {
			runs, leaving, incoming bool
			attempt, failed         uint64
		}
		at := map[string]*guest{"n1": {runs: true}, "n2": {}}
		rt.Repeat(map[string]func(*rapid.T){
			"somebody wants it to move": func(*rapid.T) { s.apply(migrateEntry("")) },
			"it is handed over": func(rt *rapid.T) {
				p := s.vm()
				from, to := at[p.GetNode()], at[otherOf(p)]
				attempt := p.GetMigration().GetAttempt()
				if !copying(p) || !from.runs || from.failed == attempt || to.runs {
					rt.Skip()
				}
				from.runs, from.leaving, from.attempt = false, true, attempt
				to.incoming, to.attempt = true, attempt
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
				if to := at[otherOf(s.vm())]; to != nil {
					to.incoming = false
				}
			},
			"the source asks": func(rt *rapid.T) {
				p := s.vm()
				from, to := at[p.GetNode()], at[otherOf(p)]
				if !copying(p) || !from.leaving || to.runs {
					rt.Skip()
				}
				to.incoming = false // before it says that it is gone
				from.leaving, from.runs, from.failed = false, true, from.attempt
			},
			"the source fails before": func(rt *rapid.T) {
				p := s.vm()
				if from := at[p.GetNode()]; copying(p) && from.runs {
					from.failed = p.GetMigration().GetAttempt()
				}
			},
			"a node reports": func(rt *rapid.T) {
				node := rapid.SampledFrom(nodes).Draw(rt, "node")
				p, g := s.vm(), at[node]
				switch {
				case !HeldBy(p, node) && otherOf(p) == node:
					*g = guest{failed: g.failed} // it removes what it has
					s.moves(node, nil, true)
				case copying(p) && node == otherOf(p) && g.runs:
					s.moves(node, &sitev1.MigrationReport{Attempt: p.GetMigration().GetAttempt(), Arrived: true}, false)
				case copying(p) && node == p.GetNode() && g.runs && g.failed == p.GetMigration().GetAttempt():
					s.moves(node, &sitev1.MigrationReport{Attempt: g.failed, Failed: "it failed"}, false)
				}
			},
			"": func(rt *rapid.T) {
				p := s.vm()
				if at["n1"].runs && at["n2"].runs {
					rt.Fatalf("it runs twice: %v", p)
				}
				for _, n := range nodes {
					if g := at[n]; (g.runs || g.leaving || g.incoming) && p.GetNode() != n && otherOf(p) != n {
						rt.Fatalf("the log does not know that %s has it: %v", n, p)
					}
				}
			},
		})
	})
}
