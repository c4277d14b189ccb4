package cli

import (
	"context"
	"encoding/hex"
	"fmt"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

func operatorCommand(a *app) *cobra.Command {
	group := Group(&cobra.Command{
		Use:     "operator COMMAND",
		GroupID: GroupSite,
		Short:   "Who may call the site",
	})
	group.AddCommand(operatorListCommand(a), operatorGrantCommand(a), operatorUngrantCommand(a), operatorRevokeCommand(a))
	return group
}

type operatorList struct {
	*app
	output outputFlag
}

func operatorListCommand(a *app) *cobra.Command {
	o := &operatorList{app: a}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the operators of the site",
		Long: `List shows who may call the site, and the beginning of the fingerprint of each
key. A name that joins again gets a new key, and the old one counts no more.`,
		Example: "  skerry operator list",
		Args:    Args(0, 0),
		RunE:    o.run,
	}
	o.output.add(cmd, false)
	return cmd
}

func (o *operatorList) run(cmd *cobra.Command, _ []string) error {
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Identity().ListOperators, &skerryv1.ListOperatorsRequest{})
		if err != nil {
			return err
		}
		if o.output.isData() {
			return o.output.write(o.Out, answer)
		}
		t := newTable("NAME", "KEY", "ROLES")
		for _, operator := range answer.GetOperators() {
			key := operator.GetKeyFingerprint()
			t.row(operator.GetName(), hex.EncodeToString(key[:min(len(key), 8)]), grantTexts(operator.GetGrants()))
		}
		return t.write(o.Out, "")
	})
}

func operatorRevokeCommand(a *app) *cobra.Command {
	o := &revocation{app: a}
	cmd := &cobra.Command{
		Use:   "revoke NAME",
		Short: "Take away what an operator may do",
		Long: `Revoke ends an operator: within seconds no node takes a call under that key any
more, and what the operator has open (logs -f, exec, events -f) is cut. Tokens
that were made for the name and not used are forgotten. The last operator of a
site cannot be revoked. Whoever revokes the operator that the command itself runs
as is told so, and is let in again only by another operator.`,
		Example: "  skerry operator revoke mara\n  skerry operator revoke mara --yes",
		Args:    Args(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if args[0] == "" {
				return usage(cmd, "name the operator: skerry operator list shows them")
			}
			what, done := "operator "+args[0]+" will be able to do nothing any more", "operator "+args[0]+" revoked"
			if own, err := a.Self(a.target); err == nil && own == args[0] { // else Connect says what is wrong
				what = "operator " + own + " is you: after this your credentials are of no use any more, and only another operator can let you in again"
				done += "; these were your own credentials"
			}
			return o.run(cmd, what, func(ctx context.Context, c *client.Client, id string) error {
				if _, err := call(ctx, a, c.Identity().RevokeOperator, &skerryv1.RevokeOperatorRequest{Name: args[0], RequestId: id}); err != nil {
					return err
				}
				_, err := fmt.Fprintln(a.Out, oneLine(done))
				return err
			})
		},
	}
	o.add(cmd)
	return cmd
}
