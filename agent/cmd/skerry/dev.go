package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"skerry.dev/agent/config"
	"skerry.dev/agent/identity"
	"skerry.dev/shared/cli"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	devSite = "dev"
	// devTime bounds the start of containerd, and the cleaning up.
	devTime = 20 * time.Second
)

func devCommand(system env.System) *cobra.Command {
	var dir string
	var port int
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a site of one node, to try things out",
		Long: `Runs a site of one node on this machine until Ctrl-C, with everything in one
directory: the agent's state, a containerd of its own and the operator's
credentials. What runs on the site ends with it; its state stays for the next
time. Remove the directory to begin anew.`,
		GroupID: cli.GroupSite,
		Args:    cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if port < 1 || port > 65534 {
				return problem.New(problem.Invalid, "", "--port must be 1 to 65534, not %d", port)
			}
			absolute, err := filepath.Abs(dir)
			if err != nil {
				return err
			}
			return runDev(cmd, system, devConfig(absolute, port))
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "/var/lib/skerry-dev", "directory of the site")
	cmd.Flags().IntVar(&port, "port", 7600, "TCP port of the node; the one above is for gossip")
	return cmd
}

// devConfig of the node of a site below dir.
func devConfig(dir string, port int) config.Config {
	settings := config.Default()
	settings.Name, settings.Address = "node-1", "127.0.0.1"
	settings.Port, settings.GossipPort = port, port+1
	settings.StateDir, settings.RunDir = filepath.Join(dir, "state"), filepath.Join(dir, "run")
	settings.Containerd.Address = filepath.Join(dir, "containerd.sock")
	settings.CNI.Subnet = "10.89.0.0/16"
	settings.CgroupParent = "/skerry-dev"
	settings.LogLevel = slog.LevelWarn
	return settings
}

func runDev(cmd *cobra.Command, system env.System, settings config.Config) error {
	dir := filepath.Dir(settings.StateDir)
	home := filepath.Join(dir, "operator")
	if _, err := identity.Load(system, identity.Dir(settings.StateDir)); errors.Is(err, identity.ErrNone) {
		if _, err := beginSite(cmd.Context(), system, settings, home, devSite, "admin"); err != nil {
			return err
		}
	}
	stop, err := startContainerd(cmd.Context(), dir, settings.Containerd.Address)
	if err != nil {
		return err
	}
	cmd.Printf("site %s in %s; end it with Ctrl-C\nin another shell:\n  export SKERRY_HOME=%s\n  skerry status\n", devSite, dir, home)
	err = runAgent(cmd.Context(), system, settings, cmd.ErrOrStderr())
	return errors.Join(err, removeAll(system, settings), stop())
}

// startContainerd runs a containerd for this site alone. What is returned ends
// it and waits for it.
func startContainerd(ctx context.Context, dir, address string) (stop func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path, err := exec.LookPath("containerd")
	if err != nil {
		return nil, problem.New(problem.Unavailable, "containerd", "it is not installed").WithHint("apt install containerd runc")
	}
	log, err := os.Create(filepath.Join(dir, "containerd.log"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own copy
	process := exec.Command(path, "--config", "/dev/null", "--log-level", "warn", "--address", address,
		"--root", filepath.Join(dir, "containerd"), "--state", filepath.Join(dir, "containerd-run"))
	process.Stdout, process.Stderr = log, log
	// Ctrl-C is for the agent first.
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := process.Start(); err != nil {
		return nil, problem.New(problem.Unavailable, "containerd", "it does not start: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	stop = func() error {
		if err := process.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return err
		}
		<-ended // how it ends is its own affair
		return nil
	}
	deadline := time.After(devTime)
	for {
		if _, err := os.Stat(address); err == nil {
			return stop, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case err := <-ended:
			return nil, problem.New(problem.Unavailable, "containerd", "it ended at once: %v", err).
				WithHint("%s says why", log.Name())
		case <-deadline:
			return nil, errors.Join(fmt.Errorf("containerd does not listen at %s after %s", address, devTime), stop())
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), stop())
		}
	}
}

// removeAll ends what runs on the site.
func removeAll(system env.System, settings config.Config) error {
	ctx, cancel := context.WithTimeout(context.Background(), devTime)
	defer cancel()
	runtime, err := openRuntime(system, settings, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return err
	}
	instances, err := runtime.List(ctx)
	for _, instance := range instances {
		err = errors.Join(err, runtime.Remove(ctx, instance.ID))
	}
	return errors.Join(err, runtime.Close())
}
