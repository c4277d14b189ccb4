package state

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// maxDifferences of a recovery are kept.
const maxDifferences = 1000

// leastVolume is the size of one whose size is not known.
const leastVolume = "1Mi"

// What became of something that the state and a node did not agree on.
const (
	diffAdopted = "adopted"
	diffGone    = "gone"
	diffNewer   = "newer"
	diffEnded   = "ended"
)

// adoptNode takes a node into the present site epoch. What it runs and the state
// does not know becomes part of the state, so that nothing healthy is ended; what
// the state believes to be there and is not is forgotten.
func (x *tx) adoptNode(change *sitev1.AdoptNode) (*sitev1.Outcome, error) {
	node := nodes.get(x.rows, change.GetNode())
	if node == nil || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
		return nil, missing("Node", change.GetNode())
	}
	if max(1, node.GetSiteEpoch()) >= x.siteEpoch {
		return &sitev1.Outcome{}, nil // it was adopted before
	}
	if len(change.GetPlacements()) > maxPlacements-x.counts[placementsOrdinal] {
		return nil, problem.New(problem.Exhausted, "Node/"+node.GetName(), "it runs %d placements, and the site would have more than %d", len(change.GetPlacements()), maxPlacements)
	}
	runs := map[string]bool{}
	for _, p := range change.GetPlacements() {
		if p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN || p.GetEnded() != nil {
			continue // it is on its way out already
		}
		runs[placements.key(p)] = true
		x.adopt(node.GetName(), p)
	}
	for _, known := range placements.by(x.rows, byNode, node.GetName()) {
		if runs[placements.key(known)] {
			continue
		}
		if known.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && known.GetEnded() == nil {
			x.differs(known, node.GetName(), diffGone, "the backup says that it runs there, and it does not")
		}
		placements.remove(x, placements.key(known))
	}
	next := shallow(nodes.get(x.rows, node.GetName()))
	next.SiteEpoch = x.siteEpoch
	x.putNode(next)
	x.changeNodeState(next, skerryv1.NodeState_NODE_STATE_READY)
	x.markPlacements(node.GetName(), skerryv1.NodeState_NODE_STATE_READY)
	x.inform(aboutNode(node.GetName()), "NodeAdopted", "it is part of site epoch %d, with what it runs: %d placements", x.siteEpoch, len(runs))
	return &sitev1.Outcome{}, nil
}

// adopt one placement that a node runs.
func (x *tx) adopt(node string, running *skerryv1.Placement) {
	known := placements.get(x.rows, placements.key(running))
	switch {
	case known.GetNode() == node:
		x.takeNewer(node, running)
		x.adoptVolumes(node, running)
		return // its status comes with the next report
	case known.GetNode() != "" && known.GetSpec().GetVm() != nil && running.GetSpec().GetVm() != nil:
		// No two placements ever had one name: it has moved.
		x.takeNewer(node, running)
		x.adoptVolumes(node, running)
		p := shallow(known)
		p.Node, p.Migration, p.LostSince, p.ReplacedBy = node, nil, nil, ""
		x.putPlacement(p)
		x.differs(p, node, diffNewer, "it has moved there from "+known.GetNode())
		return
	case known != nil && known.GetNode() != "":
		x.differs(running, node, diffEnded, "the site has it on "+known.GetNode())
		return
	}
	if why := x.mayNotAdopt(running); why != "" {
		x.differs(running, node, diffEnded, why)
		return
	}
	x.takeNewer(node, running)
	x.adoptVolumes(node, running)
	p := &skerryv1.Placement{
		Kind: "Placement", Name: running.GetName(), Project: running.GetProject(), Labels: running.GetLabels(),
		Generation: running.GetGeneration(), Created: running.GetCreated(), Workload: running.GetWorkload(), Node: node,
		Desired: skerryv1.DesiredState_DESIRED_STATE_RUN, Spec: running.GetSpec(), ImageDigest: running.GetImageDigest(),
		Status:   &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_ASSIGNED},
		Decision: &skerryv1.Decision{Index: x.index, At: x.time, Summary: "it ran there before the site was recovered"},
	}
	if p.Created == nil {
		p.Created = x.time
	}
	x.putPlacement(p)
	x.passNumber(p)
	x.differs(p, node, diffAdopted, "it was made after the backup")
}

// adoptVolumes of what runs: they are where it is, whatever the backup says. What
// size one was given after the backup nobody knows; a volume never shrinks.
func (x *tx) adoptVolumes(node string, running *skerryv1.Placement) {
	for _, use := range manifest.VolumesOf(running.GetSpec()) {
		old := x.volume(running.GetProject(), use.Volume)
		switch {
		case old.GetNode() == node || old.GetClass() == manifest.HostPathClass:
			continue
		case old == nil && x.counts[volumesOrdinal] == maxVolumes:
			x.differs(running, node, diffNewer, "there is no room for its volume "+use.Volume)
			continue
		case old == nil:
			old = &skerryv1.Volume{
				Kind: "Volume", Name: use.Volume, Project: running.GetProject(), Generation: 1, Created: x.time,
				Class: manifest.LocalClass, Size: cmp.Or(use.Size, leastVolume), As: use.As,
			}
		}
		next := volumeCopy(old)
		next.Node, next.Status.Made, next.Status.ComingTo = node, true, ""
		x.putVolume(next)
		x.differs(running, node, diffNewer, "its volume "+use.Volume+" is there")
	}
}

