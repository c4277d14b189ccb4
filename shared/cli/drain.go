package cli

import (
	"cmp"
	"context"
	"errors"
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

const (
	// drainLook is how often a drain is looked at.
	drainLook = 500 * time.Millisecond
	// drainLate is how much longer than its deadline it is waited for.
	drainLate = 30 * time.Second
	// drainMisses in a row are looks without an answer: a coordinator may change.
	drainMisses = 20
	// defaultDrain is how long a drain may take.
	defaultDrain = 10 * time.Minute
)

// drainOptions of a drain, or of the one that begins maintenance.
type drainOptions struct {
	*app
	until          skerryv1.Duty
	deadline       time.Duration
	dryRun, noWait bool
	reason         string
}

func drainCommand(a *app) *cobra.Command {
	o := &drainOptions{app: a, until: skerryv1.Duty_DUTY_DRAINED}
	cmd := &cobra.Command{
		Use:   "drain NODE",
		Short: "Move away what a node runs",
		Long: `Drain lets a node get nothing new and moves away what runs there: a replacement
runs and is healthy before the old one ends, and no workload has less than its
minAvailable (without one, than all but update.maxUnavailable). What cannot move is
told at once, with the reason; the drain goes on until the deadline in case that
changes, then it is given up and nothing that is left is touched.

What stays on its node (partition.mode: stay) runs on there: to stop that too,
there is skerry node maintenance. What runs on each node (perNode) is expected to
stay, and is no reason to fail. skerry uncordon takes a drain back.

The site goes on with a drain when this command is ended.`,
		Example: "  skerry drain node-3 --dry-run\n  skerry drain node-3 --deadline 30m",
		Args:    Args(1, 1),
		RunE:    o.run,
	}
	o.add(cmd)
	return cmd
}

func maintenanceCommand(a *app) *cobra.Command {
	o := &drainOptions{app: a, until: skerryv1.Duty_DUTY_MAINTENANCE}
	cmd := &cobra.Command{
		Use:   "maintenance NODE",
		Short: "Empty a node, so that it can be switched off",
		Long: `Maintenance drains a node, and stops in good order what stays on it
(partition.mode: stay). When nothing runs there any more the machine can be
switched off: nobody wonders, and its loss counts as no failure. skerry node return
puts it into service again, and what stays on it starts there.`,
		Example: "  skerry node maintenance node-3 --reason \"new disk\"\n  skerry node return node-3",
		Args:    Args(1, 1),
		RunE:    o.run,
	}
	o.add(cmd)
	return cmd
}

func returnCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "return NODE",
		Short:   "Put a node into service again",
		Long:    "Return ends maintenance, a drain or a cordon: the node gets new work, and what stays\non it starts there again. Nothing else moves back by itself.",
		Example: "  skerry node return node-3",
		Args:    Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeDuty(cmd, &skerryv1.ChangeDutyRequest{Node: args[0]}, "is in service again")
		},
	}
}

func (o *drainOptions) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.DurationVar(&o.deadline, "deadline", defaultDrain, "give up after this `TIME`")
	flags.BoolVar(&o.dryRun, "dry-run", false, "show what would move and what cannot, and change nothing")
	flags.BoolVar(&o.noWait, "no-wait", false, "begin, and do not wait for the end")
	flags.StringVar(&o.reason, "reason", "", "`TEXT` that tells others why")
}

func (o *drainOptions) run(cmd *cobra.Command, args []string) error {
	if args[0] == "" {
		return usage(cmd, "name the node: skerry node list shows them")
	}
	if o.dryRun {
		return o.foresee(cmd, args[0])
	}
	id, err := o.requestID()
	if err != nil {
		return err
	}
	var begun *skerryv1.ChangeDutyResponse
	err = o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		begun, err = call(ctx, o.app, c.Nodes().ChangeDuty, &skerryv1.ChangeDutyRequest{
			Node: args[0], Duty: o.until, Reason: o.reason, RequestId: id, Deadline: durationpb.New(o.deadline),
		})
		return err
	})
	if err != nil {
		return err
	}
	if err := o.begin(begun); err != nil || o.noWait {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), o.deadline+drainLate)
	defer cancel()
	return o.unbounded(ctx, func(ctx context.Context, c *client.Client) error {
		w := &drainWatch{drainOptions: o, node: args[0], stuck: map[string]string{}, told: map[string]string{}}
		for _, s := range begun.GetStuck() {
			w.stuck[s.GetProject()+"/"+s.GetPlacement()] = s.GetWhy()
		}
		return w.watch(ctx, c)
	})
}

