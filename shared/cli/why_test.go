package cli

import (
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestWhyShowsEveryChoiceAndEveryRefusal(t *testing.T) {
	expect(t, harbour(), "why web", 0, `
Workload/web: 1 of 3 placements are healthy, 1 wait for a node, 1 are on lost nodes

web-1: healthy, on node-1
  decided 2d2h ago: the best of 3 nodes
  NODE    VERDICT  SCORE  BECAUSE
  node-1  chosen   870    spread zone=rack-a: 0 of 3 placements; it holds the image
  node-3  fits     610    spread zone=rack-c: 0 of 3 placements

web-2: lost, on node-2, not heard of for 4m, replaced by web-4

web-3: restarting, on node-3, restarted 7 times, last killed above its memory limit (exit code 137)
  the node says: it was killed above its memory limit of 64Mi: raise container.resources.memory

web-4: pending, on no node
  decided 4m ago: 1 node lost, port 8080/tcp is taken on 2 nodes
  NODE    VERDICT    SCORE  BECAUSE
  node-1  ruled out  -      port 8080/tcp is taken by web-1
  node-2  ruled out  -      it is lost
  node-3  ruled out  -      it has the condition DiskFull; port 8080/tcp is taken by web-3
  and 2 more nodes

Events:
  AGO  SEVERITY  REASON             ABOUT            MESSAGE
  4m   warning   PlacementReplaced  placement/web-2  its node node-2 is lost: web-4 replaces it
  4m   warning   PlacementPending   placement/web-4  1 node lost, port 8080/tcp is taken on 2 nodes
`, "")
}

func TestWhyAsksForTheKindThatIsWritten(t *testing.T) {
	for word, kind := range map[string]string{"web": "", "workload/web": "Workload", "pl/web": "Placement"} {
		site := harbour()
		if code := new(run).main(t, site, "why", word, "-p", "shop", "--stale"); code != 0 {
			t.Errorf("why %s: exit code %d", word, code)
		}
		want := &skerryv1.ExplainRequest{Kind: kind, Name: "web", Project: "shop", Stale: true}
		wantProto(t, site.asked(), want)
	}
}

func TestWhyRefusesWhatNobodyPlaced(t *testing.T) {
	expect(t, harbour(), "why node/node-1", 2, "", `
skerry: only workloads and placements can be explained, not nodes
  hint: skerry describe node node-1 shows what there is to know
`)
}
