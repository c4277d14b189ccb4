package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/env"
)

const (
	// exitFailed and exitUnderWay are how a rollout that is watched ends, beside 0.
	exitFailed   = 1
	exitUnderWay = 9
	// watchEvery is how often a rollout is looked at.
	watchEvery = time.Second
)

type rolloutOptions struct {
	reading
	noWait bool
	to     uint64
}

func rolloutCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "rollout",
		GroupID: GroupChange,
		Short:   "Watch and steer how a change of a workload reaches its placements",
		Long: `Rollout watches, pauses, resumes, promotes and aborts changes of workloads.
docs/rollouts.md says how they work.`,
		Args: Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return usage(cmd, "a command is needed") },
	}
	cmd.AddCommand(rolloutStatusCommand(a))
	for _, s := range []steer{
		{"pause", "Change no more placements until it is resumed", `Pause stops a rollout where it is. What ends meanwhile is replaced by one of the
last good template; the deadline does not run.`, "paused", skerryv1.SteerAction_STEER_ACTION_PAUSE},
		{"resume", "Go on with a rollout that is paused or has failed",
			"Resume goes on with a rollout that is paused or has failed. Its deadline counts afresh.", "resumed", skerryv1.SteerAction_STEER_ACTION_RESUME},
		{"promote", "Let a canary or the new colour take over", `Promote lets the new template of a canary or blue-green rollout take the place of
the old one. It is refused as long as the new placements are not healthy.`, "promoted", skerryv1.SteerAction_STEER_ACTION_PROMOTE},
		{"abort", "End a rollout and go back to the last good template", `Abort ends a rollout and declares the last good template anew. Placements that run
it still go on; the others are replaced.`, "goes back to its last good template", skerryv1.SteerAction_STEER_ACTION_ABORT},
	} {
		cmd.AddCommand(s.command(a))
	}
	return cmd
}

// steer is one way to steer a rollout.
type steer struct {
	verb, short, long, done string
	action                  skerryv1.SteerAction
}

func (s steer) command(a *app) *cobra.Command {
	o := &rolloutOptions{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:               s.verb + " WORKLOAD",
		Short:             s.short,
		Long:              s.long,
		Example:           "  skerry rollout " + s.verb + " web",
		Args:              Args(1, 1),
		ValidArgsFunction: o.completeWorkload,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.steer(cmd, &skerryv1.SteerRequest{Name: args[0], Action: s.action}, s.done)
		},
	}
	o.addProject(cmd, "project `NAME` of the workload (default \"default\")")
	return cmd
}

func rollbackCommand(a *app) *cobra.Command {
	o := &rolloutOptions{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:     "rollback WORKLOAD",
		GroupID: GroupChange,
		Short:   "Declare an earlier template of a workload anew",
		Long: `Rollback declares an earlier template anew, as a new generation: the last good one
before the present one, or that of --to. Replicas, places and how it is updated
stay as they are. Placements that run that template still go on.`,
		Example: `  skerry rollback web
  skerry rollback web --to 3`,
		Args:              Args(1, 1),
		ValidArgsFunction: o.completeWorkload,
		RunE: func(cmd *cobra.Command, args []string) error {
			request := &skerryv1.SteerRequest{Name: args[0], Action: skerryv1.SteerAction_STEER_ACTION_ROLL_BACK, Generation: o.to}
			return o.steer(cmd, request, "goes back")
		},
	}
	o.addProject(cmd, "project `NAME` of the workload (default \"default\")")
	cmd.Flags().Uint64Var(&o.to, "to", 0, "`GENERATION` whose template it gets; skerry history lists them")
	return cmd
}

func (o *rolloutOptions) steer(cmd *cobra.Command, request *skerryv1.SteerRequest, done string) error {
	id, err := o.requestID()
	if err != nil {
		return err
	}
	request.RequestId, request.Project = id, o.project
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Rollouts().Steer, request)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(o.Out, "%s %s, generation %d\n", subject("Workload", request.GetName()), done, answer.GetWorkload().GetGeneration())
		return err
	})
}

