// Command skerry is the one binary: `skerry agent` is the daemon of a node, all
// else the operators' command line.
//
// It parses, wires the parts together and prints what went wrong; it decides
// nothing.
package main

import (
	"context"
	"crypto"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"skerry.dev/agent/identity"
	"skerry.dev/agent/runtime/containerd"
	"skerry.dev/agent/runtime/libvirt"
	"skerry.dev/certs/mtls"
	"skerry.dev/shared/cli"
	"skerry.dev/shared/client"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// version is set by the linker.
var version = "0.0.0"

// built is when the source that this program was built from was committed; the
// zero time when the build does not tell.
func built() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.time" {
			// A build that does not tell is as good as one that tells nonsense.
			at, _ := time.Parse(time.RFC3339, setting.Value)
			return at
		}
	}
	return time.Time{}
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == containerd.LaunchCommand {
		os.Exit(containerd.Launch(os.Args[2:])) // inside a container
	}
	if len(os.Args) > 1 && os.Args[1] == libvirt.ProbeCommand {
		os.Exit(libvirt.Probe())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := cli.Main(ctx, newRoot(env.NewSystem()), os.Args[1:])
	stop()
	os.Exit(code)
}

func newRoot(system env.System) *cobra.Command {
	root := cli.New(cli.Deps{
		Connect: func(ctx context.Context, target cli.Target) (*client.Client, error) {
			return dialSite(ctx, system, target)
		},
		Self: func(target cli.Target) (string, error) { return operatorName(system, target) },
		Key:  func(target cli.Target) (crypto.Signer, string, error) { return operatorKey(system, target) },
		In:   os.Stdin, Out: os.Stdout, Err: os.Stderr,
		Audit: auditVerifier{system},
		Clock: system.Clock, Rand: system.Rand, Version: version,
	})
	root.AddCommand(agentCommand(system), guardCommand(system), joinCommand(system), devCommand(system))
	cli.AddTo(root, "site", siteInitCommand(system))
	cli.AddTo(root, "site", siteRestoreCommand(system))
	cli.AddTo(root, "site", siteRecoverCommand(system))
	cli.AddTo(root, "backup", backupVerifyCommand())
	cli.AddTo(root, "operator", operatorCreateCommand(system))
	return root
}

const (
	// renewTime bounds the renewal of an operator's SVID before a command.
	renewTime = 3 * time.Second
	// electing is for how long a command insists on a write: another coordinator is elected,
	// or takes over, within that.
	electing = 2 * time.Second
)

// dialSite returns a client under the operator's credentials, which it renews
// when they have run for half of their life.
func dialSite(ctx context.Context, system env.System, target cli.Target) (*client.Client, error) {
	home, err := operatorHome()
	if err != nil {
		return nil, err
	}
	operator, err := identity.LoadOperator(system, home, target.Site)
	if err != nil {
		return nil, err
	}
	addresses := operator.Addresses
	if len(target.Addresses) > 0 {
		addresses = nil
		for _, given := range target.Addresses {
			address, err := nodeAddress(given)
			if err != nil {
				return nil, err
			}
			addresses = append(addresses, address)
		}
	}
	if operator.Due() {
		renewCtx, cancel := context.WithTimeout(ctx, renewTime)
		// The present SVID may still do; else the call below fails and says why.
		_, _ = identity.Renew(renewCtx, system, operator, addresses, true)
		cancel()
	}
	dialer := &mtls.Dialer{Net: system.Net, Source: operator}
	c := client.New(dialer.HTTPClient(mtls.API2, mtls.ExpectNode("")), addresses)
	c.Direct = len(target.Addresses) > 0
	c.Insist = electing
	c.Learned = func(voters []string) {
		// It is for the next time; this command does not fail because of it.
		_ = operator.Remember(voters)
	}
	c.Refused = func(ctx context.Context) bool {
		// The first refusal is the one to tell, if this does not help.
		renewed, _ := identity.Renew(ctx, system, operator, addresses, false)
		return renewed
	}
	c.Told = func(now time.Time, era uint64) {
		// Likewise.
		_ = operator.LearnTime(now, era)
	}
	return c, nil
}

// operatorName is whose credentials dialSite uses.
func operatorName(system env.System, target cli.Target) (string, error) {
	home, err := operatorHome()
	if err != nil {
		return "", err
	}
	operator, err := identity.LoadOperator(system, home, target.Site)
	if err != nil {
		return "", err
	}
	return operator.Name(), nil
}

// operatorKey is that with which dialSite proves who calls.
func operatorKey(system env.System, target cli.Target) (crypto.Signer, string, error) {
	home, err := operatorHome()
	if err != nil {
		return nil, "", err
	}
	operator, err := identity.LoadOperator(system, home, target.Site)
	if err != nil {
		return nil, "", err
	}
	cert := operator.Certificate()
	key, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, "", problem.New(problem.Internal, home, "the operator's key cannot sign")
	}
	return key, cert.Leaf.URIs[0].String(), nil
}

// operatorHome is where operators' credentials are: $SKERRY_HOME, else
// skerry in the user's configuration directory.
func operatorHome() (string, error) {
	if home := os.Getenv("SKERRY_HOME"); home != "" {
		return home, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", problem.New(problem.Invalid, "SKERRY_HOME", "there is no place for credentials: %w", err).
			WithHint("set SKERRY_HOME to a directory of yours")
	}
	return filepath.Join(dir, "skerry"), nil
}
