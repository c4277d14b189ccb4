package state

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

const (
	// maxVerdicts of one decision.
	maxVerdicts = 32
	// maxReasons of one verdict.
	maxReasons = 8
	// maxParts of one plan.
	maxParts = 13312
)

// plan carries out what the controllers decided. They decided on an older
// state: each part is checked against the present one, and what no longer
// holds is left out and counted; they will decide anew.
func (x *tx) plan(plan *sitev1.Plan) (*sitev1.Outcome, error) {
	parts := len(plan.GetCreate()) + len(plan.GetAssign()) + len(plan.GetRemove()) + len(plan.GetPostpone()) + len(plan.GetEvict()) +
		len(plan.GetEndDrains()) + len(plan.GetTrust()) + len(plan.GetDue()) + len(plan.GetOver()) + len(plan.GetRollouts()) + len(plan.GetLapse()) + len(plan.GetRebalanced()) +
		len(plan.GetMigrate())
	if parts > maxParts || plan.GetBaseIndex() >= x.index {
		return nil, problem.New(problem.Invalid, "plan", "it has %d parts and was made from index %d", parts, plan.GetBaseIndex())
	}
	rejected := uint32(0)
	count := func(done bool) {
		if !done {
			rejected++
		}
	}
	for _, part := range plan.GetDue() {
		count(x.planDue(part))
	}
	for _, part := range plan.GetOver() {
		count(x.planOver(part))
	}
	for _, part := range plan.GetLapse() {
		count(x.planLapse(part))
	}
	for _, part := range plan.GetRemove() {
		count(x.planRemoval(part, plan.GetBaseIndex()))
	}
	for _, part := range plan.GetEvict() {
		count(x.planEviction(part))
	}
	for _, part := range plan.GetCreate() {
		before := len(x.created)
		count(x.planCreation(part))
		if len(x.created) == before {
			x.created = append(x.created, "")
		}
	}
	x.keepNumbers()
	for _, part := range plan.GetAssign() {
		count(x.planAssignment(part))
	}
	for _, part := range plan.GetPostpone() {
		count(x.planPostponement(part))
	}
	for _, part := range plan.GetMigrate() {
		count(x.planMigration(part))
	}
	for _, part := range plan.GetEndDrains() {
		count(x.endDrain(part))
	}
	for _, node := range plan.GetTrust() {
		count(x.trustNode(node))
	}
	for _, part := range plan.GetRollouts() {
		count(x.planRollout(part))
	}
	for _, part := range plan.GetRebalanced() {
		count(x.planRebalanced(part))
	}
	if plan.GetSiteStopped() {
		count(x.siteStopped())
	}
	return &sitev1.Outcome{Rejected: rejected}, nil
}

// planRemoval stops a placement, unless its workload changed since the plan
// was made: then it may be needed after all.
func (x *tx) planRemoval(part *sitev1.Removal, base uint64) bool {
	p := placements.get(x.rows, key(part.GetProject(), part.GetPlacement()))
	if p == nil || p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
		return false
	}
	record := workloads.get(x.rows, key(p.GetProject(), p.GetWorkload()))
	if record.GetWorkload().GetResourceVersion() > base || (!part.GetDrain() && !part.GetSiteStop() && x.needed(record.GetWorkload(), p)) {
		return false
	}
	if part.GetSiteStop() && x.halt == nil {
		return false
	}
	if part.GetDrain() && !x.makesWay(record.GetWorkload(), p) {
		return false
	}
	if p.GetRun() != 0 && p.GetEnded() == nil && p.GetLostSince() != nil {
		x.attemptOver(p, false) // how it ends, nobody will know
	}
	x.stop(p)
	if m := Moves(x.rebalance, p); m != nil && part.GetDrain() && m.GetState() == moveWaits {
		x.noteSuccessor(m, "") // the next one comes when it is gone
	}
	x.inform(aboutPlacement(p), "PlacementRemoved", "%s", part.GetReason())
	return true
}

// needed: the placement is healthy, and without it fewer than its workload asks
// for would be, or fewer than it may go down to while it is updated. The plan
// was made before this was so.
func (x *tx) needed(w *skerryv1.Workload, p *skerryv1.Placement) bool {
	if !IsHealthy(p) || manifest.IsJob(w) || (w.GetPerNode() && !Hosts(nodes.get(x.rows, p.GetNode()), w)) {
		return false
	}
	k := key(w.GetProject(), w.GetName())
	all, rollout := placements.by(x.rows, byWorkload, k), x.rollout(k)
	if p.GetGeneration() != w.GetGeneration() {
		return w.GetUpdate().GetStrategy() != manifest.Recreate && MaySpare(w, all) == 0
	}
	others, least := 0, manifest.Wanted(w)
	if rollout.Beside(w) {
		least = rollout.target(w)
	}
	for _, other := range all {
		if other.GetName() != p.GetName() && IsHealthy(other) && other.GetGeneration() == w.GetGeneration() {
			others++
		}
	}
	return others < least
}

