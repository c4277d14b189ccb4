package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/problem"
)

// migrateEvery is how often a move is looked at.
const migrateEvery = 500 * time.Millisecond

func vmMigrateCommand(a *app) *cobra.Command {
	o := &reading{app: a}
	to, noWait := "", false
	cmd := &cobra.Command{
		Use: "migrate NAME", Short: "Move a virtual machine to another node while it runs",
		Long: `Migrate copies a running guest with its memory, its root disk and its volumes to
another node, over a connection between the two nodes that both authenticate, and
lets it go on there after a pause of less than a second. When anything fails on the
way, it goes on where it is. One with snapshots stays on its node.

It waits until the guest runs on the other node. Ending the command does not end
the move.`,
		Example: "  skerry vm migrate scada\n  skerry vm migrate scada --to node-3",
		Args:    Args(1, 1), ValidArgsFunction: o.completePlacement,
		RunE: func(cmd *cobra.Command, args []string) error { return o.migrate(cmd, args[0], to, noWait) },
	}
	o.addProject(cmd, "project `NAME` of the virtual machine (default \"default\")")
	cmd.Flags().StringVar(&to, "to", "", "`NODE` to move it to (default: the one with the most room)")
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "do not wait until it is there")
	return cmd
}

func (r *reading) migrate(cmd *cobra.Command, name, to string, noWait bool) error {
	id, err := r.requestID()
	if err != nil {
		return err
	}
	var placement string
	err = r.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		if placement, err = r.machine(ctx, c, name); err != nil {
			return err
		}
		_, err = call(ctx, r.app, c.VMs().Power, &skerryv1.PowerRequest{Project: r.project, Placement: placement, Migrate: true, To: to, RequestId: id})
		return err
	})
	if err != nil || noWait {
		return err
	}
	said := ""
	for {
		over := false
		err := r.bounded(cmd, func(ctx context.Context, c *client.Client) error {
			over, err = r.migrated(ctx, c, placement, &said)
			return err
		})
		if over || err != nil && problem.KindOf(err) != problem.Unavailable {
			return err
		}
		select {
		case <-time.After(migrateEvery):
		case <-cmd.Context().Done():
			return errors.Join(err, cmd.Context().Err())
		}
	}
}

// migrated tells whether a move is over, and what is new about it.
func (r *reading) migrated(ctx context.Context, c *client.Client, name string, said *string) (bool, error) {
	answer, err := call(ctx, r.app, c.Resources().Get, &skerryv1.GetRequest{Kind: "Placement", Project: r.project, Name: name})
	if err != nil {
		return false, err
	}
	p := answer.GetResource().GetPlacement()
	switch m := p.GetMigration(); m.GetState() {
	case skerryv1.MigrationState_MIGRATION_STATE_COPYING:
		message := p.GetStatus().GetMessage()
		if p.GetLostSince() != nil {
			message = p.GetNode() + " is lost: nobody knows how far it is"
		}
		if message != "" && message != *said {
			*said = message
			_, err = fmt.Fprintf(r.Err, "%s\n", oneLine(message))
		}
		return false, err
	case skerryv1.MigrationState_MIGRATION_STATE_FAILED:
		return true, problem.New(problem.Conflict, "Placement/"+name, "it stays on %s: %s", p.GetNode(), m.GetWhy())
	case skerryv1.MigrationState_MIGRATION_STATE_LEAVING:
		if m.GetWhy() != "" {
			return true, problem.New(problem.Conflict, "Placement/"+name, "it stays on %s: %s", p.GetNode(), m.GetWhy())
		}
	}
	_, err = fmt.Fprintf(r.Out, "placement/%s runs on %s\n", oneLine(name), oneLine(p.GetNode()))
	return true, err
}

// migration of a placement, for people; empty for none.
func migration(p *skerryv1.Placement) string {
	switch m := p.GetMigration(); {
	case m.GetState() == skerryv1.MigrationState_MIGRATION_STATE_COPYING:
		return "it is copied to " + m.GetOther() + " while it runs"
	case m.GetState() == skerryv1.MigrationState_MIGRATION_STATE_LEAVING:
		return "what is left of it on " + m.GetOther() + " is removed"
	case m.GetWhy() != "":
		return "the last one failed: " + m.GetWhy()
	default:
		return ""
	}
}
