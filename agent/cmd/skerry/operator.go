package main

import (
	"context"
	"os"
	"time"

	"github.com/spf13/cobra"

	"skerry.dev/agent/identity"
	"skerry.dev/agent/rootapi"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/cli"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// createTime bounds the creation of an operator by root.
const createTime = 15 * time.Second

func operatorCreateCommand(system env.System) *cobra.Command {
	var path, role string
	var local bool
	cmd := &cobra.Command{
		Use:   "create NAME --local",
		Short: "Make an operator as root on a voter, when all credentials are lost",
		Long: `Create makes an operator without any other: for when the credentials of all are
lost. It must be run by root, on a machine that is a voter of the site, while a
majority of the voters is up. The key is made here, in $SKERRY_HOME or
~/.config/skerry, and stays here.

Everybody sees it: it is in the audit log as done by the node, an event warns of
it, and for seven days skerry status tells of it.

Where there still is an operator, use a token instead: skerry token create --role
operator --name NAME --grant ROLE.`,
		Example: "  sudo skerry operator create rescue --local",
		Args:    cli.Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !local {
				return problem.New(problem.Invalid, "operator "+args[0], "only --local makes an operator in this way").
					WithHint("an operator makes others by a token: skerry token create --role operator --name %s --grant ROLE", args[0])
			}
			if os.Geteuid() != 0 {
				return problem.New(problem.Forbidden, "operator "+args[0], "only root on a voter can make an operator locally").
					WithHint("sudo skerry operator create %s --local", args[0])
			}
			return createLocally(cmd, system, path, args[0], role)
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().BoolVar(&local, "local", false, "by the agent of this machine, without any operator's credentials")
	cmd.Flags().StringVar(&role, "role", "admin", "what the operator may do on the whole site: `ROLE` is admin, operator, viewer or auditor")
	return cmd
}

func createLocally(cmd *cobra.Command, system env.System, path, name, role string) error {
	settings, err := loadConfig(path)
	if err != nil {
		return err
	}
	home, err := operatorHome()
	if err != nil {
		return err
	}
	node, err := identity.Load(system, identity.Dir(settings.StateDir))
	if err == identity.ErrNone {
		return problem.New(problem.Invalid, settings.StateDir, "this machine belongs to no site").
			WithHint("run it on a voter of the site")
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), createTime)
	defer cancel()
	dir, err := identity.CreateLocalOperator(ctx, system, identity.LocalOptions{
		Name: name, Role: role, Node: node, Home: home,
		Ask: func(ctx context.Context, request *sitev1.CreateOperatorRequest) (*sitev1.JoinResponse, error) {
			return rootapi.CreateOperator(ctx, system.Net, settings.RootSocket(), request)
		},
	})
	if err != nil {
		return err
	}
	cmd.Printf("operator %s of site %s, credentials in %s\n", name, node.Site(), dir)
	cmd.Println("this is in the audit log, and skerry status tells of it for seven days")
	return nil
}
