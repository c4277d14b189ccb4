package cli

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestStatusSaysWhatIsUpWhatIsWrongAndWhatToDo(t *testing.T) {
	expect(t, harbour(), "status", 0, `
Site:         harbour
Coordinator:  node-1
Epoch:        1.4
Quorum:       yes
Answer:       up to date, by node-1
Placements:   2 of 4 healthy, 2 workloads
Survives:     the loss of any one node or zone but: node node-1

Nodes:
  NODE    ZONE    STATE  FOR   ROLE         VERSION  CONDITIONS
  node-1  rack-a  ready  2d3h  coordinator  1.2.3    -
  node-2  rack-b  lost   4m    voter        1.2.3    -
  node-3  rack-c  ready  2d3h  learner      1.2.3    DiskFull

Workloads:
  NAME  PROJECT  HEALTHY  OTHERS
  web   default  1/3      1 lost, 1 pending, 1 restarting
  db    default  1/1      -

Would not survive:
  LOSS         WHAT THEN
  node node-1  0 of 2 voters would be left: no quorum, so no changes and no replacing

Needs attention:
  - node node-2 is lost since 2026-11-21 03:08:00 UTC: check its power and its network
  - node node-3: DiskFull: /var/lib/skerry is 97% full: remove images or add space
  - placement web-4 has no node: 1 node lost, port 8080/tcp is taken on 2 nodes: skerry why web-4
`, "")
}

func TestStatusWithoutQuorumSaysHowOldItIs(t *testing.T) {
	expect(t, cutOff(), "status", 0, `
Site:         harbour
Coordinator:  none known
Epoch:        1.4
Quorum:       NO, nothing can be changed; voters not heard of: node-1, node-2
Answer:       STALE, answered by node-3 without quorum, state as of 12s ago (epoch 1.4)
Placements:   2 of 4 healthy, 2 workloads

Nodes:
  NODE    ZONE    STATE  FOR   ROLE     VERSION  CONDITIONS
  node-1  rack-a  ready  2d3h  voter    1.2.3    -
  node-2  rack-b  lost   4m    voter    1.2.3    -
  node-3  rack-c  ready  2d3h  learner  1.2.3    DiskFull

Workloads:
  NAME  PROJECT  HEALTHY  OTHERS
  web   default  1/3      1 lost, 1 pending, 1 restarting
  db    default  1/1      -

Needs attention:
  - node-3 reaches no voter (node-1, node-2): this answer is about node-3 alone; check its network
`, `
! stale: answered by node-3 without quorum, state as of 12s ago (epoch 1.4)
`)
}

func TestStatusClaimsThatAllIsWellOnlyWhenItKnows(t *testing.T) {
	well := &fakeSite{status: harbour().status, freshness: harbour().freshness}
	well.status.Nodes, well.status.Problems, well.status.Weaknesses = nil, nil, nil
	expect(t, well, "status", 0, `
Site:         harbour
Coordinator:  node-1
Epoch:        1.4
Quorum:       yes
Answer:       up to date, by node-1
Placements:   2 of 4 healthy, 2 workloads
Survives:     the loss of any one node or zone

Nothing needs attention.
`, "")
	well.status.Freshness, well.freshness = cutOff().freshness, cutOff().freshness
	expect(t, well, "status", 0, `
Site:         harbour
Coordinator:  node-1
Epoch:        1.4
Quorum:       NO, nothing can be changed
Answer:       STALE, answered by node-3 without quorum, state as of 12s ago (epoch 1.4)
Placements:   2 of 4 healthy, 2 workloads

Nothing was known to need attention; it may have changed since.
`, `
! stale: answered by node-3 without quorum, state as of 12s ago (epoch 1.4)
`)
}

func TestStatusIsShownWhenTheListsFail(t *testing.T) {
	r := &run{}
	site := harbour()
	code := r.main(t, &fakeSite{status: site.status, refuseLists: site.refusal()}, "status")
	if code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	wantIn(t, r.out.String(), "Site:         harbour", "skerry why web-4")
	wantIn(t, r.err.String(), "skerry: site: there is no coordinator")
}

func TestWhatIsForeseenIsToldInALine(t *testing.T) {
	weak := []*skerryv1.Weakness{{Loss: "node node-1"}}
	for _, test := range []struct {
		name            string
		status          *skerryv1.StatusResponse
		survives, drift string
	}{
		{"all is known, and well", &skerryv1.StatusResponse{Losses: 4, LossesTried: 4, Placements: 20, Drifted: 1}, "the loss of any one node or zone", ""},
		{"nothing is known yet", &skerryv1.StatusResponse{Losses: 4, WeaknessesIncomplete: true}, "it is being found out; skerry whatif --lose NODE tells of one node at once", ""},
		{"some is known", &skerryv1.StatusResponse{Losses: 1000, LossesTried: 640, WeaknessesIncomplete: true, Weaknesses: weak},
			"the loss of any one node or zone, of 640 of 1000 that were tried so far but: node node-1", ""},
		{"it was so", &skerryv1.StatusResponse{Losses: 4, LossesTried: 4, ForeseenAge: durationpb.New(40 * time.Second)}, "the loss of any one node or zone, as of 40s ago", ""},
		{"much would be elsewhere", &skerryv1.StatusResponse{Losses: 4, LossesTried: 4, Placements: 20, Drifted: 2}, "the loss of any one node or zone",
			"2 of 20 placements would be elsewhere now: skerry drift says why, skerry rebalance moves them"},
		{"one must be elsewhere", &skerryv1.StatusResponse{Losses: 4, LossesTried: 4, Placements: 200, Drifted: 3, Misplaced: 1}, "the loss of any one node or zone",
			"3 of 200 placements would be elsewhere now, 1 of them must not be where they are: skerry drift"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := survives(test.status); got != test.survives {
				t.Errorf("survives: %s", got)
			}
			if got := drift(test.status); got != test.drift {
				t.Errorf("drift: %s", got)
			}
		})
	}
}
