package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

type grantOptions struct {
	*app
	project string
	// take the role away.
	take bool
}

func operatorGrantCommand(a *app) *cobra.Command {
	o := &grantOptions{app: a}
	return o.command(&cobra.Command{
		Use:   "grant NAME ROLE",
		Short: "Give a role to an operator",
		Long: `Grant gives an operator a role, for the whole site or, with -p, in one project.
It counts from the next call on.

Roles: viewer sees what there is, and logs; operator runs workloads and images;
auditor sees everything, also who did what; admin may do everything.`,
		Example: `  skerry operator grant kim viewer -p shop
  skerry operator grant mara admin`,
	})
}

func operatorUngrantCommand(a *app) *cobra.Command {
	o := &grantOptions{app: a, take: true}
	return o.command(&cobra.Command{
		Use:   "ungrant NAME ROLE",
		Short: "Take a role from an operator",
		Long: `Ungrant takes back what grant gave; what the operator has open ends with its
next message. The last admin of a site keeps the role.`,
		Example: "  skerry operator ungrant kim viewer -p shop",
	})
}

func (o *grantOptions) command(cmd *cobra.Command) *cobra.Command {
	cmd.Args = Args(2, 2)
	cmd.RunE = o.run
	cmd.Flags().StringVarP(&o.project, "project", "p", "", "only in the project `NAME` (default the whole site)")
	return cmd
}

func (o *grantOptions) run(cmd *cobra.Command, args []string) error {
	id, err := o.requestID()
	if err != nil {
		return err
	}
	grants := []*skerryv1.Grant{{Role: args[1], Project: o.project}}
	request := &skerryv1.ChangeGrantsRequest{Operator: args[0], RequestId: id}
	done := "has the role"
	if o.take {
		request.Remove, done = grants, "has no longer the role"
	} else {
		request.Add = grants
	}
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		if _, err := call(ctx, o.app, c.Access().ChangeGrants, request); err != nil {
			return err
		}
		_, err := fmt.Fprintf(o.Out, "operator %s %s %s\n", oneLine(args[0]), done, grantText(grants[0]))
		return err
	})
}

func grantText(grant *skerryv1.Grant) string {
	if grant.GetProject() == "" {
		return oneLine(grant.GetRole())
	}
	return oneLine(grant.GetRole() + " in project " + grant.GetProject())
}

func grantTexts(grants []*skerryv1.Grant) string {
	texts := make([]string, 0, len(grants))
	for _, grant := range grants {
		texts = append(texts, grantText(grant))
	}
	return strings.Join(texts, ", ")
}
