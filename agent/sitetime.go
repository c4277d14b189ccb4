package agent

import (
	"context"
	"fmt"
	"time"

	"skerry.dev/shared/env"
	"skerry.dev/shared/sitetime"
)

const (
	// lookAtTime is how often site time is looked at, keepTimeEvery how far it
	// must have gone on to be written to the disk again.
	lookAtTime    = 10 * time.Second
	keepTimeEvery = 5 * time.Minute
)

// keepTime writes site time to the ledger now and then, so that it goes on from
// there after a power cut.
func (a *Agent) keepTime(ctx context.Context) error {
	for {
		now, kept := a.identity.SiteTime().Read(), a.ledger.Time()
		if now.Era != kept.Era || now.Time.Sub(kept.Time) >= keepTimeEvery {
			if err := a.ledger.KeepTime(now); err != nil {
				a.Logger.Warn("site time could not be kept", "error", err)
			}
		}
		if err := env.Sleep(ctx, a.Env.Clock, lookAtTime); err != nil {
			return err
		}
	}
}

// clockTrouble says that this host's clock is off; empty when it is not, and
// while nothing was heard of site time.
func (a *Agent) clockTrouble() string {
	if a.session.Coordinator() == "" {
		return ""
	}
	off := a.Env.Clock.Now().Sub(a.identity.Now())
	if off.Abs() <= sitetime.Tolerated {
		return ""
	}
	return fmt.Sprintf("the clock of this host is %s by site time: skerry site time says which of them is wrong and what to do; "+
		"containers see the host's clock", sitetime.Off(off))
}