func (x *tx) planCreation(part *sitev1.NewPlacement) bool {
	record := workloads.get(x.rows, key(part.GetProject(), part.GetWorkload()))
	w := record.GetWorkload()
	if record == nil || w.GetGeneration() != part.GetGeneration() || x.counts[placementsOrdinal] == maxPlacements || !x.mayCreate(part) {
		return false
	}
	k := key(part.GetProject(), part.GetWorkload())
	spec := templateOf(w)
	if part.GetStable() {
		if spec = x.rollout(k).stableSpec(spec); spec == nil {
			return false
		}
	}
	var replaced *skerryv1.Placement
	var move *skerryv1.RebalanceMove
	if part.GetReplaces() != "" {
		replaced = placements.get(x.rows, key(w.GetProject(), part.GetReplaces()))
		if part.GetRebalance() {
			if move = x.maySucceed(w, replaced); move == nil {
				return false
			}
		}
		leaves := Leaves(nodes.get(x.rows, replaced.GetNode())) || part.GetRebalance()
		if replaced.GetWorkload() != w.GetName() || !replaceable(w, replaced, leaves, placements.by(x.rows, byWorkload, k)) {
			return false
		}
		delete(x.counted, k)
	} else if !x.takeRoomFor(k, w, part) {
		return false
	}
	p := &skerryv1.Placement{
		Kind:       "Placement",
		Name:       placementName(w.GetName(), x.nextNumber(k, record)),
		Project:    w.GetProject(),
		Labels:     w.GetLabels(),
		Generation: spec.GetGeneration(),
		Created:    x.time,
		Workload:   w.GetName(),
		Desired:    skerryv1.DesiredState_DESIRED_STATE_RUN,
		Spec:       pinned(spec, part.GetNode()),
		Run:        part.GetRun(),
		Status:     &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_PENDING},
	}
	if replaced != nil {
		if IsStay(w) {
			p.Spec = pinned(spec, replaced.GetNode())
		}
		x.markReplaced(replaced, p.GetName(), move)
	} else {
		move = x.movedByStopping(w)
	}
	if move != nil {
		x.noteSuccessor(move, p.GetName())
		p.Decision = x.decisionFor(move)
	}
	bound := part.GetBind() != "" && x.bind(p, part.GetBind(), part.GetDecision())
	if by := int(part.GetExplainedBy()); bound && by > 0 && by <= len(x.created) {
		p.Decision.ExplainedBy = x.created[by-1]
	}
	x.created = append(x.created, p.GetName())
	x.putPlacement(p)
	if bound {
		x.inform(aboutPlacement(p), "PlacementAssigned", "%s", p.GetDecision().GetSummary())
	}
	return bound || part.GetBind() == ""
}

// nextNumber of a workload's placements. That it was used, keepNumbers writes
// down: once for all creations of a plan.
func (x *tx) nextNumber(k string, record *sitev1.WorkloadRecord) uint64 {
	if x.numbers == nil {
		x.numbers = map[string]uint64{}
	}
	number := max(x.numbers[k], record.GetNextNumber())
	x.numbers[k] = number + 1
	return number
}

func (x *tx) keepNumbers() {
	for _, k := range slices.Sorted(maps.Keys(x.numbers)) {
		workloads.put(x, &sitev1.WorkloadRecord{Workload: workloads.get(x.rows, k).GetWorkload(), NextNumber: x.numbers[k]})
	}
	x.numbers = nil
}

// replaceable tells whether another placement may take the place of this one:
// because its node is lost or makes it leave and it may run elsewhere, or
// because it stays and is being stopped, and the next one must have its node.
func replaceable(w *skerryv1.Workload, p *skerryv1.Placement, leaves bool, all []*skerryv1.Placement) bool {
	if p.GetReplacedBy() != "" || p.GetNode() == "" {
		return false
	}
	if !MustNotRunTwice(w, p) {
		return Counts(p) && (leaves || p.GetLostSince() != nil)
	}
	counted := 0
	for _, other := range all {
		if Counts(other) && (!w.GetPerNode() || isFor(other) == p.GetNode()) {
			counted++
		}
	}
	if w.GetPerNode() && counted > 0 {
		return false
	}
	return IsStay(w) && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP && counted < manifest.Wanted(w)
}

func (x *tx) markReplaced(old *skerryv1.Placement, by string, move *skerryv1.RebalanceMove) {
	p := shallow(old)
	p.ReplacedBy = by
	x.putPlacement(p)
	if move != nil {
		x.inform(aboutPlacement(p), "PlacementMoves", "rebalance: %s takes its place on %s: %s", by, move.GetTo(), move.GetWhy())
	} else if p.GetLostSince() != nil {
		x.warn(aboutPlacement(p), "PlacementReplaced", "its node %s is lost: %s replaces it", p.GetNode(), by)
	} else if !IsStay(p.GetSpec()) {
		x.inform(aboutPlacement(p), "PlacementMoves", "node %s is drained: %s takes its place", p.GetNode(), by)
	}
}

