package sim

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

const (
	// vault must be kept in these zones, urgent goes before all others, and of web
	// half is always there.
	vault, urgent, web = "vault", "big", "web"
	halfOf             = "50%"
	urgentPriority     = 100
	// drainTime is when a drain is given up, drainEnds how much later it has ended
	// when somebody coordinates.
	drainTime, drainEnds = 30 * time.Second, 15 * time.Second
)

var vaultZones = []string{"zone-0", "zone-1"}

// promised writes down what people want of a workload beside its replicas.
func (w *world) promised(workload *skerryv1.Workload) {
	if workload.GetName() == urgent {
		workload.Priority = urgentPriority
	}
	if workload.GetName() == vault && !w.has(LoseKeepIn) {
		workload.Place.KeepIn = []*skerryv1.Requirement{{Label: "zone", In: vaultZones}}
	}
	if workload.GetName() == web {
		// One alone that must be there is updated by another one beside it.
		workload.MinAvailable, workload.Update.MaxSurge = halfOf, 1
		if w.has(LoseMinAvailable) {
			workload.MinAvailable, workload.Update.MaxUnavailable = "", 10
		}
	}
}

// priorityOf a workload, as people asked for it.
func (w *world) priorityOf(workload string) uint32 {
	if workload == urgent && !w.has(MixPriorities) {
		return urgentPriority
	}
	return 0
}

// placementsQuota of the project.
func (w *world) placementsQuota() int { return 4*len(w.hosts) + 10 }

// quota is the entry that sets it.
func (w *world) quota() *sitev1.Entry {
	limit := proto.Uint32(uint32(w.placementsQuota()))
	if w.has(LoseQuota) {
		limit = nil
	}
	return &sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{Resources: []*skerryv1.Resource{
		manifest.Wrap(&skerryv1.Project{Kind: "Project", Name: project, Quota: &skerryv1.Quota{Placements: limit}}),
	}}}}
}

func (w *world) judgeQuota(view *state.View) {
	asked := 0
	for _, workload := range view.Workloads() {
		asked += int(workload.GetReplicas())
	}
	w.violate(check.WithinQuota(project, asked, w.placementsQuota()))
}

// judgePlan looks at what one plan of the controllers has done.
func (w *world) judgePlan(before, after *state.View, plan *sitev1.Plan) {
	excused := map[string]bool{}
	for _, part := range plan.GetEvict() {
		victim, waits := before.Placement(part.GetProject(), part.GetPlacement()), before.Placement(part.GetForProject(), part.GetForPlacement())
		if !endedBy(victim, after) {
			continue
		}
		excused[victim.GetName()] = true
		w.violate(check.GaveWay(victim, w.priorityOf(victim.GetWorkload()), waits.GetName(), w.priorityOf(waits.GetWorkload()), stays(victim.GetWorkload())))
	}
	for _, part := range plan.GetRemove() {
		if part.GetDrain() || part.GetSiteStop() {
			excused[part.GetPlacement()] = true
		}
	}
	w.decisions.Excuse(excused)
	for _, p := range placed(before, after) {
		w.violate(check.GotNode(p.GetName(), p.GetNode(), w.outOfService[p.GetNode()], stays(p.GetWorkload())))
	}
	for _, part := range plan.GetEndDrains() {
		w.judgeDrain(part.GetNode(), before, after)
	}
	w.judgeAvailable(before, after)
	w.judgeMoves(plan, before, after)
	w.judgeBeside(plan, before, after)
}

// judgeDrain that is over.
func (w *world) judgeDrain(node string, before, after *state.View) {
	duty := after.Node(node).GetDuty()
	if before.Node(node).GetDuty().GetDuty() != skerryv1.Duty_DUTY_DRAINING || duty.GetDuty() == skerryv1.Duty_DUTY_DRAINING {
		return
	}
	var left []string
	for _, p := range after.PlacementsOn(node) {
		if p.GetEnded() == nil && !stays(p.GetWorkload()) {
			left = append(left, p.GetName())
		}
	}
	w.violate(check.DrainEnded(node, duty.GetDrain().GetResult(), duty.GetDuty() == skerryv1.Duty_DUTY_CORDONED, left))
}

