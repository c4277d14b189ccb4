package cli

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// drainSite drains node-1 of harbour as the test says: what is on it and how
// the drain stands, look by look.
func drainSite(stuck []*skerryv1.Stranded, looks ...func(n *skerryv1.Node, placements []*skerryv1.Placement) []*skerryv1.Placement) *fakeSite {
	site := harbour()
	n := site.of("Node", "node-1")[0].GetNode()
	n.Duty = &skerryv1.NodeDuty{Duty: skerryv1.Duty_DUTY_DRAINING, Drain: &skerryv1.NodeDrain{
		Until: skerryv1.Duty_DUTY_DRAINED, Deadline: timestamppb.New(now.Add(10 * time.Minute)),
	}}
	site.changed = &skerryv1.ChangeDutyResponse{Node: n, Stuck: stuck, Freshness: site.freshness}
	site.look = func() {
		if len(looks) == 0 {
			return
		}
		var kept []*skerryv1.Resource
		var placements []*skerryv1.Placement
		for _, r := range site.resources {
			if p := r.GetPlacement(); p.GetNode() == "node-1" {
				placements = append(placements, p)
			} else {
				kept = append(kept, r)
			}
		}
		for _, p := range looks[0](n, placements) {
			kept = append(kept, &skerryv1.Resource{Kind: &skerryv1.Resource_Placement{Placement: p}})
		}
		site.resources, looks = kept, looks[1:]
	}
	return site
}

func TestADrainTellsHowItGoesOn(t *testing.T) {
	site := drainSite(nil,
		func(_ *skerryv1.Node, all []*skerryv1.Placement) []*skerryv1.Placement {
			all[0].ReplacedBy = "web-9"
			return all
		},
		func(_ *skerryv1.Node, all []*skerryv1.Placement) []*skerryv1.Placement {
			all[0].Desired = skerryv1.DesiredState_DESIRED_STATE_STOP
			return all
		},
		func(_ *skerryv1.Node, all []*skerryv1.Placement) []*skerryv1.Placement { return all[1:] },
		func(n *skerryv1.Node, _ []*skerryv1.Placement) []*skerryv1.Placement {
			n.Duty.Duty, n.Duty.Drain.Result = skerryv1.Duty_DUTY_DRAINED, "nothing runs on it any more"
			return nil
		})
	expect(t, site, "drain node-1", 0, `
node node-1 gets nothing new, and what it runs moves away, until 2026-11-21 03:22:00Z at the latest
web-1 waits until web-9 is healthy
web-1 stops
web-1 is gone, 1 left
db-1 is gone, 0 left
node node-1 is drained: nothing runs on it any more
`, "")
}

func TestADrainThatCannotEndSaysSoAtOnce(t *testing.T) {
	stuck := []*skerryv1.Stranded{
		{Project: "default", Workload: "web", Placement: "web-1", Node: "node-1", Why: "no node fits: 1 node lost"},
		{Project: "default", Workload: "db", Placement: "db-1", Node: "node-1", Why: "it stays on its node"},
	}
	expect(t, drainSite(stuck), "drain node-1", 4, `
node node-1 gets nothing new, and what it runs moves away, until 2026-11-21 03:22:00Z at the latest

Cannot move as things are:
  WORKLOAD  PLACEMENT  WHY
  web       web-1      no node fits: 1 node lost
  db        db-1       it stays on its node
`, `
skerry: Node/node-1: db-1, web-1 cannot move, for the reasons above
  hint: the drain goes on until 2026-11-21 03:22:00Z in case that changes; skerry uncordon node-1 takes it back
`)
}

func TestWhatRunsOnEachNodeIsExpectedToStay(t *testing.T) {
	site := drainSite(nil,
		func(_ *skerryv1.Node, all []*skerryv1.Placement) []*skerryv1.Placement {
			all[1].Spec.Replicas, all[1].Spec.PerNode = nil, true
			all[0].Ended = ago(0) // an attempt of a job, of which the logs are there
			return all
		},
		func(n *skerryv1.Node, all []*skerryv1.Placement) []*skerryv1.Placement {
			n.Duty.Duty, n.Duty.Drain.Result = skerryv1.Duty_DUTY_DRAINED, "what may run elsewhere is gone; db-1 stays there (partition.mode: stay)"
			return all
		})
	expect(t, site, "drain node-1", 0, `
node node-1 gets nothing new, and what it runs moves away, until 2026-11-21 03:22:00Z at the latest
node node-1 is drained: nothing runs on it but what runs on each node (perNode): db-1
`, "")
}
