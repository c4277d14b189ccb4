package whatif

import (
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/lifecycle"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// maxSteps of the controllers are tried.
	maxSteps = 2000
	// stride is the time between two steps: whatever must settle has.
	stride = 5 * time.Second
	// patience is more than any setting makes the controllers wait.
	patience = 25 * time.Hour
)

// world is a fork of the state, with nodes and time of its own.
type world struct {
	store *state.Store
	core  *lifecycle.Core
	now   time.Duration
	// present placements at the beginning; what nodes say of those is true.
	present map[string]bool
}

func newWorld(store *state.Store, self string) *world {
	config := lifecycle.Defaults(self)
	config.Still = true
	config.Patient = true
	w := &world{store: store, core: lifecycle.New(config, 0), present: map[string]bool{}}
	for _, p := range store.View().Placements() {
		w.present[keyOf(p)] = true
	}
	return w
}

func keyOf(p *skerryv1.Placement) string { return p.GetProject() + "/" + p.GetName() }

func (w *world) apply(entry *sitev1.Entry) *sitev1.Outcome {
	view := w.store.View()
	entry.Time = timestamppb.New(view.Time().AsTime().Add(time.Millisecond))
	return w.store.Apply(view.Index()+1, entry)
}

// settle lets the controllers work until nothing changes any more, however long
// they would wait; false when it does not come to that.
func (w *world) settle() bool {
	waited := false
	for range maxSteps {
		w.now += stride
		acted := w.step()
		switch {
		case acted:
			waited = false
		case waited:
			return true
		default:
			w.now += patience
			waited = true
		}
	}
	return false
}

// step of the controllers, then of the nodes. It tells whether anything
// happened.
func (w *world) step() bool {
	view := w.store.View()
	for _, node := range view.Nodes() {
		if node.GetState() == skerryv1.NodeState_NODE_STATE_READY {
			w.core.Heard(node.GetName(), w.now)
		}
	}
	effects := w.core.Step(w.now, view.Time().AsTime().Add(w.now), view, lifecycle.Progress{})
	for _, entry := range effects.Propose {
		w.apply(entry)
	}
	return w.obey() || len(effects.Propose) > 0
}

// obey is what nodes do that work well: what is new on them runs and is
// healthy, what is to stop is gone.
func (w *world) obey() bool {
	view, batch := w.store.View(), &sitev1.StatusBatch{}
	for _, node := range view.Nodes() {
		if node.GetState() != skerryv1.NodeState_NODE_STATE_READY {
			continue
		}
		report := &sitev1.NodeReport{Node: node.GetName()}
		for _, p := range view.PlacementsOn(node.GetName()) {
			if said := w.report(p); said != nil {
				report.Placements = append(report.Placements, said)
			}
		}
		for _, p := range view.PlacementsComingTo(node.GetName()) {
			report.Placements = append(report.Placements, migrates(p, node.GetName()))
		}
		if len(report.GetPlacements()) > 0 {
			batch.Reports = append(batch.Reports, report)
		}
	}
	if len(batch.GetReports()) == 0 {
		return false
	}
	w.apply(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: batch}})
	return true
}

// migrates is what the node says beside that of a virtual machine that moves: it has
// come, or nothing of it is left.
func migrates(p *skerryv1.Placement, node string) *sitev1.PlacementReport {
	report := &sitev1.PlacementReport{Project: p.GetProject(), Placement: p.GetName()}
	if state.HeldBy(p, node) {
		report.Migration = &sitev1.MigrationReport{Attempt: p.GetMigration().GetAttempt(), Arrived: true}
	} else {
		report.Gone = true
	}
	return report
}

// report of a placement; nil when there is nothing new.
func (w *world) report(p *skerryv1.Placement) *sitev1.PlacementReport {
	report := &sitev1.PlacementReport{Project: p.GetProject(), Placement: p.GetName()}
	status := p.GetStatus()
	switch {
	case p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP:
		report.Gone = true
		return report
	case w.present[keyOf(p)] && status.GetPhase() > skerryv1.Phase_PHASE_PREPARING:
		return nil // it is as its node says
	case status.GetPhase() == skerryv1.Phase_PHASE_RUNNING && status.GetReadiness() == skerryv1.Readiness_READINESS_HEALTHY:
		return nil
	}
	report.Status = &skerryv1.PlacementStatus{
		Phase: skerryv1.Phase_PHASE_RUNNING, Readiness: skerryv1.Readiness_READINESS_HEALTHY, Revision: status.GetRevision() + 1,
	}
	return report
}
