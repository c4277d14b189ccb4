package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

// maxHistoryChanges are shown of one revision.
const maxHistoryChanges = 3

type historyOptions struct{ reading }

func historyCommand(a *app) *cobra.Command {
	o := &historyOptions{reading{app: a}}
	cmd := &cobra.Command{
		Use:     "history WORKLOAD",
		GroupID: GroupSee,
		Short:   "Show the last templates of a workload, and what became of them",
		Long: `History lists the last 10 templates of a workload, newest first: who declared it
and when, what became of it, and what had changed. A template is what placements
run: container, health and identity; scaling makes no new one.`,
		Example: `  skerry history web
  skerry history web -p shop -o json`,
		Args:              Args(1, 1),
		ValidArgsFunction: o.completeWorkload,
		RunE:              o.run,
	}
	o.addProject(cmd, "project `NAME` of the workload (default \"default\")")
	o.addStale(cmd)
	o.output.add(cmd, false)
	return cmd
}

func (o *historyOptions) run(cmd *cobra.Command, args []string) error {
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := o.history(ctx, c, args[0])
		if err != nil {
			return err
		}
		if o.output.isData() {
			return o.output.write(o.Out, answer)
		}
		t := newTable("GENERATION", "AGE", "BY", "STATE", "CHANGES")
		for i, one := range answer.GetRevisions() {
			r := one.GetRevision()
			changes := changesOf(one)
			if changes == "" && i == len(answer.GetRevisions())-1 {
				changes = firstOf(r)
			}
			t.row(generations(r), o.since(r.GetAt().AsTime()), principal(r.GetBy()), revisionState(r), changes)
		}
		return t.write(o.Out, "")
	})
}

func (r *reading) history(ctx context.Context, c *client.Client, workload string) (*skerryv1.HistoryResponse, error) {
	return call(ctx, r.app, c.Rollouts().History, &skerryv1.HistoryRequest{Name: workload, Project: r.project, Stale: r.stale})
}

// completeWorkload completes the name of a workload.
func (r *reading) completeWorkload(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return r.namesOf(cmd, kinds[0])
}

func generations(r *skerryv1.Revision) string {
	if r.GetLastGeneration() == r.GetGeneration() {
		return fmt.Sprint(r.GetGeneration())
	}
	return fmt.Sprintf("%d-%d", r.GetGeneration(), r.GetLastGeneration())
}

// principal is `operator/mia` of a SPIFFE ID.
func principal(id string) string {
	if rest, found := strings.CutPrefix(id, "spiffe://"); found {
		if _, path, found := strings.Cut(rest, "/"); found {
			return path
		}
	}
	return id
}

func revisionState(r *skerryv1.Revision) string {
	if r.GetPaused() && r.GetState() == skerryv1.RevisionState_REVISION_STATE_ROLLING {
		return "paused"
	}
	return strings.ToLower(strings.TrimPrefix(r.GetState().String(), "REVISION_STATE_"))
}

// changesOf a revision, or why it is in its state.
func changesOf(one *skerryv1.RevisionChange) string {
	var parts []string
	if to := one.GetRevision().GetRollbackTo(); to != 0 {
		text := fmt.Sprintf("back to generation %d", to)
		if one.GetRevision().GetAutomatic() {
			text += " by itself"
		}
		parts = append(parts, text)
	}
	if one.GetRevision().GetState() == skerryv1.RevisionState_REVISION_STATE_FAILED {
		parts = append(parts, one.GetRevision().GetMessage())
	}
	for i, change := range one.GetChanges() {
		if i == maxHistoryChanges {
			parts = append(parts, fmt.Sprintf("and %d more", len(one.GetChanges())-i))
			break
		}
		parts = append(parts, changed(change))
	}
	return strings.Join(parts, "; ")
}

// firstOf says of the oldest template that is remembered, which has nothing to be
// compared with, what it is.
func firstOf(r *skerryv1.Revision) string {
	what := "the oldest that is remembered"
	if r.GetGeneration() == 1 {
		what = "the first"
	}
	return sentence(": ", what, r.GetTemplate().GetContainer().GetImage())
}
