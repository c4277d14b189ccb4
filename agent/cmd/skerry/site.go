package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"skerry.dev/agent"
	"skerry.dev/agent/config"
	"skerry.dev/agent/identity"
	"skerry.dev/agent/probe"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/cli"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// startTime is how long a new site may take to answer.
	startTime  = 15 * time.Second
	startEvery = 100 * time.Millisecond
)

func siteInitCommand(system env.System) *cobra.Command {
	var path, operator string
	cmd := &cobra.Command{
		Use:   "init NAME",
		Short: "Begin a site with this machine as its first node",
		Long: `Begins a site: makes its certificate authority, the identity of this machine as
the first node, and yours as the first operator, in $SKERRY_HOME or
~/.config/skerry. NAME is also the trust domain of the site's SPIFFE identities
and cannot be changed later.`,
		Example: "  skerry site init harbour",
		Args:    cli.Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			settings, err := loadConfig(path)
			if err != nil {
				return err
			}
			home, err := operatorHome()
			if err != nil {
				return err
			}
			init, err := beginSite(cmd.Context(), system, settings, home, args[0], operator)
			if err != nil {
				return err
			}
			cmd.Printf("site %s begun, ID %s\n", init.GetName(), init.GetSiteId())
			cmd.Printf("node %s at %s\n", init.GetNode().GetName(), init.GetNode().GetAddress())
			cmd.Printf("operator %s, credentials in %s\n", operator, filepath.Join(home, init.GetName()))
			return tellNext(cmd, system, settings, init.GetName())
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().StringVar(&operator, "operator", "admin", "name of the first operator")
	return cmd
}

// beginSite writes everything that a new site needs.
func beginSite(ctx context.Context, system env.System, settings config.Config, home, site, operator string) (*sitev1.InitSite, error) {
	node, err := thisNode(ctx, settings)
	if err != nil {
		return nil, err
	}
	id, err := uuid.NewRandomFromReader(system.Rand)
	if err != nil {
		return nil, err
	}
	node.Id = id.String()
	return identity.InitSite(system, identity.InitOptions{
		Site: site, Operator: operator, Node: node, StateDir: settings.StateDir, Home: home,
		Keep: func(init *sitev1.InitSite) error { return agent.KeepInit(system.FS, settings.StateDir, init) },
	})
}

// thisNode describes this machine.
func thisNode(ctx context.Context, settings config.Config) (*skerryv1.Node, error) {
	if os.Geteuid() != 0 {
		return nil, problem.New(problem.Forbidden, settings.StateDir, "only root can make this machine a node")
	}
	capacity, err := probe.Capacity(ctx, settings.StateDir, settings.Devices)
	if err != nil {
		return nil, err
	}
	return &skerryv1.Node{
		Name: settings.Name, Zone: settings.Zone, Labels: settings.Labels,
		Address: settings.APIAddress(), GossipAddress: settings.GossipAddress(),
		Capacity: capacity, Version: version,
	}, nil
}

// tellNext waits for the new site when an agent runs already, and says what to
// do next.
func tellNext(cmd *cobra.Command, system env.System, settings config.Config, site string) error {
	if !agentRuns(settings.StateDir) {
		cmd.Println("next: start the agent, with systemctl start skerry or skerry agent")
		return nil
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), startTime)
	defer cancel()
	if err := awaitSite(ctx, system, site); err != nil {
		return problem.New(problem.Unavailable, "site "+site, "the agent runs, but the site does not answer after %s: %w", startTime, err).
			WithHint("its log says why: journalctl -u skerry")
	}
	cmd.Println("the site answers")
	cmd.Println("next: skerry token create --role node, then on another machine skerry join TOKEN " + settings.APIAddress())
	return nil
}

func awaitSite(ctx context.Context, system env.System, site string) error {
	for {
		c, err := dialSite(ctx, system, cli.Target{Site: site})
		if err != nil {
			return err
		}
		status, err := c.Site().Status(ctx, connect.NewRequest(&skerryv1.StatusRequest{}))
		if err == nil && status.Msg.GetCoordinator() != "" {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("there is no coordinator yet")
		}
		if env.Sleep(ctx, system.Clock, startEvery) != nil {
			return err
		}
	}
}
