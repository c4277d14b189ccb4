package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/problem"
)

const defaultTokenTTL = time.Hour

func tokenCommand(a *app) *cobra.Command {
	group := Group(&cobra.Command{
		Use:     "token COMMAND",
		GroupID: GroupSite,
		Short:   "Tokens with which machines and people join",
	})
	group.AddCommand(tokenCreateCommand(a), tokenListCommand(a), tokenRevokeCommand(a))
	return group
}

type tokenCreate struct {
	*app
	role, name, zone string
	ttl              time.Duration
	labels           map[string]string
	mayVote, quiet   bool
	witness          bool
	grants           []string
	project          string
	output           outputFlag
}

func tokenCreateCommand(a *app) *cobra.Command {
	o := &tokenCreate{app: a}
	cmd := &cobra.Command{
		Use:   "create --role node|operator",
		Short: "Make a token for one machine or person",
		Long: `Create makes a token with which one machine or one person joins the site, and
prints the command to type there. A token works once and is shown once; the site
keeps only a hash of it.`,
		Example: `  skerry token create --role node --zone rack-b
  skerry token create --role node --witness --zone office
  skerry token create --role operator --name alice --grant admin --ttl 24h
  skerry token create --role operator --name kim --grant viewer -p shop
  TOKEN=$(skerry token create --role node --quiet)`,
		Args: Args(0, 0),
		RunE: o.run,
	}
	flags := cmd.Flags()
	flags.StringVar(&o.role, "role", "", "what joins: `node|operator`")
	flags.StringVar(&o.name, "name", "", "`NAME` of the joiner; required for operators (default for nodes: their host name)")
	flags.DurationVar(&o.ttl, "ttl", defaultTokenTTL, "how long the token works, 1m to 720h")
	flags.StringVar(&o.zone, "zone", "", "`ZONE` of the node: what fails together, a rack or a room (default the node's name)")
	flags.StringToStringVar(&o.labels, "label", nil, "label of the node, `KEY=VALUE`; may be repeated")
	flags.BoolVar(&o.mayVote, "may-vote", false, "whether the node may become a voter (default yes for the first five nodes)")
	flags.BoolVar(&o.witness, "witness", false, "the node votes and runs nothing: the third voter of two machines")
	flags.StringSliceVar(&o.grants, "grant", nil, "what the operator may do: `ROLE` admin, operator, viewer, auditor, or none; required for operators")
	flags.StringVarP(&o.project, "project", "p", "", "the operator's roles count in the project `NAME` alone (default in the whole site)")
	flags.BoolVarP(&o.quiet, "quiet", "q", false, "print the token and nothing else")
	o.output.add(cmd, false)
	return cmd
}

func (o *tokenCreate) run(cmd *cobra.Command, _ []string) error {
	if o.role != "node" && o.role != "operator" {
		return usage(cmd, "--role must be node or operator")
	}
	if o.quiet && o.output.isData() {
		return problem.New(problem.Invalid, "", "--quiet and -o do not go together").WithHint("leave out one of them")
	}
	grants, err := o.granted(cmd)
	if err != nil {
		return err
	}
	id, err := o.requestID()
	if err != nil {
		return err
	}
	request := &skerryv1.CreateTokenRequest{
		Role: o.role, Name: o.name, Ttl: durationpb.New(o.ttl), Zone: o.zone, Labels: o.labels, RequestId: id, Grants: grants, Witness: o.witness,
	}
	if cmd.Flags().Changed("may-vote") {
		request.MayVote = &o.mayVote
	}
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Site().CreateToken, request)
		if err != nil {
			return err
		}
		switch {
		case o.output.isData():
			return o.output.write(o.Out, answer)
		case o.quiet:
			_, err = fmt.Fprintln(o.Out, oneLine(answer.GetToken()))
			return err
		default:
			return o.print(answer, o.voter(ctx, c))
		}
	})
}

// granted are the roles that the joiner gets. An operator without any is
// mostly a slip, so it has to be said.
func (o *tokenCreate) granted(cmd *cobra.Command) ([]*skerryv1.Grant, error) {
	switch {
	case o.role == "node" && (len(o.grants) > 0 || o.project != ""):
		return nil, usage(cmd, "--grant and --project are for operators: nodes have no roles")
	case o.role == "node":
		return nil, nil
	case len(o.grants) == 0:
		return nil, usage(cmd, "say what the operator may do: --grant admin, operator, viewer, auditor, or none")
	case len(o.grants) == 1 && o.grants[0] == "none":
		return nil, nil
	}
	grants := make([]*skerryv1.Grant, 0, len(o.grants))
	for _, role := range o.grants {
		grants = append(grants, &skerryv1.Grant{Role: role, Project: o.project})
	}
	return grants, nil
}

// voter is the address of a node to join by. The token is made already: when
// nobody tells an address, the operator has to know one.
func (o *tokenCreate) voter(ctx context.Context, c *client.Client) string {
	answer, err := call(ctx, o.app, c.Site().Locate, &skerryv1.LocateRequest{})
	if err != nil || len(answer.GetVoters()) == 0 {
		return "ADDRESS"
	}
	return answer.GetVoters()[0]
}

func (o *tokenCreate) print(answer *skerryv1.CreateTokenResponse, voter string) error {
	where := "On the new machine, as root:"
	if o.role == "operator" {
		where = "As the operator, on the machine to work from:"
	}
	token := oneLine(answer.GetToken())
	_, err := fmt.Fprintf(o.Out, `Token %s, works once, for %s, until %s:

  %s

%s

  skerry join %s %s
`, oneLine(answer.GetId()), age(o.ttl), utc(answer.GetExpires().AsTime()), token, where, token, oneLine(voter))
	return err
}

type tokenList struct {
	*app
	output outputFlag
}

func tokenListCommand(a *app) *cobra.Command {
	o := &tokenList{app: a}
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the tokens that the site remembers",
		Long:    "List shows the tokens that were made, without their secrets, and who used them.",
		Example: "  skerry token list",
		Args:    Args(0, 0),
		RunE:    o.run,
	}
	o.output.add(cmd, false)
	return cmd
}

func (o *tokenList) run(cmd *cobra.Command, _ []string) error {
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Site().ListTokens, &skerryv1.ListTokensRequest{})
		if err != nil {
			return err
		}
		if o.output.isData() {
			return o.output.write(o.Out, answer)
		}
		t := newTable("ID", "ROLE", "NAME", "AGE", "EXPIRES", "USED BY")
		for _, token := range answer.GetTokens() {
			t.row(token.GetId(), token.GetRole(), token.GetName(), o.since(token.GetCreated().AsTime()),
				utc(token.GetExpires().AsTime()), token.GetUsedBy())
		}
		return t.write(o.Out, "")
	})
}
