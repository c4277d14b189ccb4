package main

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"skerry.dev/agent"
	"skerry.dev/agent/config"
	"skerry.dev/agent/identity"
	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/cli"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// joinTime bounds a join with all its attempts.
	joinTime  = 30 * time.Second
	joinEvery = 500 * time.Millisecond
)

func joinCommand(system env.System) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "join TOKEN ADDRESS",
		Short: "Join a site: this machine as a node, or you as an operator, as the token says",
		Long: `Joins a site by way of any of its nodes, at ADDRESS (HOST or HOST:PORT). The
token pins the site: nothing secret is sent to anybody else. It is used up by the
first machine that brings it; the same machine may repeat a join that broke off.`,
		Example: "  skerry join skerry1.node.9f2c... node-1:7600",
		GroupID: cli.GroupSite,
		Args:    cli.Args(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			token, err := certs.ParseToken(args[0])
			if err != nil {
				return err
			}
			address, err := nodeAddress(args[1])
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), joinTime)
			defer cancel()
			if token.Role == string(certs.RoleOperator) {
				return joinOperator(ctx, cmd, system, token, address)
			}
			return joinNode(ctx, cmd, system, path, token, address)
		},
	}
	configFlag(cmd, &path)
	return cmd
}

// nodeAddress adds the usual port.
func nodeAddress(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = strings.Trim(text, "[]"), "7600"
	}
	if host == "" || port == "" || strings.ContainsAny(host, " /@") {
		return "", problem.New(problem.Invalid, text, "it is not an address such as node-1:7600")
	}
	return net.JoinHostPort(host, port), nil
}

func joinOperator(ctx context.Context, cmd *cobra.Command, system env.System, token certs.Token, address string) error {
	home, err := operatorHome()
	if err != nil {
		return err
	}
	name, err := join(ctx, system, identity.JoinOptions{Token: token, Address: address, Home: home})
	if err != nil {
		return err
	}
	cmd.Printf("operator %s of site %s, credentials in %s/%s\n", name, token.Site, home, token.Site)
	return nil
}

func joinNode(ctx context.Context, cmd *cobra.Command, system env.System, path string, token certs.Token, address string) error {
	settings, err := loadConfig(path)
	if err != nil {
		return err
	}
	node, err := thisNode(ctx, settings)
	if err != nil {
		return err
	}
	name, err := join(ctx, system, identity.JoinOptions{
		Token: token, Address: address, Node: node, StateDir: settings.StateDir,
		Keep: func(answer *sitev1.JoinResponse) error {
			return agent.KeepJoin(system.FS, settings.StateDir, token.Site, token.SiteID, answer)
		},
	})
	if err != nil {
		return err
	}
	cmd.Printf("node %s of site %s\n", name, token.Site)
	tellStart(cmd, settings)
	return nil
}

func tellStart(cmd *cobra.Command, settings config.Config) {
	if agentRuns(settings.StateDir) {
		cmd.Println("the agent takes over from here; skerry node list shows the node")
		return
	}
	cmd.Println("next: start the agent, with systemctl start skerry or skerry agent")
}

// join repeats what may pass: a coordinator that is being elected, a CA that
// the site does not trust yet.
func join(ctx context.Context, system env.System, options identity.JoinOptions) (string, error) {
	for {
		name, err := identity.Join(ctx, system, options)
		if err == nil || problem.KindOf(err) != problem.Unavailable || ctx.Err() != nil {
			return name, err
		}
		if env.Sleep(ctx, system.Clock, joinEvery) != nil {
			return "", err
		}
	}
}
