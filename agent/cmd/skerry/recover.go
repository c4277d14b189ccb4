package main

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"skerry.dev/agent"
	"skerry.dev/agent/identity"
	"skerry.dev/agent/ledger"
	"skerry.dev/coordinator"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/cli"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

func siteRecoverCommand(system env.System) *cobra.Command {
	var path string
	var yes bool
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Go on with this machine as the only voter, after the quorum was lost for good",
		Long: `Recover is for a site whose voters are lost for good but for some that are no
majority. Run it as root on the one whose log is the newest; the agent must be
stopped meanwhile (containers run on). It looks for the others, says what may be
lost, and asks.

It begins the next site epoch with all that this machine's log holds, also what no
majority was known to have. The other voters are left behind: each learns of it when
it is reached, not before. Until then one that still runs goes on by itself, so be
sure that they are off. What the nodes run goes on; it is adopted when they are
heard. What stays on a node that is not heard, or is exclusive there, starts nowhere
else before you say that the machine is off: skerry node confirm-off NAME.`,
		Example: "  systemctl stop skerry && skerry site recover && systemctl start skerry",
		Args:    cli.Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := openSurvivor(system, path)
			if err != nil {
				return err
			}
			return errors.Join(r.run(cmd, yes), r.lock.Close())
		},
	}
	configFlag(cmd, &path)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// survivor is a voter that is left.
type survivor struct {
	system   env.System
	stateDir string
	lock     *os.File
	node     *identity.Node
	raftID   uint64
	logger   *slog.Logger
	found    *coordinator.Salvaged
}

func openSurvivor(system env.System, path string) (*survivor, error) {
	settings, err := loadConfig(path)
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, problem.New(problem.Forbidden, settings.StateDir, "only root on a voter can recover the site")
	}
	lock, err := lockState(settings.StateDir)
	if problem.KindOf(err) == problem.Conflict {
		return nil, problem.New(problem.Conflict, settings.StateDir, "the agent runs").
			WithHint("stop it first, containers run on: systemctl stop skerry; start it again afterwards")
	}
	if err != nil {
		return nil, err
	}
	s := &survivor{system: system, stateDir: settings.StateDir, lock: lock, logger: slog.New(slog.DiscardHandler)}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return s, nil
}

func (s *survivor) open() error {
	node, err := identity.Load(s.system, identity.Dir(s.stateDir))
	if err != nil {
		return problem.New(problem.Conflict, s.stateDir, "this machine is no node of a site: %w", err).
			WithHint("on a machine that belongs to none: skerry site restore FILE")
	}
	kept, err := ledger.Open(s.system.FS, s.stateDir)
	if err != nil {
		return err
	}
	node.KnowTime(sitetime.NewKeeper(s.system.Clock, kept.Time(), built()))
	s.node, s.raftID = node, kept.Current().GetRaftId()
	no := func(format string, args ...any) error {
		return problem.New(problem.Conflict, "Node/"+node.Name(), format, args...).WithHint("recover on a voter, or restore a backup: skerry site restore FILE")
	}
	switch {
	case node.Evicted():
		return no("it was evicted from the site")
	case s.raftID == 0:
		return no("it holds no replica of the log")
	case kept.Current().GetOrder().GetSiteEpoch() < node.Bundle().SiteEpoch():
		epoch := node.Bundle().SiteEpoch()
		if !agent.BeginsAgain(s.system.FS, s.stateDir, epoch) {
			return no("the site was recovered without it: it is in site epoch %d", epoch)
		}
		return problem.New(problem.Conflict, "Node/"+node.Name(), "it has recovered the site already: site epoch %d begins when its agent starts", epoch).
			WithHint("systemctl start skerry, then: skerry site report")
	}
	dir := filepath.Join(s.stateDir, "raft", strconv.FormatUint(s.raftID, 10))
	if reason, err := s.system.FS.ReadFile(filepath.Join(dir, "halted")); err == nil {
		return no("its replica of the log has halted and cannot be trusted: %s", reason)
	}
	if s.found, err = coordinator.Salvage(dir, s.raftID, s.logger); err != nil {
		return no("its replica of the log cannot be read: %w", err)
	}
	switch known := s.found.View.Node(node.Name()); {
	case known.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_VOTER:
		return no("it does not vote")
	case known.GetWitness():
		return no("it is a witness: it holds no CA, and cannot sign that the site begins anew")
	}
	return nil
}

// survey of those that this voter has lost.
func (s *survivor) survey() *survey {
	return &survey{
		net: s.system.Net, as: s.node, view: s.found.View, self: s.node.Record(), survives: true, last: s.found.Last, here: "the one here",
		instead: instead{
			led: "start the agent: this machine finds it", recovered: "start the agent: this machine joins it",
			newer: "recover there", majority: "start the agent",
		},
	}
}

func (s *survivor) run(cmd *cobra.Command, yes bool) error {
	view := s.found.View
	unheard, err := s.survey().look(cmd.Context())
	if err != nil {
		return err
	}
	audit := filepath.Join(s.stateDir, "audit")
	damaged, err := coordinator.CheckAudit(audit, s.logger)
	if err != nil {
		return err
	}
	cmd.Printf(`Site %s, ID %s: site epoch %d begins on %s.

It goes on with all that is in the log of this machine: index %d, of %s.
What others had acknowledged and did not get here is lost.
`, view.Site(), view.SiteID(), view.SiteEpoch()+1, s.node.Name(), view.Index(), view.Time().AsTime().Format(time.RFC3339))
	cmd.Print(unheard)
	if damaged {
		cmd.Print("! The audit log on this disk is damaged, and will be set aside: what was done before now is in exports alone, and in what can be read of it. Check the disk.\n")
	}
	if err := confirm(cmd, yes, view.Site()); err != nil {
		return err
	}
	err = s.node.Recover(identity.RecoverOptions{
		State: s.found.State, Trust: view.Trust(), RaftID: view.RaftIDAfter(),
		From: &skerryv1.Recovery{How: "recover", Index: view.Index(), StateTime: view.Time()},
		Keep: func(again *sitev1.BeginAgain) error {
			aside, err := s.found.KeepAudit(audit, s.logger)
			if err != nil {
				return err
			}
			if aside != "" {
				cmd.Printf("the damaged audit log is in %s\n", aside)
			}
			return agent.KeepAgain(s.system.FS, s.stateDir, again, nil, sitetime.Stamp{})
		},
	})
	if err != nil {
		return err
	}
	cmd.Println("done. next: start the agent, with systemctl start skerry, then: skerry site report")
	return nil
}
