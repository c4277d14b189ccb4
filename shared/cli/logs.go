package cli

import (
	"context"
	"fmt"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/problem"
)

type logsOptions struct {
	reading
	placement string
	follow    bool
	tail      uint32
	seen      seen
}

func logsCommand(a *app) *cobra.Command {
	o := &logsOptions{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:     "logs PLACEMENT",
		GroupID: GroupReach,
		Short:   "Show what a placement wrote",
		Long: `Logs prints what a placement wrote to its standard output and error, over all its
runs, as far as its node keeps it.

With -f it goes on until Ctrl-C, through a lost connection and a change of
coordinator. Where lines may be missing after that, a line that begins with "!"
on standard error says so.`,
		Example: `  skerry logs web-1
  skerry logs -f --tail 20 web-1`,
		Args:              Args(1, 1),
		ValidArgsFunction: o.completePlacement,
		RunE:              o.run,
	}
	o.addProject(cmd, "project `NAME` of the placement (default \"default\")")
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on with what comes")
	cmd.Flags().Uint32Var(&o.tail, "tail", 0, "only so many `LINES` from the end (default all that is kept)")
	return cmd
}

func (o *logsOptions) run(cmd *cobra.Command, args []string) error {
	if cmd.Flags().Changed("tail") && o.tail == 0 {
		return problem.New(problem.Invalid, "", "--tail must be at least 1").WithHint("leave it out to get all that is kept")
	}
	o.placement, o.seen.whole = args[0], o.tail == 0
	return o.unbounded(cmd.Context(), func(ctx context.Context, c *client.Client) error {
		if !o.follow {
			end, err := o.copy(ctx, c)
			if err != nil {
				return err
			}
			return fromCall(end)
		}
		return o.app.follow(ctx, func() error {
			end, err := o.copy(ctx, c)
			if err != nil {
				return err
			}
			return endOfFollow(end)
		})
	})
}

// copy prints one stream. It returns how the stream ended, and apart from that
// what went wrong here.
func (o *logsOptions) copy(ctx context.Context, c *client.Client) (end, err error) {
	tail := o.tail
	if lines := o.seen.again(); lines > 0 {
		tail = lines
	}
	stream, end := c.Placements().Logs(ctx, connect.NewRequest(&skerryv1.LogsRequest{
		Placement: o.placement, Project: o.project, Follow: o.follow, Tail: tail,
	}))
	if end != nil {
		return end, nil
	}
	defer func() { _ = stream.Close() }() // read to its end, or given up
	for stream.Receive() {
		if err := o.print(stream.Msg().GetData()); err != nil {
			return nil, err
		}
	}
	return stream.Err(), nil
}

func (o *logsOptions) print(data []byte) error {
	fresh, gap := o.seen.next(data)
	if gap {
		if _, err := fmt.Fprintln(o.Err, "! lines may be missing here: the connection was lost for too long"); err != nil {
			return err
		}
	}
	_, err := o.Out.Write(fresh)
	return err
}
