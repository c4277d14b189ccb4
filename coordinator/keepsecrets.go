package coordinator

import (
	"bytes"
	"context"
	"time"

	"skerry.dev/coordinator/secrets"
	"skerry.dev/coordinator/state"
	"skerry.dev/shared/env"
)

const (
	// secretsEvery is how often the coordinator looks who can open the site's key
	// for secrets.
	secretsEvery = 250 * time.Millisecond
	secretsTime  = 5 * time.Second
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
		if able := whoOpen(view, v.Node); len(able) > 0 {
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

// whoOpen are the replicas of other voters to whose keys the present version of
// the site's key is sealed.
func whoOpen(view *state.View, self string) []uint64 {
	var able []uint64
	for _, voter := range view.Voters() {
		for _, wrap := range secrets.Present(view).GetWraps() {
			if voter.GetName() != self && wrap.GetNode() == voter.GetName() && bytes.Equal(wrap.GetPublicKey(), voter.GetSealingKey()) {
				able = append(able, voter.GetRaftId())
			}
		}
	}
	return able
}
