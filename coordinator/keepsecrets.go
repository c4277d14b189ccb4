package coordinator

import (
	"context"
	"time"

	"skerry.dev/shared/env"
)

const (
	// secretsEvery is how often the coordinator looks who can open the site's key
	// for secrets.
	secretsEvery = 250 * time.Millisecond
	secretsTime  = 5 * time.Second
	// handOverEvery bounds how often the leadership moves for the key's sake, in
	// case nobody can open it whatever the records say.
	handOverEvery = 10 * time.Second
)

// keepSecrets sees to it that the site has a key for secrets, that those with a
// replica can open it and nobody else, and that all data keys are under its
// present version. A coordinator that cannot open it hands the leadership to a
// voter that can.
func (v *Voter) keepSecrets(ctx context.Context) error {
	told := ""
	for {
		if err := env.Sleep(ctx, v.Env.Clock, secretsEvery); err != nil {
			return err
		}
		if !v.node.Status().Serving {
			continue
		}
		trouble := ""
		if err := v.keepSecretsOnce(ctx); err != nil {
			trouble = err.Error()
		}
		if trouble != "" && trouble != told {
			v.Logger.Warn("the site's key for secrets is not as it should be", "error", trouble)
		}
		told = trouble
	}
}

func (v *Voter) keepSecretsOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, secretsTime)
	defer cancel()
	v.secrets.Writing.Lock()
	defer v.secrets.Writing.Unlock()
	view := v.store.View()
	entry, err := v.secrets.Next(view)
	if err != nil {
		if able := v.secrets.Able(view); len(able) > 0 && v.mayHandOver() {
			v.Logger.Info("this node cannot open the site's key for secrets: another voter takes over")
			return v.node.TransferLeadership(ctx, able...)
		}
		return err
	}
	if entry == nil {
		return nil
	}
	entry.RequestId, entry.Principal = v.newID(), "coordinator"
	outcome, err := v.Propose(ctx, entry)
	if err == nil && outcome.GetErrorKind() != "" {
		v.Logger.Warn("the state refused a change of the site's key for secrets", "error", outcome.GetError())
	}
	return err
}

// mayHandOver at most once in a while.
func (v *Voter) mayHandOver() bool {
	now := v.Env.Clock.Elapsed()
	if v.handedOver != 0 && now-v.handedOver < handOverEvery {
		return false
	}
	v.handedOver = now
	return true
}
