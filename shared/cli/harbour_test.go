package cli

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// harbour is a site in a bad night: node-2 has lost its power, and what ran
// there has nowhere to go.
func harbour() *fakeSite {
	fresh := &skerryv1.Freshness{Epoch: "1.4", Quorum: true, Index: 812, Node: "node-1"}
	nodes := []*skerryv1.Node{
		node("node-1", "rack-a", skerryv1.NodeState_NODE_STATE_READY, skerryv1.VoterRole_VOTER_ROLE_VOTER, 51*time.Hour),
		node("node-2", "rack-b", skerryv1.NodeState_NODE_STATE_LOST, skerryv1.VoterRole_VOTER_ROLE_VOTER, 4*time.Minute),
		node("node-3", "rack-c", skerryv1.NodeState_NODE_STATE_READY, skerryv1.VoterRole_VOTER_ROLE_LEARNER, 51*time.Hour),
	}
	nodes[2].Conditions = []*skerryv1.Condition{{Type: "DiskFull", Message: "/var/lib/skerry is 97% full: remove images or add space"}}
	web, db := workload("web", 3), workload("db", 1)
	placements := webPlacements(web)
	placements = append(placements, placement(db, "db-1", "node-1", skerryv1.Phase_PHASE_RUNNING))
	site := &fakeSite{
		freshness: fresh,
		voters:    []string{nodeAddress, "node-3.example.com:7600"},
		status: &skerryv1.StatusResponse{
			Site: "harbour", SiteId: "5eed", Coordinator: "node-1", Freshness: fresh, Nodes: nodes,
			Workloads: 2, Placements: 4, Healthy: 2,
			Problems: []string{
				"node node-2 is lost since 2026-11-21 03:08:00 UTC: check its power and its network",
				"node node-3: DiskFull: /var/lib/skerry is 97% full: remove images or add space",
				"placement web-4 has no node: 1 node lost, port 8080/tcp is taken on 2 nodes: skerry why web-4",
			},
			Weaknesses: []*skerryv1.Weakness{{Loss: "node node-1", Why: "0 of 2 voters would be left: no quorum, so no changes and no replacing"}},
		},
		resources: []*skerryv1.Resource{
			{Kind: &skerryv1.Resource_Workload{Workload: web}}, {Kind: &skerryv1.Resource_Workload{Workload: db}},
			{Kind: &skerryv1.Resource_Image{Image: &skerryv1.Image{
				Kind: "Image", Name: "site.local/web:1", Digest: "sha256:3f9a12c4d5e6f708192a3b4c5d6e7f80",
				Size: 3_400_000, Nodes: []string{"node-1", "node-2"}, Created: ago(50 * time.Hour),
			}}},
		},
		explain: &skerryv1.ExplainResponse{
			Subject:    "Workload/web",
			Summary:    "1 of 3 placements are healthy, 1 wait for a node, 1 are on lost nodes",
			Placements: placements[:4],
			Events:     siteEvents()[1:3],
			Freshness:  fresh,
		},
	}
	for _, n := range nodes {
		site.resources = append(site.resources, &skerryv1.Resource{Kind: &skerryv1.Resource_Node{Node: n}})
	}
	for _, p := range placements {
		site.resources = append(site.resources, &skerryv1.Resource{Kind: &skerryv1.Resource_Placement{Placement: p}})
	}
	return site
}

// cutOff is harbour as node-3 knows it, which reaches nobody.
func cutOff() *fakeSite {
	site := harbour()
	stale := &skerryv1.Freshness{Epoch: "1.4", Stale: true, Age: durationpb.New(12 * time.Second), Index: 790, Node: "node-3"}
	site.freshness, site.status.Freshness, site.explain.Freshness = stale, stale, stale
	site.status.Coordinator = ""
	site.status.Weaknesses = nil
	site.status.MissingVoters = []string{"node-1", "node-2"}
	site.status.Problems = []string{"node-3 reaches no voter (node-1, node-2): this answer is about node-3 alone; check its network"}
	return site
}

func node(name, zone string, state skerryv1.NodeState, role skerryv1.VoterRole, since time.Duration) *skerryv1.Node {
	return &skerryv1.Node{
		Kind: "Node", Name: name, Zone: zone, State: state, Voter: role, StateSince: ago(since), Created: ago(51 * time.Hour),
		Version: "1.2.3", Address: name + ":7600", MayVote: true, Id: "id-of-" + name,
		Capacity: &skerryv1.Capacity{CpuMilli: 3500, MemoryBytes: 8 << 30},
	}
}

