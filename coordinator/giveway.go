package coordinator

import (
	"context"
	"time"

	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/lifecycle"
	"skerry.dev/shared/env"
)

// giveWayAgain is the pause after an attempt that failed.
const giveWayAgain = time.Second

// giveWay hands the office over while this node stands still again and again: every
// write waits for it, and it is never silent for long enough to be replaced.
func (v *Voter) giveWay(ctx context.Context) error {
	for {
		changed := v.node.Changed()
		if status := v.node.Status(); status.Serving && status.Standstills.Due {
			if err := v.giveWayOnce(ctx, status.Standstills); err != nil && ctx.Err() == nil {
				v.Logger.Warn("the office of a coordinator that stands still could not be given away", "error", err)
				if err := env.Sleep(ctx, v.Env.Clock, giveWayAgain); err != nil {
					return err
				}
				continue
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (v *Voter) giveWayOnce(ctx context.Context, seen consensus.Standstills) error {
	view := v.store.View()
	may, err := v.whoSign(view, lifecycle.MayLead(view, v.Node))
	if err != nil {
		return err
	}
	to, tried, err := v.node.GiveWay(ctx, may)
	if err != nil || !tried {
		return err
	}
	told := v.Logger.With("standstills", seen.Count, "lost", seen.Lost, "of", consensus.StillWindow)
	if to == 0 {
		told.Warn("this node stands still again and again, so all writes wait; it stays coordinator, because no other voter that could take over answers promptly without standing still itself")
		return nil
	}
	told.Warn("this node stands still again and again, so all writes wait: another voter takes over; look at its processors, its disk, and who stops its agent",
		"to", view.NodeOfReplica(to).GetName())
	return nil
}
