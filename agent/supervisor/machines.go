package supervisor

import (
	"context"
	"time"

	"skerry.dev/agent/reconcile"
	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

// volumesAgain is the pause before volumes that could not be deleted are tried
// again.
const volumesAgain = 5 * time.Second

// imageOf a spec.
func imageOf(spec runtime.Spec) string {
	if spec.VM != nil {
		return spec.VM.GetImage()
	}
	return spec.Container.GetImage()
}

// halt pauses a virtual machine, or lets it go on.
func (s *Supervisor) halt(ctx context.Context, action reconcile.Action) error {
	if action.Kind == reconcile.Resume {
		return s.resume(ctx, action.ID)
	}
	pauser, can := s.Driver.(runtime.Pauser)
	if !can {
		return problem.New(problem.Invalid, action.ID, "this node runs no virtual machines")
	}
	return pauser.Pause(ctx, action.ID)
}

// adjust the devices of a virtual machine that runs.
func (s *Supervisor) adjust(ctx context.Context, spec runtime.Spec) error {
	adjuster, ok := s.Driver.(runtime.Adjuster)
	if !ok {
		return problem.New(problem.Invalid, spec.ID, "this node runs no virtual machines")
	}
	spec.Volumes = reconcile.VolumesOf(spec, s.Ledger.Current().GetVolumes())
	return adjuster.Adjust(ctx, spec)
}

// Deleted is closed when a volume was deleted, for the site to hear of it at once.
func (s *Supervisor) Deleted() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deleted
}

func (s *Supervisor) tellDeleted() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.deleted)
	s.deleted = make(chan struct{})
}

// volumeLoop deletes the volumes that are to be deleted with their data. What the
// orders do not name is kept.
func (s *Supervisor) volumeLoop(ctx context.Context) error {
	keeper, can := s.Driver.(runtime.VolumeKeeper)
	if !can {
		<-ctx.Done()
		return ctx.Err()
	}
	timer := s.Env.Clock.NewTimer(volumesAgain)
	defer timer.Stop()
	deleted := map[string]bool{}
	for {
		changed, before := s.Ledger.Changed(), deleted
		deleted = map[string]bool{}
		for _, v := range s.Ledger.Current().GetVolumes() {
			if !v.GetStatus().GetDeleting() {
				continue
			}
			if err := keeper.DeleteVolume(ctx, v.GetProject(), v.GetName()); err == nil {
				deleted[v.GetProject()+"/"+v.GetName()] = true
			} else if ctx.Err() == nil {
				s.Logger.Warn("a volume could not be deleted; it is tried again", "volume", v.GetName(), "project", v.GetProject(), "error", err)
			}
		}
		for volume := range deleted {
			if !before[volume] {
				s.tellDeleted()
				break
			}
		}
		timer.Reset(volumesAgain)
		select {
		case <-changed:
		case <-timer.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