// planAssignment binds a pending placement to a node that still fits it.
func (x *tx) planAssignment(part *sitev1.Assignment) bool {
	old := placements.get(x.rows, key(part.GetProject(), part.GetPlacement()))
	if !pending(old) {
		return false
	}
	p := shallow(old)
	if !x.bind(p, part.GetNode(), part.GetDecision()) {
		return false
	}
	x.putPlacement(p)
	x.inform(aboutPlacement(p), "PlacementAssigned", "%s", p.GetDecision().GetSummary())
	return true
}

// bind a placement without a node to one that fits it; false, and it stays as it
// is, when that does not.
func (x *tx) bind(p *skerryv1.Placement, to string, why *skerryv1.Decision) bool {
	node := nodes.get(x.rows, to)
	if x.halt != nil || WhyNoWork(node, p.GetSpec()) != "" || !x.mayBind(p) {
		return false
	}
	image := images.get(x.rows, manifest.ImageOf(p.GetSpec()))
	needs, err := NeedsOf(p.GetSpec())
	if image == nil || err != nil || !MeetsRequirements(node, p.GetSpec()) || (image.GetDiskBytes() > 0) != (p.GetSpec().GetVm() != nil) {
		return false
	}
	if lack, _ := WhyNoVM(node, p.GetSpec()); lack != LacksNothing || x.whyNoVolume(node.GetName(), p.GetSpec()) != "" {
		return false
	}
	usage := x.usageOf(node.GetName())
	if !usage.Fits(x.planPolicy().Room(node.GetCapacity()), needs) {
		return false
	}
	p.Spec = usage.published(p.GetSpec(), needs.HostPorts)
	usage.Add(p.GetName(), needs)
	p.Node, p.ImageDigest, p.Decision = node.GetName(), image.GetDigest(), x.decision(why)
	p.Status = &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_ASSIGNED}
	x.bindVolumes(node.GetName(), p.GetSpec())
	x.tookNode(p)
	return true
}

// planPolicy is the site's policy, which no plan changes.
func (x *tx) planPolicy() Policy {
	if x.policy == nil {
		p := policyOf(settings.get(x.rows, manifest.SettingsName))
		x.policy = &p
	}
	return *x.policy
}

func (x *tx) usageOf(node string) *Usage {
	if x.usage == nil {
		x.usage = map[string]*Usage{}
	}
	if x.usage[node] == nil {
		x.usage[node] = UsageOf(append(placements.by(x.rows, byNode, node), placements.by(x.rows, byOther, node)...)).Reserve(nodes.get(x.rows, node))
	}
	return x.usage[node]
}

func pending(p *skerryv1.Placement) bool {
	return p != nil && p.GetNode() == "" && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN
}

func (x *tx) planPostponement(part *sitev1.Postponement) bool {
	old := placements.get(x.rows, key(part.GetProject(), part.GetPlacement()))
	if !pending(old) {
		return false
	}
	decision := x.decision(part.GetDecision())
	if SameDecision(old.GetDecision(), decision) {
		return true
	}
	p := shallow(old)
	p.Decision = decision
	x.putPlacement(p)
	if old.GetDecision().GetSummary() != decision.GetSummary() {
		x.warn(aboutPlacement(p), "PlacementPending", "%s", decision.GetSummary())
	}
	return true
}

// SameDecision tells whether two decisions say the same, whenever they were
// made.
func SameDecision(a, b *skerryv1.Decision) bool {
	if a == nil || b == nil {
		return a == b
	}
	undated := func(d *skerryv1.Decision) *skerryv1.Decision {
		d = shallow(d)
		d.Index, d.At = 0, nil
		return d
	}
	return proto.Equal(undated(a), undated(b))
}

// decision bounds and stamps a decision.
func (x *tx) decision(given *skerryv1.Decision) *skerryv1.Decision {
	d := &skerryv1.Decision{
		Index: given.GetIndex(), At: x.time,
		Summary: bounded(given.GetSummary(), maxMessage), Omitted: given.GetOmitted(),
		Remedy: bounded(given.GetRemedy(), maxMessage), ExplainedBy: bounded(given.GetExplainedBy(), maxMessage),
		Promised: bounded(given.GetPromised(), maxNodeName), Rebalance: bounded(given.GetRebalance(), maxMessage),
	}
	verdicts := given.GetVerdicts()
	if len(verdicts) > maxVerdicts {
		d.Omitted += uint32(len(verdicts) - maxVerdicts)
		verdicts = verdicts[:maxVerdicts]
	}
	for _, v := range verdicts {
		d.Verdicts = append(d.Verdicts, &skerryv1.Verdict{
			Node: bounded(v.GetNode(), maxNodeName), RuledOut: boundedTexts(v.GetRuledOut()),
			Score: v.GetScore(), Reasons: boundedTexts(v.GetReasons()),
		})
	}
	return d
}

func boundedTexts(texts []string) []string {
	var kept []string
	for _, text := range texts[:min(len(texts), maxReasons)] {
		kept = append(kept, bounded(text, maxMessage))
	}
	return kept
}