// foresee shows what the drain would do.
func (o *drainOptions) foresee(cmd *cobra.Command, node string) error {
	question := &skerryv1.WhatIfRequest{DrainNodes: []string{node}}
	if o.until == skerryv1.Duty_DUTY_MAINTENANCE {
		question = &skerryv1.WhatIfRequest{MaintainNodes: []string{node}}
	}
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Foresight().WhatIf, question)
		if err != nil {
			return err
		}
		return o.printForesight(answer, "cannot move as things are")
	})
}

// begin says what was begun, and what of it cannot be.
func (o *drainOptions) begin(begun *skerryv1.ChangeDutyResponse) error {
	n := begun.GetNode()
	text := fmt.Sprintf("node %s gets nothing new, and what it runs moves away", oneLine(n.GetName()))
	if !leaving(n) {
		text = fmt.Sprintf("node %s is %s already", oneLine(n.GetName()), dutyText(n.GetDuty().GetDuty()))
	} else if deadline := n.GetDuty().GetDrain().GetDeadline(); deadline != nil {
		text += ", until " + utc(deadline.AsTime()) + " at the latest"
	}
	if _, err := fmt.Fprintln(o.Out, text); err != nil {
		return err
	}
	if begun.GetOnlyQuorum() {
		fmt.Fprintf(o.Err, "! while %s is off the site has no quorum: what runs goes on, but nothing can be changed; let another node vote first: skerry node list\n", oneLine(n.GetName()))
	}
	return errors.Join(
		section(o.Out, "Does not run meanwhile", strandedTable(begun.GetPausing())),
		section(o.Out, "Cannot move as things are", strandedTable(begun.GetStuck())))
}

func strandedTable(all []*skerryv1.Stranded) *table {
	t := newTable("WORKLOAD", "PLACEMENT", "WHY")
	for _, s := range all {
		t.row(s.GetWorkload(), orDash(s.GetPlacement()), s.GetWhy())
	}
	return t
}

func leaving(n *skerryv1.Node) bool { return n.GetDuty().GetDuty() == skerryv1.Duty_DUTY_DRAINING }

// drainWatch follows one drain.
type drainWatch struct {
	*drainOptions
	node string
	// stuck by project and name, and why.
	stuck map[string]string
	// told is what was last said of each placement.
	told map[string]string
}

func (w *drainWatch) watch(ctx context.Context, c *client.Client) error {
	misses := 0
	for {
		node, here, err := w.look(ctx, c)
		switch {
		case err == nil:
			misses = 0
			w.tell(here)
			if done, err := w.over(node, here); done {
				return err
			}
		case ctx.Err() != nil:
			return problem.New(problem.Timeout, "Node/"+w.node, "the drain is not over").WithHint("skerry describe node %s", w.node)
		case misses == drainMisses || !passing(err):
			return err
		default:
			misses++
		}
		if err := env.Sleep(ctx, w.Clock, drainLook); err != nil {
			return fromCall(err)
		}
	}
}

// look at the node and what is on it.
func (w *drainWatch) look(ctx context.Context, c *client.Client) (*skerryv1.Node, []*skerryv1.Placement, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	node, err := call(ctx, w.app, c.Resources().Get, &skerryv1.GetRequest{Kind: "Node", Name: w.node})
	if err != nil {
		return nil, nil, err
	}
	answer, err := call(ctx, w.app, c.Resources().List, &skerryv1.ListRequest{Kind: "Placement"})
	if err != nil {
		return nil, nil, err
	}
	var here []*skerryv1.Placement
	for _, resource := range sortResources(answer.GetResources()) {
		if p := resource.GetPlacement(); p.GetNode() == w.node {
			here = append(here, p)
		}
	}
	return node.GetResource().GetNode(), here, nil
}

