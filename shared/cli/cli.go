package cli

import (
	"context"
	"crypto"
	"io"
	"time"

	"github.com/spf13/cobra"

	"skerry.dev/shared/client"
	"skerry.dev/shared/env"
)

// Deps is what the commands need of the world. All fields are required.
type Deps struct {
	// Connect returns a client for the site that the user means. It makes no
	// call yet; its errors are problems.
	Connect func(ctx context.Context, target Target) (*client.Client, error)
	// Self is the name of the operator whose credentials Connect uses.
	Self func(target Target) (string, error)
	// Key of that operator, and its SPIFFE ID.
	Key func(target Target) (key crypto.Signer, principal string, err error)
	// In may be a terminal, which `exec -t` then puts into raw mode; so may
	// Err, which then shows progress on one line.
	In       io.Reader
	Out, Err io.Writer
	Clock    env.Clock
	Rand     env.Rand
	// Audit checks what came out of the audit log.
	Audit AuditVerifier
	// Version of the binary.
	Version string
}

// Target is the site and the nodes that the user named on the command line.
type Target struct {
	// Site is empty when there is only one to choose from.
	Site string
	// Addresses, host:port, take the place of those that were remembered.
	Addresses []string
}

// IDs of the groups of commands in the help, for commands that are added.
const (
	GroupSee    = "see"
	GroupChange = "change"
	GroupReach  = "reach"
	GroupSite   = "site"
)

// defaultTimeout bounds calls that do not follow anything.
const defaultTimeout = 10 * time.Second

// app is one run of the command line.
type app struct {
	Deps
	target  Target
	timeout time.Duration
	// stale: the last answer was.
	stale bool
}

// New returns the root command with the operators' commands.
func New(deps Deps) *cobra.Command {
	a := &app{Deps: deps}
	root := &cobra.Command{
		Use:   "skerry",
		Short: "Run a site that stands alone",
		Long: `Skerry runs the containers of a site that must stand alone: its nodes find each
other, elect a coordinator among themselves and need nothing from outside.

Any node answers. Answers that may be out of date are marked with a line that
begins with "!" on standard error.`,
		Example: `  skerry status                  what is up, what is wrong, what to do
  skerry apply -f web.yaml       make the site run what the file says
  skerry why web                 why a workload is as it is
  skerry logs -f web-1           follow what a placement writes`,
		Version:            deps.Version,
		SilenceErrors:      true,
		SilenceUsage:       true,
		DisableSuggestions: true, // Main words them
	}
	root.SetIn(deps.In)
	root.SetOut(deps.Out)
	root.SetErr(deps.Err)
	root.SetFlagErrorFunc(flagProblem)
	root.AddGroup(
		&cobra.Group{ID: GroupSee, Title: "See what is:"},
		&cobra.Group{ID: GroupChange, Title: "Change what should be:"},
		&cobra.Group{ID: GroupReach, Title: "Reach into a placement:"},
		&cobra.Group{ID: GroupSite, Title: "The site and its nodes:"},
	)
	flags := root.PersistentFlags()
	flags.StringVar(&a.target.Site, "site", "", "`NAME` of the site to talk to; needed only with credentials for several")
	flags.StringSliceVar(&a.target.Addresses, "address", nil, "ask this node, `HOST:PORT`, and not whoever knows most; may be repeated")
	flags.DurationVar(&a.timeout, "timeout", defaultTimeout, "longest wait for an answer; logs, exec, events -f and image load go on")
	for _, command := range []func(*app) *cobra.Command{
		statusCommand, getCommand, describeCommand, whyCommand, historyCommand, planCommand, whatifCommand, driftCommand, endpointsCommand, leasesCommand, eventsCommand,
		applyCommand, scaleCommand, runCommand, rollbackCommand, rolloutCommand, deleteCommand, secretCommand, imageCommand, volumeCommand,
		inGroup(GroupSite, cordonCommand), inGroup(GroupSite, uncordonCommand), inGroup(GroupSite, drainCommand), rebalanceCommand,
		logsCommand, execCommand, vmCommand,
		nodeCommand, siteCommand, authorityCommand, operatorCommand, accessCommand, tokenCommand, auditCommand, backupCommand, versionCommand,
	} {
		root.AddCommand(command(a))
	}
	return root
}
