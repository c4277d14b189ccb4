package cli

import "testing"

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