// placed are the placements that got a node.
func placed(before, after *state.View) []*skerryv1.Placement {
	var all []*skerryv1.Placement
	for _, p := range after.Placements() {
		if p.GetNode() != "" && before.Placement(p.GetProject(), p.GetName()).GetNode() == "" {
			all = append(all, p)
		}
	}
	return all
}

func endedBy(p *skerryv1.Placement, after *state.View) bool {
	return p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN &&
		after.Placement(p.GetProject(), p.GetName()).GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN
}

// judgeAvailable: the controllers do not go below what web was promised.
func (w *world) judgeAvailable(before, after *state.View) {
	workload := after.Workload(project, web)
	if workload == nil || before.Stop() != nil {
		return
	}
	var ended []string
	for _, p := range before.PlacementsOf(project, web) {
		if state.IsHealthy(p) && endedBy(p, after) {
			ended = append(ended, p.GetName())
		}
	}
	healthy := 0
	for _, p := range after.PlacementsOf(project, web) {
		if state.IsHealthy(p) {
			healthy++
		}
	}
	promised, err := manifest.Available(halfOf, manifest.Wanted(workload))
	if err != nil {
		panic("half of them is not to be read: " + err.Error())
	}
	w.violate(check.StaysAvailable(web, ended, healthy, min(promised, manifest.Wanted(workload))))
}

// takeOut a node of service: cordoned, drained or in maintenance; at the end it is
// in service again.
func (in *injector) takeOut(h *host, duty skerryv1.Duty) func() {
	w := in.world
	if w.newest.Node(h.name).GetState() != skerryv1.NodeState_NODE_STATE_READY || w.outOfService[h.name] || w.busy[h.name] {
		return nil
	}
	change := &sitev1.ChangeDuty{Node: h.name, Duty: duty, Deadline: timestamppb.New(w.newest.Time().AsTime().Add(drainTime))}
	id, done := fmt.Sprintf("duty-%s-%d", h.name, w.kernel.now), false
	w.busy[h.name] = true
	in.active++
	taken := func(outcome *sitev1.Outcome) {
		done = true
		w.outOfService[h.name] = outcome.GetErrorKind() == ""
	}
	if w.has(LoseDuty) {
		taken(&sitev1.Outcome{})
	} else {
		w.ask(id, &sitev1.Entry{Change: &sitev1.Entry_ChangeDuty{ChangeDuty: change}}, taken)
	}
	var back func()
	back = func() {
		if !done {
			w.kernel.after(time.Second, back)
			return
		}
		delete(w.outOfService, h.name)
		end := &sitev1.Entry{Change: &sitev1.Entry_ChangeDuty{ChangeDuty: &sitev1.ChangeDuty{Node: h.name}}}
		w.ask(id+"-end", end, func(*sitev1.Outcome) {
			in.active--
			delete(w.busy, h.name)
		})
	}
	return back
}

// lookAtDrains: each one ends, or is given up in time, while somebody
// coordinates.
func (w *world) lookAtDrains() {
	for i, h := range w.hosts {
		duty := w.newest.Node(h.name).GetDuty()
		late := duty.GetDuty() == skerryv1.Duty_DUTY_DRAINING && duty.GetDrain().GetDeadline() != nil &&
			w.newest.Time().AsTime().After(duty.GetDrain().GetDeadline().AsTime())
		switch at := w.coordinatorHost(); {
		case !late || at < 0 || !w.inReach(at):
			w.late[i] = notGood
		case w.late[i] == notGood:
			w.late[i] = w.kernel.now
		case w.kernel.now-w.late[i] > drainEnds:
			w.violate(&check.Violation{Rule: check.DrainEnds, Message: fmt.Sprintf("the drain of %s goes on %v after its deadline", h.name, w.kernel.now-w.late[i])})
		}
	}
}
