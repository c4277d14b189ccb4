package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

type statusOptions struct{ reading }

func statusCommand(a *app) *cobra.Command {
	o := &statusOptions{reading{app: a}}
	cmd := &cobra.Command{
		Use:     "status",
		GroupID: GroupSee,
		Short:   "Show what is up, what is wrong and what to do",
		Long: `Status shows the site at a glance: who coordinates, whether there is a quorum, how
old the answer is, the nodes, the workloads, and last what needs attention, worst
first, each with what to do.

Without a quorum any node still answers, marked as stale; workloads go on running.`,
		Example: `  skerry status
  skerry status --stale --address node-2:7600    what node-2 knows by itself
  skerry status -o json | jq -r '.problems[]'`,
		Args: Args(0, 0),
		RunE: o.run,
	}
	o.addStale(cmd)
	o.output.add(cmd, false)
	return cmd
}

func (o *statusOptions) run(cmd *cobra.Command, _ []string) error {
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Site().Status, &skerryv1.StatusRequest{Stale: o.stale})
		if err != nil {
			return err
		}
		if o.output.isData() {
			return o.output.write(o.Out, answer)
		}
		if answer.GetFreshness().GetStale() {
			// Who has just found no quorum need not look for it twice more.
			o.stale = true
			c.Settle()
		}
		tallies, placements, err := o.tally(ctx, c)
		return errors.Join(o.print(answer, tallies, placements), err)
	})
}

func (o *statusOptions) print(s *skerryv1.StatusResponse, tallies []*tally, placements []*skerryv1.Placement) error {
	f := &fields{}
	f.add("Site", s.GetSite())
	f.add("Coordinator", cmp.Or(s.GetCoordinator(), "none known"))
	f.add("Epoch", s.GetFreshness().GetEpoch())
	f.add("Quorum", quorum(s))
	f.add("Answer", answered(s.GetFreshness()))
	f.add("Placements", fmt.Sprintf("%d of %d healthy, %s", s.GetHealthy(), s.GetPlacements(), plural(int(s.GetWorkloads()), "workload")))
	f.add("Stopped", stopText(s.GetStop()))
	if s.GetStop() == nil && s.GetFreshness().GetQuorum() && !s.GetFreshness().GetStale() {
		f.add("Survives", survives(s))
		f.add("Drift", drift(s))
	}
	f.add("Rebalance", rebalanceText(s.GetRebalance()))
	f.add("Identities", o.identitiesByNode(placements))
	f.add("Alone", alone(s))
	if err := f.write(o.Out); err != nil {
		return err
	}
	if err := section(o.Out, "Nodes", o.siteTable(s)); err != nil {
		return err
	}
	if err := section(o.Out, "Workloads", tallyTable(tallies)); err != nil {
		return err
	}
	if err := o.printWeaknesses(s); err != nil {
		return err
	}
	return o.printAttention(s)
}

// stopText says how far a stop of the site is; empty for none.
func stopText(stop *skerryv1.SiteStop) string {
	switch {
	case stop == nil:
		return ""
	case stop.GetStopped() == nil:
		return "goes on since " + utc(stop.GetSince().AsTime())
	default:
		return "since " + utc(stop.GetStopped().AsTime()) + ", nothing runs; skerry site start starts it"
	}
}

// alone says how long the nodes stay authenticated when they reach no voter; the
// node with the least time counts.
func alone(s *skerryv1.StatusResponse) string {
	var first *skerryv1.Node
	for _, n := range s.GetNodes() {
		if n.GetSvidExpires() == nil || n.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
			continue
		}
		if first == nil || n.GetSvidExpires().AsTime().Before(first.GetSvidExpires().AsTime()) {
			first = n
		}
	}
	if first == nil || s.GetSiteTime() == nil {
		return ""
	}
	left := first.GetSvidExpires().AsTime().Sub(s.GetSiteTime().AsTime())
	if left <= 0 {
		return fmt.Sprintf("the identity of %s has expired; a voter renews it as soon as it is reached", first.GetName())
	}
	return fmt.Sprintf("nodes stay authenticated without a voter for %s at least (%s)", age(left), first.GetName())
}

func quorum(s *skerryv1.StatusResponse) string {
	if s.GetFreshness().GetQuorum() {
		return "yes"
	}
	text := "NO, nothing can be changed"
	if missing := s.GetMissingVoters(); len(missing) > 0 {
		text += "; voters not heard of: " + strings.Join(missing, ", ")
	}
	return text
}

