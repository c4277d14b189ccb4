package sim

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// tidyEvery is how often people look at rollouts that are held up, when faults are
// over.
const tidyEvery = 5 * time.Second

// steer a rollout, mostly one that is under way, whether that makes sense or not.
func (c *client) steer() *sitev1.Entry {
	action := []skerryv1.SteerAction{
		skerryv1.SteerAction_STEER_ACTION_PAUSE, skerryv1.SteerAction_STEER_ACTION_RESUME,
		skerryv1.SteerAction_STEER_ACTION_PROMOTE, skerryv1.SteerAction_STEER_ACTION_PROMOTE,
		skerryv1.SteerAction_STEER_ACTION_ABORT, skerryv1.SteerAction_STEER_ACTION_ROLL_BACK,
	}[c.rng.IntN(6)]
	name := steered[c.rng.IntN(len(steered))]
	for range 4 {
		if view := c.world.newest; c.rng.IntN(4) == 0 || !view.Rollout(project, name).Done() {
			break
		}
		name = steered[c.rng.IntN(len(steered))]
	}
	return steerEntry(name, action)
}

func steerEntry(workload string, action skerryv1.SteerAction) *sitev1.Entry {
	return &sitev1.Entry{Change: &sitev1.Entry_SteerRollout{SteerRollout: &sitev1.SteerRollout{Project: project, Workload: workload, Action: action}}}
}

// tidy what people have left half done: with the faults their patience is over.
func (w *world) tidy() {
	if w.stopped() {
		return
	}
	w.kernel.after(tidyEvery, w.tidy)
	for _, name := range formsOfAll() {
		if w.tidying[name] {
			continue
		}
		if entry := w.remedy(name); entry != nil {
			w.tidying[name] = true
			w.ask(fmt.Sprintf("tidy-%s-%d", name, w.kernel.now), entry, func(*sitev1.Outcome) { delete(w.tidying, name) })
		}
	}
}

// remedy for a rollout that waits for people; nil when it does not.
func (w *world) remedy(name string) *sitev1.Entry {
	workload, rollout := w.newest.Workload(project, name), w.newest.Rollout(project, name)
	switch {
	case workload == nil || rollout.Done():
		return nil
	case isSick(workload):
		return applyEntry(cured(workload))
	case rollout.Paused() || rollout.Newest.GetState() != skerryv1.RevisionState_REVISION_STATE_ROLLING:
		return steerEntry(name, skerryv1.SteerAction_STEER_ACTION_RESUME)
	case rollout.Beside(workload):
		return steerEntry(name, skerryv1.SteerAction_STEER_ACTION_PROMOTE)
	}
	return nil
}

// cured is a workload that gets well.
func cured(w *skerryv1.Workload) *skerryv1.Workload {
	next := proto.CloneOf(w)
	next.ResourceVersion, next.Generation, next.Created, next.Status = 0, 0, nil, nil
	next.Container.Env = nil
	return next
}

// onTheWay is what becomes of what people ask for, on its way to the log: nothing,
// unless a bug is planted.
func (w *world) onTheWay(entry *sitev1.Entry) *sitev1.Entry {
	planted := []Bug{LosePause, LoseAbort, LoseCanary, LoseColors, LoseAfter, LoseRetries, LoseStop, HurryStop, LoseRecreate, LoseExclusive, StrayMoves, TakeWrong}
	if !slices.Contains(planted, w.options.Bug) {
		return entry
	}
	entry = proto.CloneOf(entry)
	if steer := entry.GetSteerRollout(); steer != nil {
		w.distortSteer(entry, steer)
	}
	for _, resource := range entry.GetApplyResources().GetResources() {
		if workload := resource.GetWorkload(); workload != nil {
			w.distort(workload)
		}
	}
	if change := entry.GetStartRebalance(); change != nil && w.has(StrayMoves) {
		w.stray(change)
	}
	if w.has(TakeWrong) && w.wrong[entry.GetRequestId()] != "" {
		entry.GetApplyResources().Resources = entry.GetApplyResources().GetResources()[:1]
	}
	if stop := entry.GetStopSite(); stop != nil && w.has(LoseStop) {
		entry.Change = &sitev1.Entry_StartSite{StartSite: &sitev1.StartSite{}}
	} else if stop != nil && w.has(HurryStop) {
		stop.Deadline = w.newest.Stamp().Message().GetTime()
	}
	return entry
}

func (w *world) distortSteer(entry *sitev1.Entry, steer *sitev1.SteerRollout) {
	pause, abort := skerryv1.SteerAction_STEER_ACTION_PAUSE, skerryv1.SteerAction_STEER_ACTION_ABORT
	switch {
	case w.has(LosePause) && steer.GetAction() == pause:
		entry.Change = &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{}}
	case w.has(LoseAbort) && steer.GetAction() == abort:
		steer.Action = pause
	}
}

func (w *world) distort(workload *skerryv1.Workload) {
	switch {
	case w.has(LoseCanary) && workload.GetName() == canary, w.has(LoseColors) && workload.GetName() == colors:
		workload.Update.Strategy, workload.Update.MaxUnavailable = "rolling", 10
	case w.has(LoseRecreate) && workload.GetName() == phoenix:
		workload.Update.Strategy = manifest.Rolling
	case w.has(LoseExclusive) && workload.GetName() == lone:
		workload.Partition.Mode, workload.Partition.Lease, workload.Partition.ReplaceAfter = manifest.Replicate, "", "0s"
	case w.has(LoseAfter):
		workload.After = nil
	case w.has(LoseRetries) && workload.GetRunToCompletion() != nil:
		workload.RunToCompletion.Retries = proto.Uint32(1000)
	}
}
