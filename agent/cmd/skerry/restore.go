package main

import (
	"bufio"
	"io"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"
	"golang.org/x/mod/semver"
	"google.golang.org/protobuf/proto"

	"skerry.dev/agent"
	"skerry.dev/agent/config"
	"skerry.dev/agent/identity"
	"skerry.dev/coordinator/backup"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/cli"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

// restoreOptions of skerry site restore.
type restoreOptions struct {
	system       env.System
	config, key  string
	replace, yes bool
}

func siteRestoreCommand(system env.System) *cobra.Command {
	o := &restoreOptions{system: system}
	cmd := &cobra.Command{
		Use:   "restore FILE --key KEYFILE",
		Short: "Begin a site anew from a backup, with this machine as its only voter",
		Long: `Restore begins the site of a backup anew on a machine that belongs to no site. It is
for when all voters are lost. What was acknowledged after the backup is lost.

It begins the next site epoch, signed into the chain of trust. Nodes that are still
there go on with what they run. This machine calls them where they were; they prove
themselves by their keys, learn of the epoch, and what they run is adopted, whatever
the backup says. skerry site report tells what differed. What stays on a node that
is not heard, or is exclusive there, starts nowhere else before you say that the
machine is off: skerry node confirm-off NAME.

It looks for the nodes that the backup knows, at the addresses they had, and refuses
when one of them reaches a coordinator or has a newer log: while one voter is left,
use skerry site recover there; it loses less. It names those that it does not reach. A
former voter among them that is still there goes on by itself until it hears of it:
use this only when they are gone for good.

What was evicted or revoked after the backup must be evicted or revoked again, and
machines that joined after it must join again. Unused tokens do not count any more.`,
		Example: "  skerry site restore /mnt/backup/harbour-20261121T030000Z-5b1f0c2e-1-81211.skerry-backup --key safe-1.key",
		Args:    cli.Args(1, 1),
		RunE:    func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	configFlag(cmd, &o.config)
	cmd.Flags().StringVar(&o.key, "key", "", "`FILE` that holds a recovery key")
	cmd.Flags().BoolVar(&o.replace, "replace", false, "this machine takes the place of the node of its name, which is off for good")
	cmd.Flags().BoolVar(&o.yes, "yes", false, "do not ask")
	return cmd
}

func (o *restoreOptions) run(cmd *cobra.Command, name string) error {
	if o.key == "" {
		return problem.New(problem.Invalid, name, "a backup opens with a recovery key").WithHint("--key FILE")
	}
	settings, err := loadConfig(o.config)
	if err != nil {
		return err
	}
	node, err := thisNode(cmd.Context(), settings)
	if err != nil {
		return err
	}
	if _, err := identity.Load(o.system, identity.Dir(settings.StateDir)); err != identity.ErrNone {
		return problem.New(problem.Conflict, settings.StateDir, "this machine belongs to a site already").
			WithHint("a site is restored on a machine that belongs to none; on a voter that is left: skerry site recover")
	}
	file, err := readBackup(name, o.key)
	if err != nil {
		return err
	}
	if err := checkMade(name, file.Header.GetVersion(), version); err != nil {
		return err
	}
	snapshot, view, err := o.look(name, file, node)
	if err != nil {
		return err
	}
	survey, err := o.survey(file, snapshot, view, node)
	if err != nil {
		return err
	}
	unheard, err := survey.look(cmd.Context())
	if err != nil {
		return err
	}
	cmd.Print(describeBackup(name, file))
	cmd.Printf(`
%d nodes, %d workloads. All that was acknowledged after the backup is lost.
Site epoch %d begins on this machine, %s at %s.
`, len(snapshot.GetNodes()), len(snapshot.GetWorkloads()), snapshot.GetSiteEpoch()+1, node.GetName(), node.GetAddress())
	cmd.Print(unheard)
	if err := confirm(cmd, o.yes, snapshot.GetSite()); err != nil {
		return err
	}
	if err := o.restore(settings, file, snapshot, view, node); err != nil {
		return err
	}
	cmd.Printf("site %s begins anew, ID %s\n", snapshot.GetSite(), snapshot.GetSiteId())
	if agentRuns(settings.StateDir) {
		cmd.Println("the agent takes over from here")
	} else {
		cmd.Println("next: start the agent, with systemctl start skerry or skerry agent")
	}
	cmd.Printf("then: skerry site report --address %s; skerry site time; let other machines join, so that three vote\n", node.GetAddress())
	return nil
}

// look at what is in the backup before anything is done.
func (o *restoreOptions) look(name string, file *backup.File, node *skerryv1.Node) (*sitev1.Snapshot, *state.View, error) {
	snapshot, restored := &sitev1.Snapshot{}, state.New()
	if err := proto.Unmarshal(file.Content.GetState(), snapshot); err != nil {
		return nil, nil, problem.New(problem.Conflict, name, "what is in it does not parse: %w", err)
	}
	if err := restored.RestoreOlder(file.Content.GetState()); err != nil {
		return nil, nil, problem.New(problem.Conflict, name, "the state in it cannot be restored: %w", err)
	}
	for _, known := range snapshot.GetNodes() {
		if known.GetName() == node.GetName() && known.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED && !o.replace {
			return nil, nil, problem.New(problem.Conflict, "Node/"+node.GetName(), "the backup knows another machine of this name, at %s", known.GetAddress()).
				WithHint("if that one is off for good, and this one takes its place: --replace; else give this one another name in %s", o.config)
		}
	}
	return snapshot, restored.View(), nil
}

// survey of the nodes that the backup knows, as the one that this machine will be to them.
func (o *restoreOptions) survey(file *backup.File, snapshot *sitev1.Snapshot, view *state.View, node *skerryv1.Node) (*survey, error) {
	visitor, err := identity.NewVisitor(o.system, identity.RestoreOptions{State: snapshot, Content: file.Content, Node: node})
	if err != nil {
		return nil, err
	}
	const off = "; if the site is lost all the same, power that machine off first"
	return &survey{
		net: o.system.Net, as: visitor, view: view, self: node, last: consensus.Last{Term: view.AuditTerm(), Index: view.Index()}, here: "the backup",
		instead: instead{
			led:       "the site lives: let this machine join it, with skerry join" + off,
			recovered: "restore a backup that was made since, or let this machine join the site" + off,
			newer:     "recover there, which loses less: skerry site recover" + off,
			majority:  "wait for it" + off,
			refused:   "restore a newer backup: nodes that have learned that the CA in this one counts no more never follow it" + off,
		},
	}, nil
}

func (o *restoreOptions) restore(settings config.Config, file *backup.File, snapshot *sitev1.Snapshot, view *state.View, node *skerryv1.Node) error {
	recipient, err := readRecoveryKey(o.key)
	if err != nil {
		return err
	}
	id, err := uuid.NewRandomFromReader(o.system.Rand)
	if err != nil {
		return err
	}
	node.Id, node.RaftId = id.String(), view.RaftIDAfter()
	stamp := view.Stamp()
	_, err = identity.Restore(o.system, identity.RestoreOptions{
		State: snapshot, Content: file.Content, Recovery: recipient, RecoveryName: file.OpenedWith, Node: node, StateDir: settings.StateDir,
		From: &skerryv1.Recovery{How: "restore", Index: snapshot.GetIndex(), StateTime: snapshot.GetTime()},
		Keep: func(again *sitev1.BeginAgain, known *sitev1.Assignments) error {
			return agent.KeepAgain(o.system.FS, settings.StateDir, again, known, sitetime.Stamp{Time: stamp.Time, Reference: stamp.Reference, Era: stamp.Era})
		},
	})
	return err
}

// checkMade refuses a backup that another major version made, or one that is newer
// than this program. A build without a version is taken for any.
func checkMade(name, made, own string) error {
	made, own = "v"+made, "v"+own
	if !semver.IsValid(made) || !semver.IsValid(own) {
		return nil
	}
	if semver.Major(made) != semver.Major(own) || semver.Compare(made, own) > 0 {
		return problem.New(problem.Conflict, name, "it was made by Skerry %s, and this is %s", made[1:], own[1:]).
			WithHint("install %s, or a newer one of the same major version, and restore with that", made[1:])
	}
	return nil
}

// confirm asks for the site's name.
func confirm(cmd *cobra.Command, yes bool, site string) error {
	if yes {
		return nil
	}
	cmd.Printf("Type the site's name to go on: ")
	line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 1<<10)).ReadString('\n')
	if err != nil && err != io.EOF {
		return err
	}
	if strings.TrimSpace(line) != site {
		return problem.New(problem.Conflict, "site "+site, "nothing was changed: its name was not typed")
	}
	return nil
}
