package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

func cordonCommand(a *app) *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "cordon NODE",
		Short: "Let a node get nothing new",
		Long: `Cordon keeps new placements away from a node. What runs there runs on, and what
stays on it (partition.mode: stay) may be updated there. skerry drain also moves
away what is there.`,
		Example: "  skerry cordon node-3\n  skerry cordon node-3 --reason \"the fan is loud\"",
		Args:    Args(1, 1),
	}
	cmd.Flags().StringVar(&reason, "reason", "", "`TEXT` that tells others why")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request := &skerryv1.ChangeDutyRequest{Node: args[0], Duty: skerryv1.Duty_DUTY_CORDONED, Reason: reason}
		return a.changeDuty(cmd, request, "gets nothing new; what runs there runs on")
	}
	return cmd
}

func uncordonCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "uncordon NODE",
		Short:   "Let a node get new placements again",
		Long:    "Uncordon puts a node into service again. Nothing moves back by itself.",
		Example: "  skerry uncordon node-3",
		Args:    Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.changeDuty(cmd, &skerryv1.ChangeDutyRequest{Node: args[0]}, "may get new work again")
		},
	}
}

// changeDuty asks for it and says what that means.
func (a *app) changeDuty(cmd *cobra.Command, request *skerryv1.ChangeDutyRequest, means string) error {
	if request.GetNode() == "" {
		return usage(cmd, "name the node: skerry node list shows them")
	}
	id, err := a.requestID()
	if err != nil {
		return err
	}
	request.RequestId = id
	return a.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		if _, err := call(ctx, a, c.Nodes().ChangeDuty, request); err != nil {
			return err
		}
		_, err := fmt.Fprintf(a.Out, "node %s %s\n", oneLine(request.GetNode()), means)
		return err
	})
}

// inGroup is the command of a group on top, at that place.
func inGroup(group string, command func(*app) *cobra.Command) func(*app) *cobra.Command {
	return func(a *app) *cobra.Command {
		cmd := command(a)
		cmd.GroupID = group
		return cmd
	}
}
