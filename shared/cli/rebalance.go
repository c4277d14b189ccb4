package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	defaultMoves     = 100
	defaultRebalance = time.Hour
	// stopping bounds the call that stops a rebalance when the command is ended.
	stopping = 5 * time.Second
)

type rebalance struct {
	reading
	maxMoves             uint32
	deadline             time.Duration
	dryRun, noWait, stop bool
	// begun is when the one began that is watched.
	begun *timestamppb.Timestamp
	// told is how far each move was when it was last told.
	told map[string]skerryv1.RebalanceState
}

func driftCommand(a *app) *cobra.Command {
	o := &rebalance{reading: reading{app: a}, dryRun: true}
	cmd := &cobra.Command{
		Use:     "drift [WORKLOAD...]",
		GroupID: GroupSee,
		Short:   "Show which placements would be elsewhere if they were placed now",
		Long: `Drift shows which placements the scheduler would put on another node now, and why:
labels that a node does not have any more, a spread that is not even, wishes that
another node meets, a node with a fifth less load. Nothing is changed;
skerry rebalance moves them.`,
		Example:           "  skerry drift\n  skerry drift web -p shop -o json",
		ValidArgsFunction: o.completeWorkload,
		RunE:              o.run,
	}
	o.addProject(cmd, "only the project `NAME` (default all, or \"default\" when workloads are named)")
	cmd.Flags().Uint32Var(&o.maxMoves, "max-moves", defaultMoves, "show `N` at most")
	o.addStale(cmd)
	o.output.add(cmd, false)
	return cmd
}

func rebalanceCommand(a *app) *cobra.Command {
	o := &rebalance{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:     "rebalance [WORKLOAD...]",
		GroupID: GroupSite,
		Short:   "Move placements to where they would be placed now",
		Long: `Rebalance moves placements to the nodes on which the scheduler would put them now,
what matters most first. Another placement runs and is healthy before the old one
ends; no workload has less than its minAvailable (without one, than all but
update.maxUnavailable), and eight at most are on their way at once. What stays on its
node, what is not healthy and what is being updated is left where it is.

It happens when somebody asks for it, never by itself. Ending the command stops it:
nothing more begins to move, and what is on its way gets there. With --no-wait it goes
on by itself, also under another coordinator; --stop stops it then.`,
		Example: `  skerry rebalance --dry-run
  skerry rebalance web --max-moves 4
  skerry rebalance --no-wait && skerry rebalance --stop`,
		ValidArgsFunction: o.completeWorkload,
		RunE:              o.run,
	}
	o.addProject(cmd, "only the project `NAME` (default all, or \"default\" when workloads are named)")
	flags := cmd.Flags()
	flags.BoolVar(&o.dryRun, "dry-run", false, "show what would move and why, and change nothing")
	flags.Uint32Var(&o.maxMoves, "max-moves", defaultMoves, "move `N` placements at most, up to 500")
	flags.DurationVar(&o.deadline, "deadline", defaultRebalance, "begin to move nothing more after this `TIME`")
	flags.BoolVar(&o.noWait, "no-wait", false, "begin, and do not wait for the end")
	flags.BoolVar(&o.stop, "stop", false, "stop the rebalance that is under way")
	cmd.MarkFlagsMutuallyExclusive("stop", "dry-run")
	o.output.add(cmd, false)
	return cmd
}

