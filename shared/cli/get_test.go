package cli

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestGetPlacements(t *testing.T) {
	expect(t, harbour(), "get placements -o wide", 0, `
NAME   PROJECT  STATE       NODE    RESTARTS  AGE   ADDRESS    IMAGE             MESSAGE
db-1   default  healthy     node-1  0         2d2h  10.88.0.7  site.local/db:1   -
web-1  default  healthy     node-1  0         2d2h  10.88.0.7  site.local/web:1  -
web-2  default  lost        node-2  0         2d2h  10.88.0.7  site.local/web:1  replaced by web-4
web-3  default  restarting  node-3  7         2d2h  -          site.local/web:1  it was killed above its memory limit of 64Mi: raise container.resources.memory
web-4  default  pending     -       0         4m    -          site.local/web:1  1 node lost, port 8080/tcp is taken on 2 nodes
`, "")
}

func TestGetNodes(t *testing.T) {
	expect(t, harbour(), "get nodes -o wide", 0, `
NAME    ZONE    STATE  FOR   VOTER    VERSION  ATTENTION  ADDRESS      CPU  MEMORY   DISK FREE  LABELS  ID
node-1  rack-a  ready  2d3h  voter    1.2.3    -          node-1:7600  3.5  8.0 GiB  -          -       id-of-node-1
node-2  rack-b  lost   4m    voter    1.2.3    -          node-2:7600  3.5  8.0 GiB  -          -       id-of-node-2
node-3  rack-c  ready  2d3h  learner  1.2.3    DiskFull   node-3:7600  3.5  8.0 GiB  -          -       id-of-node-3
`, "")
}

func TestGetWorkloads(t *testing.T) {
	expect(t, harbour(), "get workloads -o wide", 0, `
NAME  PROJECT  HEALTHY  IMAGE             AGE   GENERATION  MODE       LABELS
db    default  1/1      site.local/db:1   2d2h  2           replicate  tier=front
web   default  1/3      site.local/web:1  2d2h  2           replicate  tier=front
`, "")
}

func TestImageList(t *testing.T) {
	expect(t, harbour(), "image list", 0, `
NAME              SIZE     NODES  AGE   DIGEST
site.local/web:1  3.2 MiB  2      2d2h  sha256:3f9a12c4d5e6
`, "")
}

func TestNodeListThatIsStaleSaysSo(t *testing.T) {
	expect(t, cutOff(), "node list", 0, `
NAME    ZONE    STATE  FOR   VOTER    VERSION  ATTENTION
node-1  rack-a  ready  2d3h  voter    1.2.3    -
node-2  rack-b  lost   4m    voter    1.2.3    -
node-3  rack-c  ready  2d3h  learner  1.2.3    DiskFull
`, `
! stale: answered by node-3 without quorum, state as of 12s ago (epoch 1.4)
`)
}

func TestGetPrintsNamesForScripts(t *testing.T) {
	expect(t, harbour(), "get wl -o name", 0, "workload/db\nworkload/web\n", "")
}

func TestGetOneAsYAML(t *testing.T) {
	expect(t, harbour(), "get image site.local/web:1 -o yaml", 0, `
kind: Image
name: site.local/web:1
created: "2026-11-19T01:12:00Z"
digest: sha256:3f9a12c4d5e6f708192a3b4c5d6e7f80
size: "3400000"
nodes:
  - node-1
  - node-2
`, "")
}

func TestGetListAsJSONSaysWhatItIsWorth(t *testing.T) {
	r := &run{}
	if code := r.main(t, cutOff(), "get", "placements", "-o", "json"); code != 0 {
		t.Fatalf("exit code %d: %s", code, r.err.String())
	}
	var got struct {
		Resources []struct{ Name string }
		Freshness struct {
			Stale     bool
			Age, Node string
		}
	}
	if err := json.Unmarshal([]byte(r.out.String()), &got); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, resource := range got.Resources {
		names = append(names, resource.Name)
	}
	if diff := cmp.Diff([]string{"db-1", "web-1", "web-2", "web-3", "web-4"}, names); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if f := got.Freshness; !f.Stale || f.Age != "12s" || f.Node != "node-3" {
		t.Errorf("freshness %+v", f)
	}
}

func TestGetSendsWhatIsAskedFor(t *testing.T) {
	site := harbour()
	if code := new(run).main(t, site, "get", "pl", "-p", "shop", "-l", "tier=front", "--stale"); code != 0 {
		t.Errorf("exit code %d", code)
	}
	wantProto(t, site.asked(), &skerryv1.ListRequest{
		Kind: "Placement", Project: "shop", Labels: map[string]string{"tier": "front"}, Stale: true,
	})
}

func TestGetOfNothing(t *testing.T) {
	expect(t, &fakeSite{}, "get wl -p shop -l tier=front", 0, "", "no workloads in project shop with tier=front\n")
	expect(t, harbour(), "get wl nowhere", 3, "", `
skerry: Workload/nowhere: there is no such workload
  hint: skerry get workload lists what there is
`)
}

func TestGetPrintsNoControlCharacters(t *testing.T) {
	site := harbour()
	site.of("Placement", "web-3")[0].GetPlacement().Status.Message = "\x1b[2J\nroot# \u202egnp"
	r := &run{}
	r.main(t, site, "get", "placement", "web-3", "-o", "wide")
	wantIn(t, r.out.String(), "site.local/web:1   [2J root#  gnp\n")
}
