package main

import (
	"context"
	"io"
	"log/slog"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"skerry.dev/agent/config"
	"skerry.dev/agent/guard"
	"skerry.dev/agent/probe"
	"skerry.dev/shared/cli"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// guardGC and guardMemory keep the guard's heap small, which is locked.
	guardGC     = 25
	guardMemory = 24 << 20
)

func guardCommand(system env.System) *cobra.Command {
	var dir, watchdog string
	cmd := &cobra.Command{
		Use:   "guard",
		Short: "End exclusive placements when their leases end (the agent starts it)",
		Long: `Ends what is exclusive on this machine when its lease ends, also while the agent
is stopped, stuck or dead. The agent starts it as soon as something exclusive is to
run here; it ends when it has had nothing to guard for a minute.`,
		GroupID: cli.GroupSite,
		Args:    cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !filepath.IsAbs(dir) {
				return problem.New(problem.Invalid, "guard", "%q is not an absolute path", dir).WithField("run-dir")
			}
			return runGuard(cmd.Context(), system, dir, watchdog, cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&dir, "run-dir", config.Default().RunDir, "the agent's runDir")
	cmd.Flags().StringVar(&watchdog, "watchdog", "", "device of the machine's watchdog, which resets it when something cannot be ended")
	return cmd
}

func runGuard(ctx context.Context, system env.System, dir, watchdog string, log io.Writer) error {
	signal.Ignore(syscall.SIGPIPE) // whoever read its log may be gone
	debug.SetGCPercent(guardGC)
	debug.SetMemoryLimit(guardMemory)
	run, err := probe.Run()
	if err != nil {
		return err
	}
	return guard.Run(ctx, guard.Config{
		Dir: dir, Watchdog: watchdog, Run: run, Env: system, Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
}
