package supervisor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"time"

	"skerry.dev/agent/reconcile"
	"skerry.dev/agent/runtime"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// secretsRetry is the pause after files of secrets that could not be replaced.
const secretsRetry = 5 * time.Second

// Secrets opens what containers name.
type Secrets interface {
	Open(orders *sitev1.Assignments, project string, container *skerryv1.Container) (runtime.Secrets, error)
}

// prepare gives the driver what the container may see of secrets.
func (s *Supervisor) prepare(ctx context.Context, spec runtime.Spec) error {
	if len(spec.Container.GetSecrets()) > 0 {
		opened, err := s.Secrets.Open(s.Ledger.Current(), spec.Project, spec.Container)
		if err != nil {
			return err
		}
		spec.Secrets = opened
	}
	spec.Volumes = reconcile.VolumesOf(spec, s.Ledger.Current().GetVolumes())
	return s.Driver.Prepare(ctx, spec)
}

// secretLoop brings changed secrets into the files of containers that run.
func (s *Supervisor) secretLoop(ctx context.Context) error {
	keeper, can := s.Driver.(runtime.SecretKeeper)
	if !can {
		<-ctx.Done()
		return ctx.Err()
	}
	given := map[string][]byte{}
	timer := s.Env.Clock.NewTimer(secretsRetry)
	defer timer.Stop()
	for {
		changed := s.Ledger.Changed()
		given = s.giveSecrets(ctx, keeper, given)
		timer.Reset(secretsRetry)
		select {
		case <-changed:
		case <-timer.C():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// giveSecrets replaces the files of those whose secrets have changed since they
// were given, and returns what is given now.
func (s *Supervisor) giveSecrets(ctx context.Context, keeper runtime.SecretKeeper, given map[string][]byte) map[string][]byte {
	orders, now := s.Ledger.Current(), map[string][]byte{}
	for _, p := range orders.GetPlacements() {
		print := secretsOf(orders, p)
		if print == nil || p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
			continue
		}
		spec := reconcile.SpecOf(p)
		if bytes.Equal(given[spec.ID], print) {
			now[spec.ID] = print
			continue
		}
		opened, err := s.Secrets.Open(orders, spec.Project, spec.Container)
		if err == nil {
			spec.Secrets = opened
			err = keeper.UpdateSecrets(ctx, spec)
		}
		if err != nil && ctx.Err() == nil {
			s.Logger.Warn("files of secrets could not be replaced; it is tried again", "instance", spec.ID, "error", err)
			continue
		}
		now[spec.ID] = print
	}
	return now
}

// secretsOf tells one state of a placement's secrets from another; nil when it
// has no files of secrets.
func secretsOf(orders *sitev1.Assignments, p *skerryv1.Placement) []byte {
	h, any := sha256.New(), false
	for _, use := range p.GetSpec().GetContainer().GetSecrets() {
		if use.GetPath() == "" {
			continue
		}
		any = true
		for _, delivered := range orders.GetSecrets() {
			if delivered.GetProject() == p.GetProject() && delivered.GetName() == use.GetSecret() {
				sum := sha256.Sum256(delivered.GetCiphertext())
				h.Write(sum[:])
			}
		}
	}
	if !any {
		return nil
	}
	return h.Sum(nil)
}
