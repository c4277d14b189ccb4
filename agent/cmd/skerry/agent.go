package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"skerry.dev/agent"
	"skerry.dev/agent/config"
	"skerry.dev/agent/probe"
	"skerry.dev/agent/runtime/containerd"
	"skerry.dev/agent/runtime/libvirt"
	"skerry.dev/agent/runtime/mixed"
	"skerry.dev/shared/cli"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

func agentCommand(system env.System) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run this machine's agent, in the foreground",
		Long: `Runs the daemon of this machine until it is told to end with SIGTERM or SIGINT.
Containers go on running meanwhile; the next agent finds them. A machine that
belongs to no site waits until "skerry site init" or "skerry join" was run.`,
		GroupID: cli.GroupSite,
		Args:    cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			settings, err := loadConfig(path)
			if err != nil {
				return err
			}
			return runAgent(cmd.Context(), system, settings, cmd.ErrOrStderr())
		},
	}
	configFlag(cmd, &path)
	return cmd
}

func configFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "config", config.DefaultPath, "the agent's configuration")
}

// loadConfig reads the configuration and finds the machine's address.
func loadConfig(path string) (config.Config, error) {
	settings, err := config.Load(path)
	if err != nil || settings.Address != "" {
		return settings, err
	}
	settings.Address, err = probe.Address()
	return settings, err
}

// runAgent runs one agent on the real machine.
func runAgent(ctx context.Context, system env.System, settings config.Config, log io.Writer) error {
	if os.Geteuid() != 0 {
		return problem.New(problem.Forbidden, "agent", "only root can run containers").
			WithHint("systemctl start skerry, or sudo skerry agent")
	}
	unix.Umask(0o077) // also for the files of the log's engine
	lock, err := lockState(settings.StateDir)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: settings.LogLevel}))
	runtime, err := openRuntime(system, settings, logger)
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	err = agent.Run(ctx, agent.Options{
		Config: settings, Runtime: runtime, NewVoter: newVoter, Version: version, Built: built(), Env: system, Logger: logger,
	})
	return errors.Join(err, runtime.Close(), lock.Close())
}

func openRuntime(system env.System, settings config.Config, logger *slog.Logger) (*mixed.Driver, error) {
	containers, err := containerd.New(containerd.Config{
		Address: settings.Containerd.Address, Namespace: settings.Containerd.Namespace,
		StateDir: settings.StateDir, RunDir: settings.RunDir,
		CNIPluginDir: settings.CNI.PluginDir, CNISubnet: settings.CNI.Subnet,
		CgroupParent: settings.CgroupParent, WorkloadAPIDir: settings.WorkloadAPIDir(), Env: system, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	machines, err := libvirt.New(libvirt.Config{
		Address: settings.Libvirt.Address, Dir: settings.VMDir(), RunDir: settings.RunDir, Emulation: settings.Libvirt.Emulation,
		Env: system, Logger: logger,
	})
	if err != nil {
		return nil, errors.Join(err, containers.Close())
	}
	return mixed.New(containers, machines, system.Clock, logger), nil
}
