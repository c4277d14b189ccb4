package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/problem"
)

func labelCommand(a *app) *cobra.Command {
	request := &skerryv1.RelabelNodeRequest{}
	cmd := &cobra.Command{
		Use:   "label NODE [LABEL=VALUE | LABEL-]...",
		Short: "Change labels and zone of a node",
		Long: `Label sets labels of a node (LABEL=VALUE), takes them away (LABEL-), and puts it
into another zone. What runs there runs on, also where it would not be placed any
more; what is placed from then on goes by the new ones.`,
		Example: "  skerry node label node-3 disk=ssd old-\n  skerry node label node-3 --zone rack-b",
		Args:    Args(1, -1),
	}
	cmd.Flags().StringVar(&request.Zone, "zone", "", "zone `NAME` that the node is in from now on")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		request.Node, request.Set = args[0], map[string]string{}
		for _, change := range args[1:] {
			label, value, sets := strings.Cut(change, "=")
			switch {
			case sets && label != "":
				request.Set[label] = value
			case strings.HasSuffix(change, "-") && len(change) > 1:
				request.Remove = append(request.Remove, strings.TrimSuffix(change, "-"))
			default:
				return usage(cmd, "%q is neither LABEL=VALUE nor LABEL-", change)
			}
		}
		id, err := a.requestID()
		if err != nil {
			return err
		}
		request.RequestId = id
		return a.bounded(cmd, func(ctx context.Context, c *client.Client) error {
			answer, err := call(ctx, a, c.Nodes().RelabelNode, request)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.Out, "node %s is in zone %s, with labels %s\n", oneLine(args[0]), oneLine(answer.GetNode().GetZone()), orDash(pairs(answer.GetNode().GetLabels())))
			return err
		})
	}
	return cmd
}

func confirmOffCommand(a *app) *cobra.Command {
	o := &revocation{app: a}
	cmd := &cobra.Command{
		Use:   "confirm-off NODE",
		Short: "State that the machine of a lost node is off",
		Long: `Confirm-off states that the machine of a lost node is off, so that what stays on it
(partition.mode: stay) or is exclusive there may start elsewhere: without its data,
if that is on the machine. If the machine runs after all, it runs twice. The
statement is in the audit log. To take the node out of the site for good there is
skerry node evict.`,
		Example: "  skerry node confirm-off node-3",
		Args:    Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return usage(cmd, "name the node: skerry node list shows them")
			}
			return o.run(cmd, "what stays on "+args[0]+" may start elsewhere", func(ctx context.Context, c *client.Client, id string) error {
				answer, err := call(ctx, a, c.Nodes().ConfirmOff, &skerryv1.ConfirmOffRequest{Node: args[0], RequestId: id})
				if err != nil {
					return err
				}
				_, err = fmt.Fprintf(a.Out, "node %s counts as off; free to start elsewhere: %s\n", oneLine(args[0]), orDash(oneLine(strings.Join(answer.GetFreed(), ", "))))
				return err
			})
		},
	}
	o.add(cmd)
	return cmd
}

func replaceCommand(a *app) *cobra.Command {
	o := &drainOptions{app: a, until: skerryv1.Duty_DUTY_DRAINED}
	gone := &revocation{app: a}
	cmd := &cobra.Command{
		Use:   "replace OLD NEW",
		Short: "Let one node take the place of another",
		Long: `Replace gives NEW, which has joined already, the zone and the labels of OLD, drains
OLD, and evicts it when nothing runs there any more. If OLD votes, the site
chooses another voter, which may be NEW.

What stays on OLD (partition.mode: stay) cannot be moved: then OLD is drained and
not evicted, and the command says what is left.`,
		Example: "  skerry node replace node-3 node-7",
		Args:    Args(2, 2),
	}
	flags := cmd.Flags()
	flags.DurationVar(&o.deadline, "deadline", defaultDrain, "give up after this `TIME`")
	gone.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if args[0] == args[1] || args[0] == "" || args[1] == "" {
			return usage(cmd, "name two nodes: skerry node list shows them")
		}
		if err := a.checkBoth(cmd, args[0], args[1]); err != nil {
			return err
		}
		if !gone.yes {
			if err := gone.confirm("node " + args[0] + " will be out of the site for good"); err != nil {
				return err
			}
		}
		if err := a.takeOver(cmd, args[0], args[1]); err != nil {
			return err
		}
		if err := o.run(cmd, args[:1]); err != nil {
			fmt.Fprintf(a.Err, "! node %s was not evicted: it is still in the site; repeat the command when it is empty, or skerry node evict %s\n", oneLine(args[0]), oneLine(args[0]))
			return err
		}
		id, err := a.requestID()
		if err != nil {
			return err
		}
		return a.bounded(cmd, func(ctx context.Context, c *client.Client) error {
			answer, err := call(ctx, a, c.Identity().EvictNode, &skerryv1.EvictNodeRequest{Node: args[0], RequestId: id})
			if err != nil {
				return err
			}
			return a.printEvicted(args[0], answer)
		})
	}
	return cmd
}

// checkBoth nodes are there, before anybody is asked or anything is changed.
func (a *app) checkBoth(cmd *cobra.Command, old, successor string) error {
	return a.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		for _, name := range []string{old, successor} {
			answer, err := call(ctx, a, c.Resources().Get, &skerryv1.GetRequest{Kind: "Node", Name: name})
			if err != nil {
				return err
			}
			if n := answer.GetResource().GetNode(); n.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
				return problem.New(problem.Conflict, "Node/"+name, "it was evicted from the site")
			} else if name == successor && n.GetState() != skerryv1.NodeState_NODE_STATE_READY {
				return problem.New(problem.Conflict, "Node/"+name, "it is %s: it cannot take the place of another one", nodeState(n))
			}
		}
		return nil
	})
}

// takeOver gives one node the zone and the labels of another.
func (a *app) takeOver(cmd *cobra.Command, old, successor string) error {
	id, err := a.requestID()
	if err != nil {
		return err
	}
	return a.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		present, err := call(ctx, a, c.Resources().Get, &skerryv1.GetRequest{Kind: "Node", Name: old})
		if err != nil {
			return err
		}
		n := present.GetResource().GetNode()
		request := &skerryv1.RelabelNodeRequest{Node: successor, Set: n.GetLabels(), RequestId: id}
		if n.GetZone() != n.GetName() {
			request.Zone = n.GetZone()
		}
		if len(request.GetSet()) > 0 || request.GetZone() != "" {
			_, err = call(ctx, a, c.Nodes().RelabelNode, request)
			return err
		}
		_, err = call(ctx, a, c.Resources().Get, &skerryv1.GetRequest{Kind: "Node", Name: successor})
		return err
	})
}
