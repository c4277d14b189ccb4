package agent

import (
	"context"
	"errors"
	"time"

	"skerry.dev/agent/identity"
	"skerry.dev/shared/env"
)

// waitEvery is how often an agent without a site looks whether it has one now.
const waitEvery = 500 * time.Millisecond

// waitForSite returns the node's identity, as soon as it has one.
func waitForSite(ctx context.Context, options Options) (*identity.Node, error) {
	dir := identity.Dir(options.Config.StateDir)
	for told := false; ; told = true {
		node, err := identity.Load(options.Env, dir)
		if !errors.Is(err, identity.ErrNone) {
			return node, err
		}
		if !told {
			options.Logger.Info("this machine belongs to no site yet; the agent waits: " +
				"run `skerry site init NAME` to begin a site, or `skerry join TOKEN ADDRESS` to join one")
		}
		if err := env.Sleep(ctx, options.Env.Clock, waitEvery); err != nil {
			return nil, err
		}
	}
}
