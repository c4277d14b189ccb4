package cli

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/problem"
)

// revocation is a command that cannot be undone.
type revocation struct {
	*app
	yes bool
}

func (o *revocation) add(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
}

// run asks first, says what will happen, and gives the call an ID.
func (o *revocation) run(cmd *cobra.Command, what string, do func(ctx context.Context, c *client.Client, id string) error) error {
	if !o.yes {
		if err := o.confirm(what); err != nil {
			return err
		}
	}
	id, err := o.requestID()
	if err != nil {
		return err
	}
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error { return do(ctx, c, id) })
}

// maxAnswer to a question, in bytes.
const maxAnswer = 64

func (o *revocation) confirm(what string) error {
	return o.ask(what + ". This cannot be undone.")
}

// ask before something is done; an error unless the answer is yes.
func (a *app) ask(what string) error {
	if _, err := fmt.Fprintf(a.Err, "%s Go on? (yes/no) ", oneLine(what)); err != nil {
		return err
	}
	answer, err := bufio.NewReader(io.LimitReader(a.In, maxAnswer)).ReadString('\n')
	if err != nil && err != io.EOF {
		return err
	}
	if strings.TrimSpace(answer) == "yes" {
		return nil
	}
	return problem.New(problem.Invalid, "", "nothing was done").WithHint("type yes, or give --yes")
}

func nodeEvictCommand(a *app) *cobra.Command {
	o := &revocation{app: a}
	var off bool
	cmd := &cobra.Command{
		Use:   "evict NAME",
		Short: "Take a node out of the site for good",
		Long: `Evict ends a node: within seconds no other node takes anything from its key any
more, and its connections are cut. A node that is cut off learns of it when it is
back, before anything else.

What its workloads had to prove who they are the site takes no more either;
other workloads do until it expires. skerry ca rotate ends that within seconds
of the last node that has taken part.

Its replicas start elsewhere. What stays on it (partition.mode: stay) is started
nowhere else, because it may still run there, and what is exclusive not before its
lease has ended. When the machine is off for good, say so with --off: then both
start elsewhere at once, and run twice if it is not off. That is refused for a
node that is ready; the statement is in the audit log. If the node votes, the site
puts another voter in its place; what would leave the site without a quorum is
refused.

To use the machine again, join it with a new token.`,
		Example: "  skerry node evict node-3\n  skerry node evict node-3 --off --yes",
		Args:    Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return usage(cmd, "name the node: skerry node list shows them")
			}
			what := "node " + args[0] + " will be out of the site for good"
			if off {
				what += ", and what stays on it or is exclusive there starts elsewhere: it runs twice if the machine is not off"
			}
			return o.run(cmd, what, func(ctx context.Context, c *client.Client, id string) error {
				answer, err := call(ctx, a, c.Identity().EvictNode, &skerryv1.EvictNodeRequest{Node: args[0], Off: off, RequestId: id})
				if err != nil {
					return err
				}
				return a.printEvicted(args[0], answer)
			})
		},
	}
	o.add(cmd)
	cmd.Flags().BoolVar(&off, "off", false, "the machine is off for good: what stays on it or is exclusive there may start elsewhere")
	return cmd
}

func (a *app) printEvicted(node string, answer *skerryv1.EvictNodeResponse) error {
	if _, err := fmt.Fprintf(a.Out, "node %s evicted\n", oneLine(node)); err != nil {
		return err
	}
	if staying := answer.GetStaying(); len(staying) > 0 {
		_, err := fmt.Fprintf(a.Out, "these stay on it and are started nowhere else: %s\nwhen it is switched off for good: skerry node evict %s --off\n",
			oneLine(strings.Join(staying, ", ")), oneLine(node))
		return err
	}
	return nil
}

func tokenRevokeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID",
		Short:   "Make a token useless that nobody has used",
		Long:    "Revoke forgets a token: nobody can join with it any more. Who has joined with it stays.",
		Example: "  skerry token revoke 1f2e3d4c",
		Args:    Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return usage(cmd, "name the token by its ID: skerry token list shows them")
			}
			id, err := a.requestID()
			if err != nil {
				return err
			}
			return a.bounded(cmd, func(ctx context.Context, c *client.Client) error {
				if _, err := call(ctx, a, c.Identity().RevokeToken, &skerryv1.RevokeTokenRequest{Id: args[0], RequestId: id}); err != nil {
					return err
				}
				_, err := fmt.Fprintf(a.Out, "token %s revoked\n", oneLine(args[0]))
				return err
			})
		},
	}
}

func rotateGossipCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "rotate-gossip-key",
		Short: "Give all nodes a new key for gossip",
		Long: `Rotate-gossip-key brings in a new key by which the nodes gossip, as every eviction
does by itself. Nodes that are there have it within seconds; a node that is cut
off gets it when it is back, before it gossips.`,
		Example: "  skerry site rotate-gossip-key",
		Args:    Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := a.requestID()
			if err != nil {
				return err
			}
			return a.bounded(cmd, func(ctx context.Context, c *client.Client) error {
				if _, err := call(ctx, a, c.Identity().RotateGossipKey, &skerryv1.RotateGossipKeyRequest{RequestId: id}); err != nil {
					return err
				}
				_, err := fmt.Fprintln(a.Out, "a new gossip key is given to all nodes: skerry events tells when the old one is gone")
				return err
			})
		},
	}
}
