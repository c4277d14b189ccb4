package sim

import (
	"time"

	"skerry.dev/agent/reconcile"
	grants "skerry.dev/coordinator/leases"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// leaseLead is a coordinator of a leaseRun, for a term.
type leaseLead struct {
	run  *leaseRun
	host *leaseNode
	term uint64
	// frozen is the state as it was when somebody followed it; nil while nobody has.
	frozen *state.View
	table  *grants.Table
}

// view of the state that it knows.
func (l *leaseLead) view() *state.View {
	if l.frozen != nil {
		return l.frozen
	}
	return l.run.store.View()
}

// elect somebody; the one before may not know of it for long.
func (r *leaseRun) elect() {
	term, host := uint64(1), r.nodes[r.rng.IntN(leaseHosts)]
	for range leaseHosts {
		if host.cut == 0 && host.off == 0 {
			break
		}
		host = r.nodes[(int(host.name[1]-'0'))%leaseHosts]
	}
	if r.lead != nil {
		term = r.lead.term + 1
		r.lead.frozen = r.store.View()
		r.retired = append(r.retired, r.lead)[max(0, len(r.retired)-1):]
	}
	lead := &leaseLead{run: r, host: host, term: term}
	r.lead = lead
	// Its first commit comes a little later; it serves nobody before.
	r.kernel.after(r.between(time.Millisecond, 300*time.Millisecond), func() {
		began := host.now()
		if r.bug == EagerCoordinator {
			began -= time.Hour
		}
		lead.table = grants.New(term, began)
		lead.decide(host.boots)
	})
}

// heardFrom is the coordinator that a node has contact with, which may have been
// followed; nil for none.
func (r *leaseRun) heardFrom(n *leaseNode) *leaseLead {
	lead := r.lead
	if len(r.retired) > 0 && r.rng.IntN(4) == 0 {
		lead = r.retired[r.rng.IntN(len(r.retired))]
	}
	if lead.table == nil || lead.host.off > 0 || lead.host != n && (n.cut > 0 || lead.host.cut > 0) {
		return nil
	}
	return lead
}

// renew leases: after a round of a majority, which only the last coordinator can get.
func (l *leaseLead) renew(from *leaseNode, asks []*sitev1.LeaseAsk, reply func(*sitev1.RenewLeasesResponse)) {
	r, boots := l.run, l.host.boots
	alive := func(do func()) func() {
		return func() {
			switch {
			case boots != l.host.boots || l.host.off > 0 || l.host.down:
			case l.host.pauses > 0:
				l.host.due = append(l.host.due, do)
			default:
				do()
			}
		}
	}
	r.kernel.after(r.between(0, 300*time.Millisecond), alive(func() {
		if from.cut > 0 && from != l.host {
			return
		}
		received := l.host.now()
		r.kernel.after(r.between(0, 100*time.Millisecond), func() { // the majority says so
			if r.lead != l || l.host.cut > 0 {
				return
			}
			view := r.store.View()
			r.kernel.after(r.between(0, 100*time.Millisecond), alive(func() {
				reply(l.table.Answer(view, from.name, asks, received, l.host.now()))
			}))
		})
	}))
}

// decide now and then what is to run where; to call a lease ended at any moment is
// its right.
func (l *leaseLead) decide(boots int) {
	r := l.run
	if r.lead != l {
		return
	}
	if boots != l.host.boots || l.host.off > 0 || l.host.down {
		r.replace(l.host) // its process is no more
		return
	}
	r.kernel.after(r.between(100*time.Millisecond, 300*time.Millisecond), func() { l.decide(boots) })
	if l.host.pauses > 0 || l.host.cut > 0 {
		return
	}
	for _, workload := range []string{idle, lone} {
		l.decideOn(workload)
	}
}

func (l *leaseLead) decideOn(workload string) {
	r := l.run
	view := r.store.View()
	for _, p := range view.PlacementsOf(project, workload) {
		if !state.MayRun(p) {
			continue
		}
		n := r.nodes[p.GetNode()[1]-'1']
		lost := n.cut > 0 || n.off > 0 || n.down || n.pauses > 0 || n.permits[reconcile.InstanceID(project, p.GetName())].Over
		if !lost && r.rng.IntN(100) > 0 {
			return // all is well
		}
		if l.table.Lapse(project, p.GetName(), manifest.LeaseOf(p.GetSpec()), l.host.now()) > 0 {
			return
		}
		r.lapses++
		l.plan(&sitev1.Plan{Lapse: []*sitev1.LeaseLapse{{Project: project, Placement: p.GetName()}}})
		return
	}
	w := view.Workload(project, workload)
	l.plan(&sitev1.Plan{Create: []*sitev1.NewPlacement{{
		Project: project, Workload: workload, Generation: w.GetGeneration(), Bind: r.nodes[r.rng.IntN(leaseHosts)].name,
	}}})
}

// plan something: it is in the log at once, or never.
func (l *leaseLead) plan(plan *sitev1.Plan) {
	plan.BaseIndex = l.run.store.View().Index()
	l.run.commit(&sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: plan}})
}

// tellGone that nothing of a placement is left on a node.
func (r *leaseRun) tellGone(n *leaseNode, p *skerryv1.Placement) {
	if n.cut > 0 || r.lead.table == nil || r.store.View().Placement(project, p.GetName()) == nil {
		return
	}
	r.commit(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{{
		Node: n.name, Placements: []*sitev1.PlacementReport{{
			Project: project, Placement: p.GetName(), Gone: true, Status: &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_STOPPED},
		}},
	}}}}})
}