func rolloutStatusCommand(a *app) *cobra.Command {
	o := &rolloutOptions{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:   "status WORKLOAD",
		Short: "Follow a rollout until it is done",
		Long: `Status tells how far a rollout is, and goes on until it is done or waits for
somebody.

Exit codes: 0 when the newest template is good, 1 when it failed, was ended, or
was rolled back, 9 when it is under way (--no-wait) or waits to be resumed or
promoted.`,
		Example: `  skerry rollout status web
  skerry rollout status web --no-wait`,
		Args:              Args(1, 1),
		ValidArgsFunction: o.completeWorkload,
		RunE:              o.status,
	}
	o.addProject(cmd, "project `NAME` of the workload (default \"default\")")
	cmd.Flags().BoolVar(&o.noWait, "no-wait", false, "tell how far it is, and end")
	return cmd
}

func (o *rolloutOptions) status(cmd *cobra.Command, args []string) error {
	w := &rolloutWatch{rolloutOptions: o, name: args[0]}
	ctx := cmd.Context()
	return o.unbounded(ctx, func(ctx context.Context, c *client.Client) error {
		for {
			err := o.follow(ctx, func() error { return w.look(ctx, c) })
			if err != nil || w.ended {
				return err
			}
			if err := env.Sleep(ctx, o.Clock, watchEvery); err != nil {
				return fromCall(err)
			}
		}
	})
}

// rolloutWatch follows one rollout.
type rolloutWatch struct {
	*rolloutOptions
	name string
	// first generation that was seen to be on its way, and what was told last.
	first uint64
	told  string
	// explained: why it failed was told.
	explained bool
	ended     bool
}

// look once; it tells what is new.
func (w *rolloutWatch) look(ctx context.Context, c *client.Client) error {
	timed, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	answer, err := w.history(timed, c, w.name)
	if err != nil {
		return endOfFollow(err)
	}
	if len(answer.GetRevisions()) == 0 {
		w.ended = true
		return nil
	}
	newest := answer.GetRevisions()[0].GetRevision()
	if w.first == 0 {
		w.first = newest.GetGeneration()
	}
	if text := oneLine(answer.GetProgress().GetSummary()); text != w.told {
		if err := w.tellFailure(answer.GetRevisions()); err != nil {
			return err
		}
		w.told = text
		if _, err := fmt.Fprintf(w.Out, "%s: %s\n", subject("Workload", w.name), text); err != nil {
			return err
		}
	}
	return w.end(newest, answer.GetProgress())
}

// tellFailure says once why what was followed is not the newest any more: it may
// have failed and gone back between two looks.
func (w *rolloutWatch) tellFailure(all []*skerryv1.RevisionChange) error {
	for _, change := range all[1:] {
		r := change.GetRevision()
		if w.explained || r.GetGeneration() != w.first || r.GetState() != skerryv1.RevisionState_REVISION_STATE_FAILED {
			continue
		}
		w.explained = true
		_, err := fmt.Fprintf(w.Out, "%s: generation %d failed: %s\n", subject("Workload", w.name), r.GetLastGeneration(), oneLine(r.GetMessage()))
		return err
	}
	return nil
}

// end tells with which code it ends, if it does.
func (w *rolloutWatch) end(newest *skerryv1.Revision, progress *skerryv1.RolloutProgress) error {
	w.ended = true
	wentBack := newest.GetRollbackTo() != 0 && newest.GetGeneration() != w.first
	switch {
	case newest.GetState() == skerryv1.RevisionState_REVISION_STATE_GOOD && !wentBack, progress.GetWanted() == 0:
		return nil
	case newest.GetState() == skerryv1.RevisionState_REVISION_STATE_GOOD, newest.GetState() == skerryv1.RevisionState_REVISION_STATE_FAILED:
		return &exitError{code: exitFailed}
	case w.noWait, newest.GetPaused(), progress.GetWaitsForPromotion():
		return &exitError{code: exitUnderWay}
	}
	w.ended = false
	return nil
}
