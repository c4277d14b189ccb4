package cli

import (
	"strings"
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

func TestDescribeWorkload(t *testing.T) {
	expect(t, harbour(), "describe workload web", 0, `
Workload:      web
Project:       default
Now:           1 of 3 placements are healthy, 1 wait for a node, 1 are on lost nodes
Age:           2d2h
Generation:    2
Labels:        tier=front
Replicas:      3
Image:         site.local/web:1
Resources:     cpu 250m, memory 64Mi
Ports:         http 8080/tcp at port 8080 of the node
Health:        http /healthz at port http, every 2s, 3 failures in a row count
Place:         spread over zone, label disk is ssd or nvme
Update:        rolling, at most 1 missing
When cut off:  replicate, replaced after 0s
Restart:       always, first after 500ms, at most 1m
Stop grace:    10s

Placements:
  NAME   STATE       NODE    GENERATION  RESTARTS  AGE   MESSAGE
  web-1  healthy     node-1  2           0         2d2h  -
  web-2  lost        node-2  2           0         2d2h  replaced by web-4
  web-3  restarting  node-3  2           7         2d2h  it was killed above its memory limit of 64Mi: raise container.resources.memory
  web-4  pending     -       2           0         4m    1 node lost, port 8080/tcp is taken on 2 nodes

Events:
  AGO  SEVERITY  REASON             ABOUT            MESSAGE
  4m   warning   PlacementReplaced  placement/web-2  its node node-2 is lost: web-4 replaces it
  4m   warning   PlacementPending   placement/web-4  1 node lost, port 8080/tcp is taken on 2 nodes
`, "")
}

func TestDescribePlacement(t *testing.T) {
	site := harbour()
	site.explain.Placements = site.explain.GetPlacements()[3:]
	expect(t, site, "describe placement web-4", 0, `
Placement:  web-4
Project:    default
Workload:   web, generation 2
State:      pending
Node:       -
Decision:   1 node lost, port 8080/tcp is taken on 2 nodes
Restarts:   0
Age:        4m
Image:      site.local/web:1
Resources:  cpu 250m, memory 64Mi
Ports:      http 8080/tcp at port 8080 of the node
Health:     http /healthz at port http, every 2s, 3 failures in a row count
Place:      spread over zone, label disk is ssd or nvme

Events:
  AGO  SEVERITY  REASON             ABOUT            MESSAGE
  4m   warning   PlacementReplaced  placement/web-2  its node node-2 is lost: web-4 replaces it
  4m   warning   PlacementPending   placement/web-4  1 node lost, port 8080/tcp is taken on 2 nodes
`, "")
}

func TestDescribeNode(t *testing.T) {
	site := harbour()
	site.events = func(request *skerryv1.EventsRequest, send func(*skerryv1.EventsResponse) error) error {
		wantProto(t, request, &skerryv1.EventsRequest{Kind: "Node", Name: "node-3", Limit: 20})
		return send(&skerryv1.EventsResponse{Event: siteEvents()[0], Freshness: site.freshness})
	}
	expect(t, site, "describe node node-3", 0, `
Node:       node-3
Zone:       rack-c
State:      ready for 2d3h
Attention:  DiskFull: /var/lib/skerry is 97% full: remove images or add space
Voter:      learner
Version:    1.2.3
Address:    node-3:7600
CPU:        3.5
Memory:     8.0 GiB
Joined:     2d3h ago
ID:         id-of-node-3

Placements:
  NAME   STATE       NODE    GENERATION  RESTARTS  AGE   MESSAGE
  web-3  restarting  node-3  2           7         2d2h  it was killed above its memory limit of 64Mi: raise container.resources.memory

Events:
  AGO  SEVERITY  REASON    ABOUT        MESSAGE
  4m   warning   NodeLost  node/node-2  nothing was heard of it, and a direct call failed
`, "")
}

func TestDescribeNodeTellsWhatItHolds(t *testing.T) {
	site := harbour()
	snapshots := []*skerryv1.Snapshot{{Name: "before", Used: 3 << 20}}
	for _, i := range []*skerryv1.Image{
		{Kind: "Image", Name: "a:1", Digest: "sha256:a", Size: 5 << 20, Nodes: []string{"node-3"}},
		{Kind: "Image", Name: "a:latest", Digest: "sha256:a", Size: 5 << 20, Nodes: []string{"node-3"}},
		{Kind: "Image", Name: "b:1", Digest: "sha256:b", Size: 1 << 20, Nodes: []string{"node-1", "node-3"}},
	} {
		site.resources = append(site.resources, &skerryv1.Resource{Kind: &skerryv1.Resource_Image{Image: i}})
	}
	for _, v := range []*skerryv1.Volume{
		{Kind: "Volume", Name: "data", Node: "node-3", Status: &skerryv1.VolumeStatus{Made: true, Used: 7 << 20, Snapshots: snapshots}},
		{Kind: "Volume", Name: "bound", Node: "node-3", Status: &skerryv1.VolumeStatus{}},
		{Kind: "Volume", Name: "far", Node: "node-1", Status: &skerryv1.VolumeStatus{Made: true, Used: 7 << 20}},
	} {
		site.resources = append(site.resources, &skerryv1.Resource{Kind: &skerryv1.Resource_Volume{Volume: v}})
	}
	site.events = func(*skerryv1.EventsRequest, func(*skerryv1.EventsResponse) error) error { return nil }
	r := &run{}
	if code := r.main(t, site, "describe", "node", "node-3"); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	wantIn(t, r.out.String(), "2 images 6.0 MiB, 1 volume 7.0 MiB, 1 snapshot 3.0 MiB")
}

func TestDescribeNodeTellsWhatMadeRoom(t *testing.T) {
	site := harbour()
	for _, resource := range site.resources {
		if n := resource.GetNode(); n.GetName() == "node-3" {
			n.Room = &skerryv1.DiskRoom{
				TotalBytes: 64 << 30, FreeBytes: 16 << 30, Images: 3, ImageBytes: 9 << 20, RootDisks: 2, RootDiskBytes: 5 << 20,
				Removed: &skerryv1.ImagesRemoved{At: n.GetStateSince(), Images: []string{"web:1"}, Reason: "200 MiB; nothing used it"},
			}
		}
	}
	site.events = func(*skerryv1.EventsRequest, func(*skerryv1.EventsResponse) error) error { return nil }
	for command, want := range map[string][]string{
		"describe node node-3": {"16.0 GiB free of 64.0 GiB", "3 images 9.0 MiB, 2 root disks 5.0 MiB", " ago: web:1 (200 MiB; nothing used it)"},
		"get nodes -o wide":    {"16.0 GiB (25%)"},
	} {
		r := &run{}
		if code := r.main(t, site, strings.Fields(command)...); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		for _, text := range want {
			wantIn(t, r.out.String(), text)
		}
	}
}

func TestDescribeNodeGoesWithoutEventsWhenNobodyKnowsThem(t *testing.T) {
	site := harbour()
	site.events = func(*skerryv1.EventsRequest, func(*skerryv1.EventsResponse) error) error {
		return problem.ToConnect(site.refusal())
	}
	r := &run{}
	if code := r.main(t, site, "describe", "node", "node-3"); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	wantIn(t, r.out.String(), "DiskFull: /var/lib/skerry")
	wantIn(t, r.err.String(), "! no events: site: there is no coordinator")
}

func TestDescribeImage(t *testing.T) {
	expect(t, harbour(), "describe image site.local/web:1", 0, `
Image:   site.local/web:1
Digest:  sha256:3f9a12c4d5e6f708192a3b4c5d6e7f80
Size:    3.2 MiB
Nodes:   node-1,node-2
Age:     2d2h
`, "")
}
