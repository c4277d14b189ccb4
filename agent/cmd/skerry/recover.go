package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"skerry.dev/agent"
	"skerry.dev/agent/identity"
	"skerry.dev/agent/ledger"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/cli"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

// askTime bounds the question to one node.
const askTime = 2 * time.Second

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

func (s *survivor) run(cmd *cobra.Command, yes bool) error {
	view := s.found.View
	answers := s.ask(cmd.Context(), view)
	silent, err := s.judge(view, answers)
	if err != nil {
		return err
	}
	cmd.Printf(`Site %s, ID %s: site epoch %d begins on %s.

It goes on with all that is in the log of this machine: index %d, of %s.
What others had acknowledged and did not get here is lost.
`, view.Site(), view.SiteID(), view.SiteEpoch()+1, s.node.Name(), view.Index(), view.Time().AsTime().Format(time.RFC3339))
	if len(silent) > 0 {
		cmd.Printf("Not reached: %s.\nThey are fenced when they learn of it, not before: be sure that those of them that voted are off.\n"+
			"What stays on them, or is exclusive there, is left alone until each is heard or confirmed off.\n", strings.Join(silent, ", "))
	}
	if err := confirm(cmd, yes, view.Site()); err != nil {
		return err
	}
	err = s.node.Recover(identity.RecoverOptions{
		State: s.found.State, Trust: view.Trust(), RaftID: view.RaftIDAfter(),
		From: &skerryv1.Recovery{How: "recover", Index: view.Index(), StateTime: view.Time()},
		Keep: func(again *sitev1.BeginAgain) error {
			if err := s.found.KeepAudit(filepath.Join(s.stateDir, "audit"), s.logger); err != nil {
				return err
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

// ask all other nodes of the site where their logs end; nil for one that is not
// reached.
func (s *survivor) ask(ctx context.Context, view *state.View) map[string]*sitev1.PingResponse {
	dialer := &mtls.Dialer{Net: s.system.Net, Source: s.node}
	answers := map[string]*sitev1.PingResponse{}
	var mu sync.Mutex
	var calls sync.WaitGroup
	slots := make(chan struct{}, 32)
	for _, node := range view.Nodes() {
		if node.GetName() == s.node.Name() || node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			continue
		}
		slots <- struct{}{}
		calls.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, askTime)
			defer cancel()
			client := dialer.HTTPClient(mtls.Peer, mtls.ExpectNode(node.GetName()))
			defer client.CloseIdleConnections()
			answer, err := sitev1connect.NewPeerServiceClient(client, "https://"+node.GetAddress()).Ping(ctx, connect.NewRequest(&sitev1.PingRequest{}))
			mu.Lock()
			defer mu.Unlock()
			answers[node.GetName()] = nil
			if err == nil {
				answers[node.GetName()] = answer.Msg
			}
		})
	}
	calls.Wait()
	return answers
}

// judge refuses when somebody knows better; it returns who was not reached.
func (s *survivor) judge(view *state.View, answers map[string]*sitev1.PingResponse) (silent []string, err error) {
	refuse := func(hint, format string, args ...any) ([]string, error) {
		return nil, problem.New(problem.Conflict, "site "+view.Site(), format, args...).WithHint("nothing was changed; %s", hint)
	}
	voters, reached := 0, 1
	for _, node := range view.Nodes() {
		votes := node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER && node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED
		if votes {
			voters++
		}
		answer, asked := answers[node.GetName()]
		if !asked {
			continue
		}
		theirs := consensus.Last{Term: answer.GetLastTerm(), Index: answer.GetLastIndex()}
		switch {
		case answer == nil:
			silent = append(silent, nodeWords(node))
		case answer.GetSiteEpoch() > view.SiteEpoch():
			return refuse("start the agent: this machine joins it", "it was recovered already: %s is in site epoch %d", node.GetName(), answer.GetSiteEpoch())
		case answer.GetQuorum():
			return refuse("start the agent: this machine finds it", "%s reaches a coordinator", node.GetName())
		case theirs.Newer(s.found.Last):
			return refuse("recover there", "%s has a newer log: it ends at %d.%d, the one here at %d.%d", node.GetName(),
				theirs.Term, theirs.Index, s.found.Last.Term, s.found.Last.Index)
		case votes:
			reached++
		}
	}
	if 2*reached > voters {
		return refuse("start the agent", "%d of %d voters are in reach: that is a majority, and the quorum comes back by itself", reached, voters)
	}
	return silent, nil
}

func nodeWords(node *skerryv1.Node) string {
	if node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER {
		return fmt.Sprintf("%s (voter, %s)", node.GetName(), node.GetAddress())
	}
	return node.GetName()
}
