package check

import (
	"fmt"
	"maps"
	"slices"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// Site is what is known of a whole site at one moment: the state that its
// coordinator holds, and the truth on its hosts.
type Site struct {
	Nodes      []*skerryv1.Node
	Workloads  []*skerryv1.Workload
	Placements []*skerryv1.Placement
	// Running are the placements that really run on each node.
	Running map[string][]string
	// Starts of a placement that really happened; nil when nobody counted.
	Starts func(instance string) int
	// Members that each node's gossip counts alive, without itself.
	Members map[string][]string
	// May tells whether a placement may run on a node; nil when all may.
	May func(*skerryv1.Node, *skerryv1.Placement) bool
	// Waits tells whether a placement waits for other workloads; nil when none does.
	Waits func(*skerryv1.Placement) bool
	// Needs of a placement.
	Needs func(*skerryv1.Placement) Needs
}

// Unsettled lists what is not yet as it should be; empty when all is well.
func Unsettled(s Site) []string {
	var out []string
	out = append(out, unsettledNodes(s)...)
	out = append(out, unsettledVoters(s.Nodes)...)
	for _, w := range s.Workloads {
		out = append(out, unsettledWorkload(s, w)...)
	}
	return append(out, untrue(s)...)
}

func unsettledNodes(s Site) []string {
	var out []string
	for _, n := range s.Nodes {
		if n.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			out = append(out, fmt.Sprintf("node %s has not come back since it was evicted", n.GetName()))
			continue
		}
		if n.GetState() != skerryv1.NodeState_NODE_STATE_READY {
			out = append(out, fmt.Sprintf("node %s is %v", n.GetName(), n.GetState()))
		}
		if seen := len(s.Members[n.GetName()]); seen != len(s.Nodes)-1 {
			out = append(out, fmt.Sprintf("node %s knows %v of %d others", n.GetName(), s.Members[n.GetName()], len(s.Nodes)-1))
		}
	}
	return out
}

// VoterTarget is how many voters a site of so many nodes has.
func VoterTarget(nodes int) int {
	switch {
	case nodes >= 7:
		return 5
	case nodes >= 3:
		return 3
	default:
		return 1
	}
}

func unsettledVoters(nodes []*skerryv1.Node) []string {
	var voters []string
	for _, n := range nodes {
		if n.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER {
			voters = append(voters, n.GetName())
		}
	}
	if want := VoterTarget(len(nodes)); len(voters) != want {
		return []string{fmt.Sprintf("voters are %v, want %d", voters, want)}
	}
	return nil
}

func unsettledWorkload(s Site, w *skerryv1.Workload) []string {
	var out []string
	good, pending := 0, 0
	of := func(p *skerryv1.Placement) bool {
		return p.GetProject() == w.GetProject() && p.GetWorkload() == w.GetName()
	}
	// An update goes no further while new ones wait for room.
	waits := slices.ContainsFunc(s.Placements, func(p *skerryv1.Placement) bool {
		return of(p) && p.GetNode() == "" && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN
	})
	for _, p := range s.Placements {
		if !of(p) || p.GetEnded() != nil {
			continue
		}
		status := p.GetStatus()
		switch {
		case p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN:
			out = append(out, fmt.Sprintf("%s on %s is still to be stopped", p.GetName(), p.GetNode()))
		case p.GetNode() == "":
			pending++
			if node := roomFor(s, p); node != "" {
				out = append(out, fmt.Sprintf("%s is pending though %s has room", p.GetName(), node))
			}
		case !works(p):
			out = append(out, fmt.Sprintf("%s on %s is %v %v: %s", p.GetName(), p.GetNode(), status.GetPhase(), status.GetReadiness(), status.GetMessage()))
		case p.GetGeneration() != w.GetGeneration() && !waits && p.GetRun() == 0:
			out = append(out, fmt.Sprintf("%s runs generation %d, not %d", p.GetName(), p.GetGeneration(), w.GetGeneration()))
		case p.GetSpec().GetContainer().GetImage() != w.GetContainer().GetImage() && !waits && p.GetRun() == 0:
			out = append(out, fmt.Sprintf("%s runs %s, not %s", p.GetName(), p.GetSpec().GetContainer().GetImage(), w.GetContainer().GetImage()))
		default:
			good++
		}
	}
	if good+pending != manifest.Wanted(w) && len(out) == 0 {
		out = append(out, fmt.Sprintf("%s has %d healthy and %d pending placements, wants %d", w.GetName(), good, pending, manifest.Wanted(w)))
	}
	return out
}

// works: it runs, and is healthy; of the attempt of a job nobody asks for that.
func works(p *skerryv1.Placement) bool {
	healthy := skerryv1.Readiness_READINESS_HEALTHY
	if p.GetRun() != 0 {
		healthy = skerryv1.Readiness_READINESS_UNSPECIFIED // nobody asks for it
	}
	return p.GetStatus().GetPhase() == skerryv1.Phase_PHASE_RUNNING && p.GetStatus().GetReadiness() == healthy
}

// roomFor names a node that a pending placement would fit.
func roomFor(s Site, p *skerryv1.Placement) string {
	if s.Waits != nil && s.Waits(p) {
		return ""
	}
	for _, n := range s.Nodes {
		if s.May != nil && !s.May(n, p) {
			continue
		}
		bound := []Bound{{Node: n.GetName(), Name: p.GetName(), Needs: s.Needs(p)}}
		for _, other := range s.Placements {
			if other.GetNode() == n.GetName() && other.GetEnded() == nil {
				bound = append(bound, Bound{Node: n.GetName(), Name: other.GetName(), Needs: s.Needs(other)})
			}
		}
		if Fits(map[string]*skerryv1.Capacity{n.GetName(): n.GetCapacity()}, bound) == nil {
			return n.GetName()
		}
	}
	return ""
}

// untrue compares the state with what really runs.
func untrue(s Site) []string {
	var out []string
	bound := map[string]map[string]bool{}
	for _, p := range s.Placements {
		if p.GetNode() == "" || p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN || p.GetEnded() != nil {
			continue
		}
		if bound[p.GetNode()] == nil {
			bound[p.GetNode()] = map[string]bool{}
		}
		id := p.GetProject() + "." + p.GetName()
		bound[p.GetNode()][id] = true
		if !slices.Contains(s.Running[p.GetNode()], id) {
			out = append(out, fmt.Sprintf("%s does not really run on %s", id, p.GetNode()))
		}
		if restarts := p.GetStatus().GetRestarts(); s.Starts != nil && restarts > 0 && int(restarts) >= s.Starts(id) {
			out = append(out, fmt.Sprintf("%s says that it was started %d times again, and was started %d times", id, restarts, s.Starts(id)))
		}
	}
	for _, node := range slices.Sorted(maps.Keys(s.Running)) {
		for _, id := range s.Running[node] {
			if !bound[node][id] {
				out = append(out, fmt.Sprintf("%s runs on %s, which the site does not want", id, node))
			}
		}
	}
	return out
}