func workload(name string, replicas uint32) *skerryv1.Workload {
	return &skerryv1.Workload{
		Kind: "Workload", Name: name, Project: "default", Generation: 2, ResourceVersion: 700, Created: ago(50 * time.Hour),
		Labels: map[string]string{"tier": "front"}, Replicas: &replicas,
		Container: &skerryv1.Container{
			Image:     "site.local/" + name + ":1",
			Ports:     []*skerryv1.Port{{Name: "http", Port: 8080, HostPort: 8080, Protocol: "tcp"}},
			Resources: &skerryv1.Resources{Cpu: "250m", Memory: "64Mi"},
		},
		Health:    &skerryv1.Health{Http: &skerryv1.HttpCheck{Port: "http", Path: "/healthz"}, Interval: "2s", Failures: 3},
		Update:    &skerryv1.Update{Strategy: "rolling", MaxUnavailable: 1},
		Place:     &skerryv1.Place{Spread: "zone", Require: []*skerryv1.Requirement{{Label: "disk", In: []string{"ssd", "nvme"}}}},
		Partition: &skerryv1.Partition{Mode: "replicate", ReplaceAfter: "0s"},
		Restart:   &skerryv1.Restart{Policy: "always", Backoff: "500ms", MaxBackoff: "1m"},
		StopGrace: "10s",
	}
}

func placement(of *skerryv1.Workload, name, onNode string, phase skerryv1.Phase) *skerryv1.Placement {
	p := &skerryv1.Placement{
		Kind: "Placement", Name: name, Project: "default", Workload: of.GetName(), Node: onNode, Spec: of,
		Generation: 2, Created: ago(50 * time.Hour), Desired: skerryv1.DesiredState_DESIRED_STATE_RUN,
		Status: &skerryv1.PlacementStatus{Phase: phase},
	}
	if phase == skerryv1.Phase_PHASE_RUNNING {
		p.Status.Readiness = skerryv1.Readiness_READINESS_HEALTHY
		p.Status.Address = "10.88.0.7"
	}
	return p
}

func webPlacements(web *skerryv1.Workload) []*skerryv1.Placement {
	works := placement(web, "web-1", "node-1", skerryv1.Phase_PHASE_RUNNING)
	works.Decision = &skerryv1.Decision{
		At: ago(50 * time.Hour), Summary: "the best of 3 nodes",
		Verdicts: []*skerryv1.Verdict{
			{Node: "node-1", Score: 870, Reasons: []string{"spread zone=rack-a: 0 of 3 placements", "it holds the image"}},
			{Node: "node-3", Score: 610.4, Reasons: []string{"spread zone=rack-c: 0 of 3 placements"}},
		},
	}
	lost := placement(web, "web-2", "node-2", skerryv1.Phase_PHASE_RUNNING)
	lost.LostSince, lost.ReplacedBy = ago(4*time.Minute), "web-4"
	fails := placement(web, "web-3", "node-3", skerryv1.Phase_PHASE_BACKOFF)
	fails.Status.Restarts = 7
	fails.Status.Message = "it was killed above its memory limit of 64Mi: raise container.resources.memory"
	fails.Status.LastExit = &skerryv1.Exit{Code: 137, OomKilled: true}
	waits := placement(web, "web-4", "", skerryv1.Phase_PHASE_PENDING)
	waits.Created = ago(4 * time.Minute)
	waits.Decision = &skerryv1.Decision{
		At: ago(4 * time.Minute), Summary: "1 node lost, port 8080/tcp is taken on 2 nodes",
		Verdicts: []*skerryv1.Verdict{
			{Node: "node-1", RuledOut: []string{"port 8080/tcp is taken by web-1"}},
			{Node: "node-2", RuledOut: []string{"it is lost"}},
			{Node: "node-3", RuledOut: []string{"it has the condition DiskFull", "port 8080/tcp is taken by web-3"}},
		},
		Omitted: 2,
	}
	return []*skerryv1.Placement{works, lost, fails, waits}
}

func siteEvents() []*skerryv1.Event {
	return []*skerryv1.Event{
		{Index: 803, Sub: 0, At: ago(4 * time.Minute), Severity: skerryv1.Severity_SEVERITY_WARNING, Kind: "Node", Name: "node-2",
			Reason: "NodeLost", Message: "nothing was heard of it, and a direct call failed"},
		{Index: 805, Sub: 0, At: ago(4 * time.Minute), Severity: skerryv1.Severity_SEVERITY_WARNING, Kind: "Placement", Name: "web-2",
			Project: "default", Reason: "PlacementReplaced", Message: "its node node-2 is lost: web-4 replaces it"},
		{Index: 805, Sub: 1, At: ago(4 * time.Minute), Severity: skerryv1.Severity_SEVERITY_WARNING, Kind: "Placement", Name: "web-4",
			Project: "default", Reason: "PlacementPending", Message: "1 node lost, port 8080/tcp is taken on 2 nodes"},
		{Index: 811, Sub: 0, At: ago(time.Minute), Severity: skerryv1.Severity_SEVERITY_INFO, Kind: "Placement", Name: "till-1",
			Project: "shop", Reason: "PlacementHealthy", Message: "on node-1"},
	}
}
