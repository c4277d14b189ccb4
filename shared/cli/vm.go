package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/problem"
)

func vmCommand(a *app) *cobra.Command {
	group := Group(&cobra.Command{
		Use:     "vm COMMAND",
		GroupID: GroupReach,
		Short:   "Virtual machines: their power and their consoles",
		Long: `Virtual machines are workloads with vm: in their manifest, and all that holds for
workloads holds for them: apply, get, describe, why, logs (the history of the
serial console), exec (by the guest's agent). These commands are what only they
have. NAME is a placement, or a workload with one placement.`,
	})
	group.AddCommand(vmConsoleCommand(a), vmResizeCommand(a), vmAttachCommand(a), vmDetachCommand(a), vmSnapshotCommand(a), vmExportCommand(a), vmScreenshotCommand(a),
		vmMigrateCommand(a))
	for _, c := range powerCommands {
		group.AddCommand(c.command(a))
	}
	return group
}

// powerCommand asks for one state, or for a restart.
type powerCommand struct {
	verb, short, long, done string
	state                   skerryv1.PowerState
	restart, hard           bool
	// mayForce: --force does not ask the guest.
	mayForce bool
}

var powerCommands = []powerCommand{
	{verb: "start", short: "Switch a virtual machine on", state: skerryv1.PowerState_POWER_STATE_ON, done: "is to be on",
		long: "Start switches a virtual machine on that was switched off with skerry vm stop."},
	{verb: "stop", short: "Switch a virtual machine off, until it is started again", state: skerryv1.PowerState_POWER_STATE_OFF, done: "is to be off", mayForce: true,
		long: `Stop asks the guest to shut down, by its agent or its power button, and cuts its
power when the stopGrace of its workload has passed. It stays off, also after a
restart of its node, until skerry vm start. Its disks stay.`},
	{verb: "restart", short: "Switch a virtual machine off and on", restart: true, done: "is restarted", mayForce: true,
		long: "Restart shuts the guest down as stop does, and starts it again."},
	{verb: "reset", short: "Cut a virtual machine's power and start it again", restart: true, hard: true, done: "is reset",
		long: "Reset does not ask the guest: what it has not written to its disks is lost."},
	{verb: "pause", short: "Halt a virtual machine where it is", state: skerryv1.PowerState_POWER_STATE_PAUSED, done: "is to be paused",
		long: "Pause halts the guest in the middle of what it does, and keeps its memory. Its health is\nnot checked meanwhile."},
	{verb: "resume", short: "Let a paused virtual machine go on", state: skerryv1.PowerState_POWER_STATE_ON, done: "goes on",
		long: "Resume lets a guest go on that was halted with skerry vm pause."},
}

func (p powerCommand) command(a *app) *cobra.Command {
	o := &reading{app: a}
	force := false
	cmd := &cobra.Command{
		Use: p.verb + " NAME", Short: p.short, Long: p.long,
		Example: "  skerry vm " + p.verb + " scada", Args: Args(1, 1), ValidArgsFunction: o.completePlacement,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.power(cmd, args[0], p, force)
		},
	}
	o.addProject(cmd, "project `NAME` of the virtual machine (default \"default\")")
	if p.mayForce {
		cmd.Flags().BoolVar(&force, "force", false, "do not ask the guest: cut its power at once")
	}
	return cmd
}

func (r *reading) power(cmd *cobra.Command, name string, p powerCommand, force bool) error {
	id, err := r.requestID()
	if err != nil {
		return err
	}
	return r.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		placement, err := r.machine(ctx, c, name)
		if err != nil {
			return err
		}
		_, err = call(ctx, r.app, c.VMs().Power, &skerryv1.PowerRequest{
			Project: r.project, Placement: placement, State: p.state, Restart: p.restart, Hard: p.hard || force, RequestId: id,
		})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(r.Out, "placement/%s %s\n", oneLine(placement), p.done)
		return err
	})
}

// machine is the placement that a name means: its own, or the only one of a
// workload.
func (r *reading) machine(ctx context.Context, c *client.Client, name string) (string, error) {
	project := r.project
	if project == "" {
		project = "default"
	}
	answer, err := call(ctx, r.app, c.Resources().List, &skerryv1.ListRequest{Kind: "Placement", Project: project})
	if err != nil {
		return "", err
	}
	var of []string
	for _, resource := range sortResources(answer.GetResources()) {
		p := resource.GetPlacement()
		if p.GetName() == name {
			return name, nil
		}
		if p.GetWorkload() == name && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN {
			of = append(of, p.GetName())
		}
	}
	switch len(of) {
	case 1:
		return of[0], nil
	case 0:
		return "", problem.New(problem.NotFound, "Placement/"+name, "there is no such placement, and no workload of that name with one").
			WithHint("skerry get placements shows what there is")
	default:
		return "", problem.New(problem.Invalid, "Workload/"+name, "it has %d placements", len(of)).WithHint("name one: %s", joined(of))
	}
}