// survives says in a line what the site could lose now; printWeaknesses says
// why not.
func survives(s *skerryv1.StatusResponse) string {
	some := ""
	switch {
	case s.GetWeaknessesIncomplete() && s.GetLossesTried() == 0:
		return "it is being found out; skerry whatif --lose NODE tells of one node at once"
	case s.GetWeaknessesIncomplete():
		some = fmt.Sprintf(", of %d of %d that were tried so far", s.GetLossesTried(), s.GetLosses())
	case s.GetForeseenAge() != nil:
		some = ", as of " + age(s.GetForeseenAge().AsDuration()) + " ago"
	}
	if len(s.GetWeaknesses()) == 0 {
		return "the loss of any one node or zone" + some
	}
	var losses []string
	for _, w := range s.GetWeaknesses()[:min(len(s.GetWeaknesses()), maxWeak)] {
		losses = append(losses, w.GetLoss())
	}
	if rest := len(s.GetWeaknesses()) - len(losses); rest > 0 {
		losses = append(losses, fmt.Sprintf("%d more", rest))
	}
	return "the loss of any one node or zone" + some + " but: " + strings.Join(losses, ", ")
}

// maxWeak losses are named, and explained.
const maxWeak = 20

// drift says in a line that much would be placed elsewhere now: a tenth of what
// runs, or something that is where it must not be.
func drift(s *skerryv1.StatusResponse) string {
	switch {
	case s.GetMisplaced() > 0:
		return fmt.Sprintf("%d of %s would be elsewhere now, %d of them must not be where they are: skerry drift",
			s.GetDrifted(), plural(int(s.GetPlacements()), "placement"), s.GetMisplaced())
	case s.GetDrifted() > 1 && 10*s.GetDrifted() >= s.GetPlacements():
		return fmt.Sprintf("%d of %s would be elsewhere now: skerry drift says why, skerry rebalance moves them",
			s.GetDrifted(), plural(int(s.GetPlacements()), "placement"))
	}
	return ""
}

// rebalanceText says how far a rebalance is; empty for none.
func rebalanceText(r *skerryv1.Rebalance) string {
	if r == nil {
		return ""
	}
	text := fmt.Sprintf("%d of %d moved, since %s, by %s", count(r, skerryv1.RebalanceState_REBALANCE_STATE_MOVED), len(r.GetMoves()),
		utc(r.GetStarted().AsTime()), principal(r.GetBy()))
	if r.GetStopping() {
		text += "; nothing more begins to move"
	}
	return text
}

// printWeaknesses says why single losses would be too much.
func (o *statusOptions) printWeaknesses(s *skerryv1.StatusResponse) error {
	t := newTable("LOSS", "WHAT THEN")
	for _, w := range s.GetWeaknesses()[:min(len(s.GetWeaknesses()), maxWeak)] {
		t.row(w.GetLoss(), w.GetWhy())
	}
	return section(o.Out, "Would not survive", t)
}

func answered(f *skerryv1.Freshness) string {
	if f.GetStale() {
		return "STALE, " + worth(f)
	}
	return "up to date, by " + f.GetNode()
}

func (o *statusOptions) siteTable(s *skerryv1.StatusResponse) *table {
	t := newTable("NODE", "ZONE", "STATE", "FOR", "ROLE", "VERSION", "CONDITIONS")
	for _, n := range s.GetNodes() {
		role := voterRole(n)
		if n.GetName() == s.GetCoordinator() {
			role = "coordinator"
		}
		t.row(n.GetName(), n.GetZone(), nodeState(n), o.since(n.GetStateSince().AsTime()), role, n.GetVersion(), conditions(n))
	}
	return t
}

// printAttention comes last: it is what remains on a small screen.
func (o *statusOptions) printAttention(s *skerryv1.StatusResponse) error {
	lines := []string{"", "Needs attention:"}
	for _, text := range s.GetProblems() {
		lines = append(lines, "  - "+oneLine(text))
	}
	if len(s.GetProblems()) == 0 {
		lines = []string{"", "Nothing needs attention."}
		if s.GetFreshness().GetStale() {
			lines = []string{"", "Nothing was known to need attention; it may have changed since."}
		}
	}
	_, err := fmt.Fprintln(o.Out, strings.Join(lines, "\n"))
	return err
}
