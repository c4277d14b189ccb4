package cli

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

func vmSnapshotCommand(a *app) *cobra.Command {
	group := Group(&cobra.Command{
		Use:   "snapshot COMMAND",
		Short: "Copies of a virtual machine's disks, as they were at one moment",
		Long: `A snapshot is a copy of all disks of a virtual machine, root disk and volumes, on its
node. It takes as much room as what the disks hold, hangs on nothing, and goes
with the placement. It does not replace a backup elsewhere: skerry vm export.`,
	})
	group.AddCommand(vmSnapshotList(a))
	for _, c := range snapshotCommands {
		group.AddCommand(c.command(a))
	}
	return group
}

// snapshotCommand does one thing to one snapshot.
type snapshotCommand struct {
	verb, short, long, example, done string
	action                           skerryv1.SnapshotAction
}

var snapshotCommands = []snapshotCommand{
	{verb: "create", short: "Make a snapshot, also while it runs", action: skerryv1.SnapshotAction_SNAPSHOT_ACTION_CREATE, done: "made",
		example: "before-update",
		long: `Create copies all disks as they are at one moment; the guest runs on meanwhile. Where
its agent answers, it writes all it has to its file systems first; otherwise the
copy is as after a power cut.`},
	{verb: "restore", short: "Put the disks back as they were", action: skerryv1.SnapshotAction_SNAPSHOT_ACTION_RESTORE, done: "restored",
		example: "before-update",
		long: `Restore puts all disks back as a snapshot has them; what was written since is lost. The
machine must be off: skerry vm stop, restore, skerry vm start. The snapshot stays.`},
	{verb: "delete", short: "Delete a snapshot", action: skerryv1.SnapshotAction_SNAPSHOT_ACTION_DELETE, done: "deleted",
		example: "before-update", long: "Delete removes a snapshot. The disks stay as they are."},
}

func (s snapshotCommand) command(a *app) *cobra.Command {
	o := &reading{app: a}
	cmd := &cobra.Command{
		Use: s.verb + " NAME SNAPSHOT", Short: s.short, Long: s.long,
		Example: "  skerry vm snapshot " + s.verb + " scada " + s.example, Args: Args(2, 2), ValidArgsFunction: o.completePlacement,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.unbounded(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				placement, err := o.machine(ctx, c, args[0])
				if err != nil {
					return err
				}
				return o.snapshot(ctx, c, s, "Placement", placement, args[1])
			})
		},
	}
	o.addProject(cmd, "project `NAME` of the virtual machine (default \"default\")")
	return cmd
}

// snapshot shows how far it is until it is done.
func (r *reading) snapshot(ctx context.Context, c *client.Client, s snapshotCommand, kind, name, snapshot string) error {
	stream, err := c.Disks().Snapshot(ctx, connect.NewRequest(&skerryv1.SnapshotRequest{
		Kind: kind, Name: name, Project: r.project, Snapshot: snapshot, Action: s.action,
	}))
	if err != nil {
		return fromCall(err)
	}
	show := newProgress(r.Err, r.Clock, snapshot, 0)
	for stream.Receive() {
		show.reach(stream.Msg().GetDone(), stream.Msg().GetTotal())
	}
	show.end()
	if err := stream.Err(); err != nil {
		_ = stream.Close() // it has told why it ended
		return fromCall(err)
	}
	if err := stream.Close(); err != nil {
		return fromCall(err)
	}
	_, err = fmt.Fprintf(r.Out, "snapshot %s of %s/%s %s\n", oneLine(snapshot), map[string]string{"Placement": "placement", "Volume": "volume"}[kind], oneLine(name), s.done)
	return err
}

func vmSnapshotList(a *app) *cobra.Command {
	o := &reading{app: a}
	cmd := &cobra.Command{
		Use: "list NAME", Short: "List the snapshots of a virtual machine",
		Long:    "List shows the snapshots of a virtual machine, as its node reported them last.",
		Example: "  skerry vm snapshot list scada", Args: Args(1, 1), ValidArgsFunction: o.completePlacement,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
				placement, err := o.machine(ctx, c, args[0])
				if err != nil {
					return err
				}
				resource, err := o.get(ctx, c, kinds[1], placement)
				if err != nil {
					return err
				}
				return o.snapshotTable(resource.GetPlacement().GetStatus().GetSnapshots()).write(o.Out, "")
			})
		},
	}
	o.addProject(cmd, "project `NAME` of the virtual machine (default \"default\")")
	return cmd
}

func (a *app) snapshotTable(all []*skerryv1.Snapshot) *table {
	t := newTable("SNAPSHOT", "CREATED", "AGE", "USED", "STATE")
	for _, s := range all {
		state := "as after a power cut"
		if s.GetQuiet() {
			state = "all written"
		}
		t.row(s.GetName(), s.GetCreated().AsTime().Local().Format(time.DateTime), a.since(s.GetCreated().AsTime()), size(s.GetUsed()), state)
	}
	return t
}
