package cli

import (
	"context"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

type execOptions struct {
	reading
	stdin, tty bool
}

func execCommand(a *app) *cobra.Command {
	o := &execOptions{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:     "exec [-i] [-t] PLACEMENT -- COMMAND [ARG]...",
		GroupID: GroupReach,
		Short:   "Run a command inside a placement",
		Long: `Exec runs a command inside a running placement and exits with its exit code. What
goes wrong on the way to it is told on standard error in a line that begins with
"skerry:", with an exit code of skerry itself.

The command ends when the connection is lost.`,
		Example: `  skerry exec web-1 -- cat /etc/resolv.conf
  skerry exec -it web-1 -- sh
  skerry exec -i db-1 -- psql < dump.sql`,
		Args:              execArgs,
		ValidArgsFunction: o.completePlacement,
		RunE:              o.run,

		DisableFlagsInUseLine: true, // they do not come last
	}
	o.addProject(cmd, "project `NAME` of the placement (default \"default\")")
	cmd.Flags().BoolVarP(&o.stdin, "stdin", "i", false, "pass standard input on to the command")
	cmd.Flags().BoolVarP(&o.tty, "tty", "t", false, "give the command a terminal; standard input must be one")
	return cmd
}

func execArgs(cmd *cobra.Command, args []string) error {
	switch {
	case cmd.ArgsLenAtDash() != 1:
		return usage(cmd, "one placement is needed before --, the command after it")
	case len(args) < 2:
		return usage(cmd, "there is no command after --")
	}
	return nil
}

func (o *execOptions) run(cmd *cobra.Command, args []string) error {
	start := &skerryv1.ExecStart{Placement: args[0], Project: o.project, Command: args[1:], Tty: o.tty}
	return o.unbounded(cmd.Context(), func(ctx context.Context, c *client.Client) error {
		code, err := o.interact(ctx, c, start)
		if err == nil && code != 0 {
			return &exitError{code}
		}
		return err
	})
}

// interact leaves the terminal as it was.
func (o *execOptions) interact(ctx context.Context, c *client.Client, start *skerryv1.ExecStart) (int, error) {
	// It ends the goroutine that watches the terminal, and any Send.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var screen *terminal
	if o.tty {
		var err error
		if screen, err = rawTerminal(o.In); err != nil {
			return 0, err
		}
		defer screen.restore()
		start.Size = screen.size()
	}
	stream := &execStream{stream: c.Placements().Exec(ctx)}
	stream.start(start)
	if screen != nil {
		watched := make(chan struct{})
		go func() { defer close(watched); screen.watch(ctx, stream.resize) }()
		defer func() { cancel(); <-watched }()
	}
	if !o.stdin {
		stream.endInput()
	} else {
		// It ends with the input. When the command ends first, it waits in a Read
		// that nothing can interrupt, and ends with the process.
		go stream.pass(o.In, o.Err)
	}
	return stream.receive(o.Out, o.Err)
}
