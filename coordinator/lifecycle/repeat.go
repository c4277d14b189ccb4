package lifecycle

import (
	"fmt"
	"strings"
	"time"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// repeatAfter this long the same is proposed again, when the state has moved on
// without showing it.
const repeatAfter = 500 * time.Millisecond

// asked is what was proposed last.
type asked struct {
	what  string
	index uint64
	at    time.Duration
}

// holdRepeated holds back what was proposed already and did not change the
// objects that it is about: the state did not want it, or it was lost. Either
// way, to ask in a circle would only fill the log.
func (s *step) holdRepeated() {
	if len(s.effects.Propose) == 0 {
		return
	}
	what := s.describe(s.effects.Propose)
	if what == s.asked.what && s.view.Index() > s.asked.index && s.now < s.asked.at+repeatAfter {
		s.effects.Propose = nil
		s.wakeAt(s.asked.at + repeatAfter)
		return
	}
	if what != s.asked.what || s.view.Index() > s.asked.index {
		s.asked = asked{what: what, index: s.view.Index(), at: s.now}
	}
}

// describe entries together with the versions of what they are about.
func (s *step) describe(entries []*sitev1.Entry) string {
	d := &description{step: s, versions: map[string]uint64{}}
	for _, entry := range entries {
		if change := entry.GetSetNodeState(); change != nil {
			d.add("state", change.GetNode(), change.GetState(), s.view.Node(change.GetNode()).GetResourceVersion())
		}
		if entry.GetStartSite() != nil {
			d.add("start", s.view.Stop().GetSince().AsTime())
		}
		d.plan(entry.GetPlan())
	}
	return d.text.String()
}

type description struct {
	*step
	text strings.Builder
	// versions of workloads' placements, added up.
	versions map[string]uint64
}

func (d *description) add(what ...any) { fmt.Fprintln(&d.text, what...) }

func (d *description) plan(plan *sitev1.Plan) {
	for _, part := range plan.GetDue() {
		d.add("due", part.GetProject(), part.GetWorkload(), part.GetDue().AsTime(), part.GetMissed())
	}
	for _, part := range plan.GetOver() {
		d.add("over", part.GetProject(), part.GetWorkload(), part.GetRun())
	}
	for _, part := range plan.GetRemove() {
		d.add("remove", part.GetPlacement(), d.version(part.GetProject(), part.GetPlacement()))
	}
	for _, part := range plan.GetLapse() {
		d.add("lapse", part.GetPlacement(), d.version(part.GetProject(), part.GetPlacement()))
	}
	for _, part := range plan.GetMigrate() {
		d.add("migrate", part.GetPlacement(), d.version(part.GetProject(), part.GetPlacement()))
	}
	for _, part := range plan.GetEndDrains() {
		d.add("end drain", part.GetNode(), d.view.Node(part.GetNode()).GetResourceVersion())
	}
	for _, node := range plan.GetTrust() {
		d.add("trust", node, d.view.Node(node).GetResourceVersion())
	}
	for _, part := range plan.GetEvict() {
		d.add("evict", part.GetPlacement(), d.version(part.GetProject(), part.GetPlacement()))
	}
	for _, part := range plan.GetCreate() {
		d.add("create", part.GetProject(), part.GetWorkload(), part.GetGeneration(), part.GetReplaces(), part.GetNode(), part.GetRun(), part.GetStable(), part.GetRebalance(),
			d.versionOf(part.GetProject(), part.GetWorkload()))
	}
	for _, part := range plan.GetAssign() {
		d.add("assign", part.GetPlacement(), part.GetNode(), d.version(part.GetProject(), part.GetPlacement()))
	}
	for _, part := range plan.GetRollouts() {
		d.add("rollout", part.GetProject(), part.GetWorkload(), part.GetGeneration(), part.GetVerdict(), part.GetReason(),
			d.view.Rollout(part.GetProject(), part.GetWorkload()).Newest.GetState())
	}
	for _, part := range plan.GetRebalanced() {
		d.add("rebalanced", part.GetProject(), part.GetPlacement(), part.GetState(), part.GetNote(), d.view.Rebalance().GetStarted().AsTime())
	}
	if plan.GetSiteStopped() {
		d.add("stopped", d.view.Stop().GetSince().AsTime())
	}
	for _, part := range plan.GetPostpone() {
		d.add("postpone", part.GetPlacement(), d.version(part.GetProject(), part.GetPlacement()))
	}
}

func (d *description) version(project, placement string) uint64 {
	return d.view.Placement(project, placement).GetResourceVersion()
}

// versionOf a workload and its placements together.
func (d *description) versionOf(project, workload string) uint64 {
	key := placementKey(&skerryv1.Placement{Project: project, Name: workload})
	sum, ok := d.versions[key]
	if !ok {
		sum = d.view.Workload(project, workload).GetResourceVersion()
		for _, p := range d.view.PlacementsOf(project, workload) {
			sum += p.GetResourceVersion()
		}
		d.versions[key] = sum
	}
	return sum
}
