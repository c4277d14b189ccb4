package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

// escapeKey leaves a console: Ctrl-], as virsh has it.
const escapeKey = 0x1d

func vmConsoleCommand(a *app) *cobra.Command {
	o := &execOptions{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:   "console NAME",
		Short: "Open the serial console of a virtual machine",
		Long: `Console joins your terminal with the serial port of a virtual machine. Ctrl-] leaves
it; the machine goes on. One console is open at a time; skerry logs shows what
was printed before, also to nobody.`,
		Example: "  skerry vm console scada", Args: Args(1, 1), ValidArgsFunction: o.completePlacement,
		RunE: func(cmd *cobra.Command, args []string) error { return o.console(cmd, args[0]) },
	}
	o.addProject(cmd, "project `NAME` of the virtual machine (default \"default\")")
	return cmd
}

func (o *execOptions) console(cmd *cobra.Command, name string) error {
	return o.unbounded(cmd.Context(), func(ctx context.Context, c *client.Client) error {
		placement, err := o.machine(ctx, c, name)
		if err != nil {
			return err
		}
		o.stdin, o.tty = true, isTerminal(o.In)
		if o.tty {
			if _, err := fmt.Fprintf(o.Err, "! console of %s; Ctrl-] leaves it\n", oneLine(placement)); err != nil {
				return err
			}
		}
		typed := *o.app
		typed.In = &escaping{from: o.In}
		if o.tty {
			screen, err := rawTerminal(o.In)
			if err != nil {
				return err
			}
			defer screen.restore()
		}
		console := execOptions{reading: reading{app: &typed, project: o.project}, stdin: true}
		_, err = console.interact(ctx, c, &skerryv1.ExecStart{Placement: placement, Project: o.project, Console: true})
		return err
	})
}

// escaping ends at the escape key. The end of the input closes the console.
type escaping struct {
	from io.Reader
	left bool
}

func (e *escaping) Read(p []byte) (int, error) {
	if e.left {
		return 0, io.EOF
	}
	n, err := e.from.Read(p)
	if at := bytes.IndexByte(p[:n], escapeKey); at >= 0 {
		e.left = true
		return at, nil
	}
	return n, err
}