// tell what has changed since the last look.
func (w *drainWatch) tell(here []*skerryv1.Placement) {
	now := map[string]string{}
	for _, p := range here {
		what := ""
		switch {
		case p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP:
			what = "stops"
		case p.GetMigration().GetState() == skerryv1.MigrationState_MIGRATION_STATE_COPYING:
			what = "moves to " + p.GetMigration().GetOther() + " while it runs"
		case p.GetReplacedBy() != "":
			what = "waits until " + p.GetReplacedBy() + " is healthy"
		}
		name := p.GetProject() + "/" + p.GetName()
		now[name] = what
		if what != "" && w.told[name] != what {
			fmt.Fprintf(w.Out, "%s %s\n", oneLine(p.GetName()), oneLine(what))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(w.told)) {
		if _, there := now[name]; !there {
			_, placement, _ := strings.Cut(name, "/")
			fmt.Fprintf(w.Out, "%s is gone, %d left\n", oneLine(placement), len(here))
		}
	}
	w.told = now
}

// over tells whether there is nothing more to wait for.
func (w *drainWatch) over(n *skerryv1.Node, here []*skerryv1.Placement) (bool, error) {
	here = slices.DeleteFunc(slices.Clone(here), hasEnded)
	result := n.GetDuty().GetDrain().GetResult()
	if leaving(n) {
		return w.blocked(n, here)
	}
	switch {
	case n.GetDuty() == nil:
		return true, problem.New(problem.Conflict, "Node/"+w.node, "the drain was taken back: it is in service again")
	case n.GetDuty().GetDuty() == skerryv1.Duty_DUTY_CORDONED:
		return true, problem.New(problem.Conflict, "Node/"+w.node, "the drain was given up: %s", result).
			WithHint("skerry drain %s --dry-run says what cannot move, and why", w.node)
	case onlyPerNode(here):
		_, err := fmt.Fprintf(w.Out, "node %s is %s: nothing runs on it but what runs on each node (perNode): %s\n",
			oneLine(w.node), dutyText(n.GetDuty().GetDuty()), oneLine(namesOf(here)))
		return true, err
	case len(here) > 0:
		return true, problem.New(problem.Conflict, "Node/"+w.node, "%s", cmp.Or(result, "something runs on it")).
			WithHint("skerry node maintenance %s stops in good order what stays, so that the node can be switched off", w.node)
	}
	_, err := fmt.Fprintf(w.Out, "node %s is %s: %s\n", oneLine(w.node), dutyText(n.GetDuty().GetDuty()), oneLine(cmp.Or(result, "nothing runs on it")))
	return true, err
}

// hasEnded: only its logs are there.
func hasEnded(p *skerryv1.Placement) bool {
	return p.GetEnded() != nil && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN
}

// onlyPerNode: something is left, and it is nothing but what runs on each node. To
// leave that there is what a drain is expected to do.
func onlyPerNode(here []*skerryv1.Placement) bool {
	return len(here) > 0 && !slices.ContainsFunc(here, func(p *skerryv1.Placement) bool { return !p.GetSpec().GetPerNode() })
}

func namesOf(all []*skerryv1.Placement) string {
	var names []string
	for _, p := range all[:min(len(all), maxLeft)] {
		names = append(names, p.GetName())
	}
	if len(all) > maxLeft {
		names = append(names, fmt.Sprintf("%d more", len(all)-maxLeft))
	}
	return strings.Join(names, ", ")
}

// blocked: all that is left cannot move as things are.
func (w *drainWatch) blocked(n *skerryv1.Node, here []*skerryv1.Placement) (bool, error) {
	var names []string
	for _, p := range here {
		if p.GetSpec().GetPerNode() && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN {
			continue
		}
		if _, stuck := w.stuck[p.GetProject()+"/"+p.GetName()]; !stuck || p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_STOP {
			return false, nil
		}
		names = append(names, p.GetName())
	}
	if len(names) == 0 {
		return false, nil
	}
	until := ""
	if deadline := n.GetDuty().GetDrain().GetDeadline(); deadline != nil {
		until = " until " + utc(deadline.AsTime())
	}
	return true, problem.New(problem.Conflict, "Node/"+w.node, "%s cannot move, for the reasons above", strings.Join(names, ", ")).
		WithHint("the drain goes on%s in case that changes; skerry uncordon %s takes it back", until, w.node)
}