func (o *rebalance) run(cmd *cobra.Command, args []string) error {
	switch {
	case o.maxMoves == 0:
		return usage(cmd, "--max-moves must be 1 or more")
	case o.stop && len(args) > 0:
		return usage(cmd, "--stop stops the whole rebalance: name no workload")
	case o.stop:
		return o.bounded(cmd, o.end)
	case o.dryRun:
		return o.bounded(cmd, func(ctx context.Context, c *client.Client) error { return o.foresee(ctx, c, args) })
	}
	id, err := o.requestID()
	if err != nil {
		return err
	}
	var begun *skerryv1.RebalanceResponse
	err = o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		begun, err = call(ctx, o.app, c.Rebalance().Rebalance, &skerryv1.RebalanceRequest{
			Project: o.project, Workloads: args, MaxMoves: o.maxMoves, RequestId: id, Deadline: durationpb.New(o.deadline),
		})
		return err
	})
	if err != nil {
		return err
	}
	if err := o.begin(begun); err != nil || o.noWait || begun.GetRebalance() == nil {
		return err
	}
	o.begun = begun.GetRebalance().GetStarted()
	err = o.unbounded(cmd.Context(), o.watch)
	if cmd.Context().Err() == nil {
		return err
	}
	// Whoever ends the command wants the moving to end.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), stopping)
	defer cancel()
	return errors.Join(o.unbounded(ctx, o.end), problem.New(problem.Timeout, "site", "the command was ended before the rebalance was over").
		WithHint("skerry drift shows what is left to move"))
}

// begin says what was begun.
func (o *rebalance) begin(begun *skerryv1.RebalanceResponse) error {
	if o.output.isData() {
		if err := o.output.write(o.Out, begun); err != nil || begun.GetRebalance() == nil {
			return err
		}
		o.Out = o.Err // data came first, and nothing else goes where it went
	}
	if begun.GetRebalance() == nil {
		return errors.Join(o.nothing(), section(o.Out, notMoved, movesTable(begun.GetHeld(), false)))
	}
	_, err := fmt.Fprintf(o.Out, "%s\n", sentence("; ", plural(len(begun.GetRebalance().GetMoves()), "placement")+" to move", more(begun.GetMore())))
	return errors.Join(err, section(o.Out, notMoved, movesTable(begun.GetHeld(), false)))
}

const notMoved = "Where they must not be, and not moved"

func more(is bool) string {
	if is {
		return "there are more: skerry drift shows them, --max-moves moves them"
	}
	return ""
}

func (o *rebalance) nothing() error {
	_, err := fmt.Fprintln(o.Out, "there is nothing to move: what may move is where it would be placed now")
	return err
}

// foresee shows what would move.
func (o *rebalance) foresee(ctx context.Context, c *client.Client, workloads []string) error {
	answer, err := call(ctx, o.app, c.Rebalance().Drift, &skerryv1.DriftRequest{
		Project: o.project, Workloads: workloads, MaxMoves: o.maxMoves, Stale: o.stale,
	})
	if err != nil {
		return err
	}
	if o.output.isData() {
		return o.output.write(o.Out, answer)
	}
	if last := answer.GetLast(); last != nil && last.GetEnded() == nil {
		fmt.Fprintf(o.Out, "a rebalance is under way since %s, by %s\n\n", utc(last.GetStarted().AsTime()), oneLine(principal(last.GetBy())))
	}
	if len(answer.GetMoves()) == 0 {
		err = o.nothing()
	} else {
		err = movesTable(answer.GetMoves(), true).write(o.Out, "")
		if answer.GetMore() {
			_, more := fmt.Fprintln(o.Out, "and more")
			err = errors.Join(err, more)
		}
	}
	return errors.Join(err, section(o.Out, notMoved, movesTable(answer.GetHeld(), false)))
}

func movesTable(moves []*skerryv1.RebalanceMove, goes bool) *table {
	if !goes {
		t := newTable("WORKLOAD", "PLACEMENT", "NODE", "WHY")
		for _, m := range moves {
			t.row(m.GetWorkload(), m.GetPlacement(), m.GetFrom(), m.GetWhy())
		}
		return t
	}
	t := newTable("WORKLOAD", "PLACEMENT", "FROM", "TO", "WHY")
	for _, m := range moves {
		t.row(m.GetWorkload(), m.GetPlacement(), m.GetFrom(), m.GetTo(), m.GetWhy())
	}
	return t
}

