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

func accessCommand(a *app) *cobra.Command {
	group := Group(&cobra.Command{
		Use:     "access COMMAND",
		GroupID: GroupSite,
		Short:   "Who may do what, and why",
	})
	group.AddCommand(accessCheckCommand(a), accessExplainCommand(a))
	return group
}

// accessQuestion is one question about access.
type accessQuestion struct {
	reading
	as string
}

func (q *accessQuestion) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&q.as, "as", "", "about whom, `ID`: operator/NAME, workload/PROJECT/NAME or a SPIFFE ID (default yourself)")
	q.addProject(cmd, "project `NAME` of the resource (default \"default\")")
	q.addStale(cmd)
	q.output.add(cmd, false)
}

// ask about a verb and KIND/NAME, or KIND alone.
func (q *accessQuestion) ask(ctx context.Context, c *client.Client, args []string) (*skerryv1.CheckAccessResponse, error) {
	word, name, _ := strings.Cut(args[1], "/")
	switch {
	case q.as != "" && !strings.Contains(q.as, "/"):
		return nil, problem.New(problem.Invalid, "", "--as %s does not say what that is", oneLine(q.as)).
			WithHint("--as operator/%s, or --as workload/PROJECT/NAME", oneLine(q.as))
	case strings.EqualFold(word, "workload") && strings.Contains(name, "/"):
		return nil, problem.New(problem.Invalid, "", "%s is not KIND/NAME", oneLine(args[1])).
			WithHint("name its project with -p: workload/NAME -p PROJECT")
	}
	kindName := word
	if k, err := parseKind(word); err == nil {
		kindName = k.name
	}
	return call(ctx, q.app, c.Access().CheckAccess, &skerryv1.CheckAccessRequest{
		Principal: q.as, Verb: args[0], Kind: kindName, Name: name, Project: q.project, Stale: q.stale,
	})
}

func accessCheckCommand(a *app) *cobra.Command {
	q := &accessQuestion{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:   "check VERB KIND/NAME",
		Short: "Tell whether somebody may do something",
		Long: `Check asks the site whether somebody may do something, and does nothing. It
ends with 0 if so, and as a refused command does if not. Everybody may ask about
themselves; about others, who may read access policies.

Verbs and kinds are those of policies: docs/access.md.`,
		Example: `  skerry access check apply workload/web -p shop
  skerry access check --as operator/kim delete node/node-2
  skerry access check --as workload/shop/till read workload/web -p shop`,
		Args: Args(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return q.bounded(cmd, func(ctx context.Context, c *client.Client) error {
				answer, err := q.ask(ctx, c, args)
				if err != nil {
					return err
				}
				if q.output.isData() {
					err = q.output.write(q.Out, answer)
				} else if answer.GetAllowed() {
					_, err = fmt.Fprintf(q.Out, "yes: %s: %s\n", oneLine(answer.GetSummary()), oneLine(strings.Join(answer.GetReasons(), ", ")))
				}
				if err != nil || answer.GetAllowed() {
					return err
				}
				return problem.New(problem.Forbidden, args[1], "no: %s: %s", oneLine(answer.GetSummary()), oneLine(strings.Join(answer.GetReasons(), ", "))).
					WithHint("skerry access explain says what is missing")
			})
		},
	}
	q.add(cmd)
	return cmd
}

func accessExplainCommand(a *app) *cobra.Command {
	q := &accessQuestion{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:   "explain VERB KIND/NAME",
		Short: "Say why somebody may or may not do something",
		Long: `Explain tells which role or policy decides, what policies see of the caller and
of the resource, and, for a refusal, what would permit it.`,
		Example: `  skerry access explain apply workload/web -p shop
  skerry access explain --as operator/kim logs placement/web-1`,
		Args: Args(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return q.bounded(cmd, func(ctx context.Context, c *client.Client) error {
				answer, err := q.ask(ctx, c, args)
				if err != nil {
					return err
				}
				if q.output.isData() {
					return q.output.write(q.Out, answer)
				}
				return q.print(answer)
			})
		},
	}
	q.add(cmd)
	return cmd
}

func (q *accessQuestion) print(answer *skerryv1.CheckAccessResponse) error {
	if _, err := fmt.Fprintln(q.Out, oneLine(answer.GetSummary())); err != nil {
		return err
	}
	for _, part := range []struct {
		title string
		lines []string
	}{
		{"why", answer.GetReasons()}, {"what would permit it", answer.GetMissing()},
		{"the caller", answer.GetPrincipal()}, {"the resource", answer.GetObject()},
	} {
		if len(part.lines) == 0 {
			continue
		}
		if _, err := fmt.Fprintf(q.Out, "\n%s:\n", part.title); err != nil {
			return err
		}
		for _, line := range part.lines {
			if _, err := fmt.Fprintf(q.Out, "  %s\n", oneLine(line)); err != nil {
				return err
			}
		}
	}
	return nil
}
