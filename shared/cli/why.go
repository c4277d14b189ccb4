package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/problem"
)

type whyOptions struct{ reading }

func whyCommand(a *app) *cobra.Command {
	o := &whyOptions{reading{app: a}}
	cmd := &cobra.Command{
		Use:     "why (WORKLOAD | PLACEMENT)",
		GroupID: GroupSee,
		Short:   "Explain why a workload or placement is as it is",
		Long: `Why shows the reasons of the scheduler for each placement: why it is on its node
or on none, what ruled other nodes out, how those that fit were ranked, and what
happened last.

A name that both a placement and a workload have means the placement; workload/NAME
means the workload.`,
		Example: `  skerry why web
  skerry why web-3
  skerry why workload/web -p shop -o json`,
		Args:              Args(1, 1),
		ValidArgsFunction: o.complete,
		RunE:              o.run,
	}
	o.addProject(cmd, "project `NAME` of the workload (default \"default\")")
	o.addStale(cmd)
	o.output.add(cmd, false)
	return cmd
}

func (o *whyOptions) run(cmd *cobra.Command, args []string) error {
	kindName, name, err := explainable(args[0])
	if err != nil {
		return err
	}
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := o.explain(ctx, c, kindName, name)
		if err != nil {
			return err
		}
		if o.output.isData() {
			return o.output.write(o.Out, answer)
		}
		return o.print(answer)
	})
}

// explainable splits KIND/NAME; the kind may be left out.
func explainable(word string) (kindName, name string, err error) {
	before, after, found := strings.Cut(word, "/")
	if !found {
		return "", word, nil
	}
	k, err := parseKind(before)
	if err == nil && k.name != "Workload" && k.name != "Placement" {
		err = problem.New(problem.Invalid, "", "only workloads and placements can be explained, not %s", k.aliases[1]).
			WithHint("skerry describe %s %s shows what there is to know", k.aliases[0], after)
	}
	return k.name, after, err
}

func (r *reading) explain(ctx context.Context, c *client.Client, kindName, name string) (*skerryv1.ExplainResponse, error) {
	answer, err := call(ctx, r.app, c.Resources().Explain, &skerryv1.ExplainRequest{
		Kind: kindName, Name: name, Project: r.project, Stale: r.stale,
	})
	slices.SortStableFunc(answer.GetPlacements(), func(a, b *skerryv1.Placement) int {
		return compareNames(a.GetName(), b.GetName())
	})
	return answer, err
}

func (o *whyOptions) print(answer *skerryv1.ExplainResponse) error {
	if _, err := fmt.Fprintf(o.Out, "%s: %s\n", oneLine(answer.GetSubject()), oneLine(answer.GetSummary())); err != nil {
		return err
	}
	for _, p := range answer.GetPlacements() {
		if err := o.printPlacement(p); err != nil {
			return err
		}
	}
	return section(o.Out, "Events", o.eventTable(answer.GetEvents()))
}

func (o *whyOptions) printPlacement(p *skerryv1.Placement) error {
	where := "on no node"
	if p.GetNode() != "" {
		where = "on " + p.GetNode()
	}
	lines := []string{fmt.Sprintf("%s: %s", p.GetName(), sentence(", ", placementState(p), where, o.lost(p), restarts(p)))}
	if decision := p.GetDecision(); decision.GetSummary() != "" {
		lines = append(lines, fmt.Sprintf("  decided %s ago: %s", o.since(decision.GetAt().AsTime()), decision.GetSummary()))
	}
	if other := p.GetDecision().GetExplainedBy(); other != "" && len(p.GetDecision().GetVerdicts()) == 0 {
		lines = append(lines, "  the nodes were considered as for "+other)
	}
	if text := p.GetDecision().GetRemedy(); text != "" && p.GetNode() == "" {
		lines = append(lines, "  "+text)
	}
	if text := p.GetStatus().GetMessage(); text != "" {
		lines = append(lines, "  the node says: "+text)
	}
	if _, err := fmt.Fprintln(o.Out); err != nil {
		return err
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(o.Out, oneLine(line)); err != nil {
			return err
		}
	}
	return o.printVerdicts(p)
}

func (o *whyOptions) printVerdicts(p *skerryv1.Placement) error {
	t := newTable("NODE", "VERDICT", "SCORE", "BECAUSE")
	for _, v := range p.GetDecision().GetVerdicts() {
		verdict, score, because := "fits", fmt.Sprintf("%.0f", v.GetScore()), v.GetReasons()
		switch {
		case len(v.GetRuledOut()) > 0:
			verdict, score, because = "ruled out", "", v.GetRuledOut()
		case v.GetNode() == p.GetNode():
			verdict = "chosen"
		}
		t.row(v.GetNode(), verdict, score, strings.Join(because, "; "))
	}
	if err := t.write(o.Out, "  "); err != nil {
		return err
	}
	if omitted := p.GetDecision().GetOmitted(); omitted > 0 {
		_, err := fmt.Fprintf(o.Out, "  and %s\n", plural(int(omitted), "more node"))
		return err
	}
	return nil
}

// lost says since when the node of a placement is lost and what replaced it.
func (a *app) lost(p *skerryv1.Placement) string {
	if p.GetLostSince() == nil {
		return ""
	}
	text := fmt.Sprintf("not heard of for %s", a.since(p.GetLostSince().AsTime()))
	if p.GetReplacedBy() != "" {
		text += ", replaced by " + p.GetReplacedBy()
	}
	return text
}

// restarts says how often a placement was started again and how its last run
// ended.
func restarts(p *skerryv1.Placement) string {
	status := p.GetStatus()
	if status.GetRestarts() == 0 {
		return lastExit(status.GetLastExit())
	}
	return sentence(", last ", "restarted "+plural(int(status.GetRestarts()), "time"), lastExit(status.GetLastExit()))
}

// complete completes the name of a workload or placement.
func (o *whyOptions) complete(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	workloads, directive := o.namesOf(cmd, kinds[0])
	if directive == cobra.ShellCompDirectiveError {
		return nil, directive
	}
	placements, directive := o.namesOf(cmd, kinds[1])
	return append(workloads, placements...), directive
}