// end stops the rebalance.
func (o *rebalance) end(ctx context.Context, c *client.Client) error {
	id, err := o.requestID()
	if err != nil {
		return err
	}
	answer, err := call(ctx, o.app, c.Rebalance().StopRebalance, &skerryv1.StopRebalanceRequest{RequestId: id})
	if err != nil {
		return err
	}
	text := "no rebalance is under way"
	if r := answer.GetRebalance(); r.GetStopping() {
		text = "nothing more begins to move"
		if under := count(r, skerryv1.RebalanceState_REBALANCE_STATE_MOVING); under > 0 {
			text += fmt.Sprintf("; what is on its way gets there: %s", plural(under, "placement"))
		}
	}
	_, err = fmt.Fprintln(o.Out, text)
	return err
}

func count(r *skerryv1.Rebalance, state skerryv1.RebalanceState) int {
	n := 0
	for _, m := range r.GetMoves() {
		if m.GetState() == state {
			n++
		}
	}
	return n
}

// watch the rebalance until it is over.
func (o *rebalance) watch(ctx context.Context, c *client.Client) error {
	misses := 0
	o.told = map[string]skerryv1.RebalanceState{}
	for {
		r, err := o.look(ctx, c)
		switch {
		case err == nil:
			misses = 0
			if r != nil && !proto.Equal(r.GetStarted(), o.begun) {
				return overtaken(r)
			}
			o.tell(r)
			if r.GetEnded() != nil {
				return o.over(r)
			}
		case ctx.Err() == nil && (misses == drainMisses || !passing(err)):
			return err
		default:
			misses++
		}
		if err := env.Sleep(ctx, o.Clock, drainLook); err != nil {
			return fromCall(err)
		}
	}
}

func (o *rebalance) look(ctx context.Context, c *client.Client) (*skerryv1.Rebalance, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	answer, err := call(ctx, o.app, c.Rebalance().LastRebalance, &skerryv1.LastRebalanceRequest{})
	return answer.GetRebalance(), err
}

// tell what has changed since the last look.
func (o *rebalance) tell(r *skerryv1.Rebalance) {
	for i, m := range r.GetMoves() {
		key := fmt.Sprint(i)
		if o.told[key] == m.GetState() {
			continue
		}
		o.told[key] = m.GetState()
		text := ""
		switch m.GetState() {
		case skerryv1.RebalanceState_REBALANCE_STATE_MOVING:
			text = fmt.Sprintf("%s on %s moves to %s", m.GetPlacement(), m.GetFrom(), m.GetTo())
		case skerryv1.RebalanceState_REBALANCE_STATE_MOVED:
			text = fmt.Sprintf("%s has moved, %d of %d are done", m.GetPlacement(), count(r, m.GetState()), len(r.GetMoves()))
		case skerryv1.RebalanceState_REBALANCE_STATE_LEFT:
			text = fmt.Sprintf("%s is left on %s: %s", m.GetPlacement(), m.GetFrom(), m.GetNote())
		}
		fmt.Fprintln(o.Out, oneLine(text))
	}
}

// overtaken: another rebalance is under way, or was, and the site remembers one.
func overtaken(by *skerryv1.Rebalance) error {
	return problem.New(problem.Conflict, "site", "the rebalance is over, and %s has begun another one since, at %s",
		principal(by.GetBy()), utc(by.GetStarted().AsTime())).
		WithHint("skerry events tells how the first one ended (RebalanceEnded)")
}

// over says how it ended: what was left where it is makes it no success.
func (o *rebalance) over(r *skerryv1.Rebalance) error {
	if count(r, skerryv1.RebalanceState_REBALANCE_STATE_LEFT) > 0 {
		return problem.New(problem.Conflict, "site", "the rebalance is over: %s", r.GetResult()).
			WithHint("skerry drift shows what would move now")
	}
	_, err := fmt.Fprintf(o.Out, "the rebalance is over: %s\n", oneLine(r.GetResult()))
	return err
}
