package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// builtIn labels follow from what a node is.
var builtIn = []string{"name", "version", "zone"}

// relabelNode changes labels and zone. What runs there runs on.
func (x *tx) relabelNode(change *sitev1.RelabelNode) (*sitev1.Outcome, error) {
	old := nodes.get(x.rows, change.GetNode())
	if old == nil || old.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
		return nil, missing("Node", change.GetNode())
	}
	about := "Node/" + old.GetName()
	node := shallow(old)
	node.Labels = maps.Clone(old.GetLabels())
	for _, label := range change.GetRemove() {
		if _, has := node.GetLabels()[label]; !has {
			return nil, problem.New(problem.NotFound, about, "it has no label %s", bounded(label, maxLabel)).
				WithField("remove").WithHint("skerry describe node %s shows its labels", old.GetName())
		}
		delete(node.Labels, label)
	}
	if node.Labels == nil {
		node.Labels = map[string]string{}
	}
	maps.Copy(node.Labels, change.GetSet())
	for _, label := range builtIn {
		if _, given := change.GetSet()[label]; given {
			return nil, problem.New(problem.Invalid, about, "%s is always there and no label to set", label).
				WithField("set").WithHint("the zone has a flag of its own: skerry node label %s --zone NAME", old.GetName())
		}
	}
	if err := checkLabels(about, node.GetLabels()); err != nil {
		return nil, err
	}
	if zone := change.GetZone(); zone != "" {
		if !isName(zone, maxZone) {
			return nil, problem.New(problem.Invalid, about, "a zone is 1 to %d characters, a-z, 0-9 and -, and neither begins nor ends with -", maxZone).WithField("zone")
		}
		node.Zone = zone
	}
	if maps.Equal(node.GetLabels(), old.GetLabels()) && node.GetZone() == old.GetZone() {
		return &sitev1.Outcome{Node: old}, nil
	}
	node.Generation++
	x.putNode(node)
	x.inform(aboutNode(node.GetName()), "NodeLabelled", "%s", labelChanges(change))
	return &sitev1.Outcome{Node: node}, nil
}

func labelChanges(change *sitev1.RelabelNode) string {
	var parts []string
	for _, label := range slices.Sorted(maps.Keys(change.GetSet())) {
		parts = append(parts, label+"="+change.GetSet()[label])
	}
	for _, label := range change.GetRemove() {
		parts = append(parts, label+"-")
	}
	if change.GetZone() != "" {
		parts = append(parts, "zone "+change.GetZone())
	}
	return strings.Join(parts, " ")
}

// confirmOff takes an operator's word that a machine is off (SAFETY, rule 3):
// what stays on it or is exclusive is forgotten, so that it starts elsewhere.
func (x *tx) confirmOff(change *sitev1.ConfirmOff) (*sitev1.Outcome, error) {
	node := nodes.get(x.rows, change.GetNode())
	if node == nil {
		return nil, missing("Node", change.GetNode())
	}
	if node.GetState() == skerryv1.NodeState_NODE_STATE_READY {
		return nil, problem.New(problem.Conflict, "Node/"+node.GetName(), "it is there: it was heard a moment ago").
			WithHint("to stop in good order what stays on it: skerry node maintenance %s", node.GetName())
	}
	freed := 0
	for _, p := range placements.list(x.rows) {
		if otherOf(p) != "" && (p.GetNode() == node.GetName() || otherOf(p) == node.GetName()) {
			x.partGone(node.GetName(), p, false) // the other one alone has it, or will say that it has not
			freed++
			continue
		}
		waits := p.GetNode() == "" && pinOf(p) == node.GetName()
		if p.GetNode() == node.GetName() && (IsStay(p.GetSpec()) || MayRun(p)) || waits {
			x.volumesStay(p)
			placements.remove(x, placements.key(p))
			freed++
		}
	}
	if max(1, node.GetSiteEpoch()) < x.siteEpoch {
		// Nothing of what it ran is adopted any more: it runs elsewhere from now on.
		next := shallow(node)
		next.SiteEpoch = x.siteEpoch
		x.putNode(next)
	}
	x.warn(aboutNode(node.GetName()), "NodeConfirmedOff", "%s", fmt.Sprintf("an operator states that it is off: %d placements that stay on it may start elsewhere", freed))
	return &sitev1.Outcome{}, nil
}
