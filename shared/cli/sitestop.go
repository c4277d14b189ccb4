package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// maxLeft placements are named of those that do not stop.
const maxLeft = 10

type siteStop struct {
	*app
	deadline            time.Duration
	dryRun, noWait, yes bool
	reason              string
	// told is how many placements of each workload were last said to be left.
	told map[string]int
}

func siteStopCommand(a *app) *cobra.Command {
	o := &siteStop{app: a}
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Stop all that the site runs, in good order",
		Long: `Stop ends all that the site runs: what waits for others (after) before those. From
then on nothing starts, no job and no schedule either, and the machines can be
switched off. The agents go on, so that every command still works.

When the machines are switched on again, most of the voters at least, the site
starts by itself, in the order of after; skerry site start starts it at once. What
stays on its node (partition.mode: stay) comes back to it.

What does not stop keeps those it waits for running until the deadline; then all
that is left is told to stop at once. The stop goes on when this command is ended.`,
		Example: "  skerry site stop --dry-run\n  skerry site stop --yes --reason \"the shore power goes\" --deadline 5m",
		Args:    Args(0, 0),
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	flags := cmd.Flags()
	flags.DurationVar(&o.deadline, "deadline", defaultDrain, "keep the order for this `TIME`")
	flags.BoolVar(&o.dryRun, "dry-run", false, "show what would stop, in which order, and change nothing")
	flags.BoolVar(&o.noWait, "no-wait", false, "begin, and do not wait for the end")
	flags.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	flags.StringVar(&o.reason, "reason", "", "`TEXT` that tells others why")
	return cmd
}

func siteStartCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "start",
		Short: "Start the site that was stopped",
		Long: `Start lets all that the site runs start again after skerry site stop: what waits
for others (after) when they are healthy. It also takes back a stop that goes on.`,
		Example: "  skerry site start",
		Args:    Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := a.requestID()
			if err != nil {
				return err
			}
			return a.bounded(cmd, func(ctx context.Context, c *client.Client) error {
				answer, err := call(ctx, a, c.Power().StartSite, &skerryv1.StartSiteRequest{RequestId: id})
				if err != nil {
					return err
				}
				text := "the site starts; skerry status shows how far it is"
				if answer.GetWas() == nil {
					text = "the site is not stopped: there is nothing to do"
				}
				_, err = fmt.Fprintln(a.Out, text)
				return err
			})
		},
	}
}

func (o *siteStop) run(cmd *cobra.Command) error {
	if o.dryRun || !o.yes {
		if err := o.bounded(cmd, o.foresee); err != nil || o.dryRun {
			return err
		}
		if err := o.ask("All of this ends, and nothing starts until the site is started again."); err != nil {
			return err
		}
	}
	id, err := o.requestID()
	if err != nil {
		return err
	}
	err = o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Power().StopSite, &skerryv1.StopSiteRequest{
			Reason: o.reason, RequestId: id, Deadline: durationpb.New(o.deadline),
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(o.Out, "the site stops, in order until %s\n", utc(answer.GetStop().GetDeadline().AsTime()))
		return err
	})
	if err != nil || o.noWait {
		return err
	}
	return o.unbounded(cmd.Context(), o.watch)
}

// foresee shows what would stop.
func (o *siteStop) foresee(ctx context.Context, c *client.Client) error {
	answer, err := call(ctx, o.app, c.Power().StopSite, &skerryv1.StopSiteRequest{DryRun: true, Deadline: durationpb.New(o.deadline)})
	if err != nil {
		return err
	}
	if len(answer.GetGroups()) == 0 {
		_, err := fmt.Fprintln(o.Out, "nothing runs")
		return err
	}
	t := newTable("ORDER", "PLACEMENTS", "WORKLOADS")
	for i, group := range answer.GetGroups() {
		t.row(fmt.Sprint(i+1), fmt.Sprint(group.GetPlacements()), strings.Join(group.GetWorkloads(), ", "))
	}
	return t.write(o.Out, "")
}

// watch the stop until nothing is left.
func (o *siteStop) watch(ctx context.Context, c *client.Client) error {
	var left []*skerryv1.Placement
	misses, end := 0, o.Clock.Elapsed()+o.deadline+drainLate
	for {
		stop, now, err := o.look(ctx, c)
		switch {
		case err == nil && stop == nil:
			return problem.New(problem.Conflict, "site", "it was started again meanwhile")
		case err == nil:
			left, misses = now, 0
			o.tell(left)
			if stop.GetStopped() != nil {
				_, err := fmt.Fprintln(o.Out, "nothing runs any more: the machines can be switched off; when they are switched on again the site starts by itself")
				return err
			}
		case ctx.Err() == nil && (misses == drainMisses || !passing(err)):
			return err
		default:
			misses++
		}
		if o.Clock.Elapsed() >= end {
			return stillRuns(left)
		}
		if err := env.Sleep(ctx, o.Clock, drainLook); err != nil {
			return fromCall(err)
		}
	}
}

func stillRuns(left []*skerryv1.Placement) error {
	var names []string
	for _, p := range left[:min(len(left), maxLeft)] {
		names = append(names, p.GetName()+" on "+p.GetNode())
	}
	if len(left) > maxLeft {
		names = append(names, fmt.Sprintf("%d more", len(left)-maxLeft))
	}
	return problem.New(problem.Timeout, "site", "it is not stopped yet: %s", joinedOr(names, "it was not heard of")).
		WithHint("the stop goes on; skerry describe placement NAME says more, skerry site start takes it back")
}

func joinedOr(names []string, otherwise string) string {
	if len(names) == 0 {
		return otherwise
	}
	return strings.Join(names, ", ") + " did not end"
}

// look at the stop and at what is left on nodes that are heard of.
func (o *siteStop) look(ctx context.Context, c *client.Client) (*skerryv1.SiteStop, []*skerryv1.Placement, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	status, err := call(ctx, o.app, c.Site().Status, &skerryv1.StatusRequest{})
	if err != nil {
		return nil, nil, err
	}
	if status.GetFreshness().GetStale() {
		return nil, nil, problem.New(problem.Unavailable, "site", "it has no coordinator")
	}
	answer, err := call(ctx, o.app, c.Resources().List, &skerryv1.ListRequest{Kind: "Placement"})
	if err != nil {
		return nil, nil, err
	}
	ready := map[string]bool{}
	for _, n := range status.GetNodes() {
		ready[n.GetName()] = n.GetState() == skerryv1.NodeState_NODE_STATE_READY
	}
	var left []*skerryv1.Placement
	for _, resource := range sortResources(answer.GetResources()) {
		p := resource.GetPlacement()
		if ready[p.GetNode()] && (p.GetEnded() == nil || p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP) {
			left = append(left, p)
		}
	}
	return status.GetStop(), left, nil
}

// tell what has changed since the last look.
func (o *siteStop) tell(left []*skerryv1.Placement) {
	now := map[string]int{}
	for _, p := range left {
		now[p.GetProject()+"/"+p.GetWorkload()]++
	}
	for _, name := range slices.Sorted(maps.Keys(o.told)) {
		switch n := now[name]; {
		case n == 0:
			fmt.Fprintf(o.Out, "%s is stopped\n", oneLine(name))
		case n != o.told[name]:
			fmt.Fprintf(o.Out, "%s has %d left\n", oneLine(name), n)
		}
	}
	o.told = now
}