// mayNotAdopt says why the site cannot have a placement that runs; empty when it
// can.
func (x *tx) mayNotAdopt(running *skerryv1.Placement) string {
	spec := running.GetSpec()
	if err := checkWorkload("", spec); err != nil || spec.GetName() != running.GetWorkload() || spec.GetProject() != running.GetProject() ||
		numberOf(running) == 0 {
		return "it is of a form that this site does not know"
	}
	if manifest.IsJob(spec) {
		return "it is an attempt of a run that the backup does not know"
	}
	if workloads.get(x.rows, key(running.GetProject(), running.GetWorkload())) == nil && x.counts[workloadsOrdinal] == maxWorkloads {
		return "there is no room for its workload"
	}
	if projects.get(x.rows, running.GetProject()) == nil && x.counts[projectsOrdinal] == maxProjects {
		return "there is no room for its project"
	}
	if !IsExclusive(spec) {
		return ""
	}
	for _, other := range placements.by(x.rows, byWorkload, key(running.GetProject(), running.GetWorkload())) {
		if other.GetName() != running.GetName() && MayRun(other) {
			return "it is exclusive, and " + other.GetName() + " may run on " + other.GetNode()
		}
	}
	return ""
}

// numberOf a placement, out of its name; 0 when that is none of ours.
func numberOf(p *skerryv1.Placement) uint64 {
	text, ours := strings.CutPrefix(p.GetName(), p.GetWorkload()+"-")
	number, err := strconv.ParseUint(text, 10, 48)
	if !ours || err != nil || placementName(p.GetWorkload(), number) != p.GetName() {
		return 0
	}
	return number
}

// passNumber sees to it that a placement's name is not used again.
func (x *tx) passNumber(p *skerryv1.Placement) {
	k := key(p.GetProject(), p.GetWorkload())
	if record := workloads.get(x.rows, k); record.GetNextNumber() <= numberOf(p) {
		workloads.put(x, &sitev1.WorkloadRecord{Workload: record.GetWorkload(), NextNumber: numberOf(p) + 1})
	}
}

// takeNewer makes a workload what a placement says that it was when that is newer
// than what the state has: else it would be rolled back.
func (x *tx) takeNewer(node string, running *skerryv1.Placement) {
	k := key(running.GetProject(), running.GetWorkload())
	record := workloads.get(x.rows, k)
	if record != nil && record.GetWorkload().GetGeneration() >= running.GetGeneration() {
		return
	}
	if x.mayNotAdopt(running) != "" {
		return
	}
	next := withoutPin(proto.CloneOf(running.GetSpec()), record.GetWorkload(), node)
	next.Status, next.ResourceVersion, next.Generation = record.GetWorkload().GetStatus(), x.index, running.GetGeneration()
	if record != nil {
		next.Created = record.GetWorkload().GetCreated()
	}
	if next.Created == nil {
		next.Created = x.time
	}
	if samePorts(record.GetWorkload(), next) {
		next = withPorts(next, record.GetWorkload())
	}
	if projects.get(x.rows, next.GetProject()) == nil {
		projects.put(x, &sitev1.ProjectRecord{Project: &skerryv1.Project{
			Kind: "Project", Name: next.GetProject(), Generation: 1, ResourceVersion: x.index, Created: x.time,
		}})
	}
	x.count(next.GetProject(), record.GetWorkload(), next) // above its quota, too: it runs
	number := max(record.GetNextNumber(), numberOf(running)+1)
	if record == nil {
		number = max(number, x.firstNumber(next))
	}
	workloads.put(x, &sitev1.WorkloadRecord{Workload: next, NextNumber: number})
	x.noteRevision(next)
	x.changeNewest(next.GetProject(), next.GetName(), func(r *skerryv1.Revision) {
		x.turn(r, good, "it ran before the site was recovered")
	})
	x.refreshPlacements(next)
	x.relabelPlacements(next)
	x.differs(running, node, diffNewer, fmt.Sprintf("workload %s is as of generation %d, as the node ran it", next.GetName(), next.GetGeneration()))
}

// withoutPin is the workload of a placement that was to have one certain node.
func withoutPin(spec, known *skerryv1.Workload, node string) *skerryv1.Workload {
	require := spec.GetPlace().GetRequire()
	if len(require) == 0 || (!spec.GetPerNode() && (known == nil || len(known.GetPlace().GetRequire()) != len(require)-1)) {
		return spec
	}
	last := require[len(require)-1]
	if last.GetLabel() == pinLabel && slices.Equal(last.GetIn(), []string{node}) {
		spec.Place.Require = require[:len(require)-1]
		if len(spec.Place.Require) == 0 && proto.Size(spec.Place) == 0 {
			spec.Place = known.GetPlace()
		}
	}
	return spec
}

func samePorts(known, next *skerryv1.Workload) bool {
	return known != nil && slices.EqualFunc(known.GetContainer().GetPorts(), next.GetContainer().GetPorts(), func(a, b *skerryv1.Port) bool {
		return a.GetName() == b.GetName() && a.GetPort() == b.GetPort()
	})
}

// differs notes what the state and a node did not agree on.
func (x *tx) differs(p *skerryv1.Placement, node, what, message string) {
	about := aboutPlacement(p)
	about.node = node
	x.warn(about, "Recovered", "%s on %s: %s", what, node, message)
	if x.recovery == nil {
		return
	}
	next := shallow(x.recovery)
	if len(next.GetDifferences()) == maxDifferences {
		next.More++
	} else {
		// The full slice expression: views hold on to what was there before.
		all := next.GetDifferences()
		next.Differences = append(all[:len(all):len(all)], &skerryv1.RecoveryDifference{
			Node: node, Resource: resourcePath("Placement", p.GetProject(), p.GetName()), What: what, Message: bounded(message, maxMessage),
		})
	}
	x.setRecovery(next)
}
