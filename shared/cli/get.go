package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// reading are the flags of commands that read.
type reading struct {
	*app
	project string
	stale   bool
	output  outputFlag
}

func (r *reading) addStale(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&r.stale, "stale", false, "take what the node knows, at once, without asking the quorum")
}

func (r *reading) addProject(cmd *cobra.Command, usage string) {
	cmd.Flags().StringVarP(&r.project, "project", "p", "", usage)
}

type getOptions struct {
	reading
	labels map[string]string
}

func getCommand(a *app) *cobra.Command {
	o := &getOptions{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:     "get KIND [NAME]",
		GroupID: GroupSee,
		Short:   "List resources, or show one",
		Long: `Get lists the resources of a kind, or shows the one with a name.

` + kindLines() + `
get queued lists the changes that wait on the node that answers, and what became of
those that have waited (skerry apply --when-connected).

Without -p a list holds all projects, and a name is looked for in project
"default".`,
		Example: `  skerry get workloads
  skerry get placements -p shop -l tier=front
  skerry get node node-1 -o yaml
  skerry get workload web -o yaml > web.yaml     edit it, then apply it again`,
		Args:              Args(1, 2),
		ValidArgsFunction: o.completeNames,
		RunE:              o.run,
	}
	o.addProject(cmd, "only this project, by `NAME`")
	cmd.Flags().StringToStringVarP(&o.labels, "label", "l", nil, "only resources with this label, `KEY=VALUE`; may be repeated")
	o.addStale(cmd)
	o.output.add(cmd, true)
	return cmd
}

func (o *getOptions) run(cmd *cobra.Command, args []string) error {
	if args[0] == queuedWord {
		return o.queued(cmd)
	}
	k, err := parseKind(args[0])
	if err != nil {
		return err
	}
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		if len(args) == 2 {
			return o.one(ctx, c, k, args[1])
		}
		answer, err := call(ctx, o.app, c.Resources().List, &skerryv1.ListRequest{
			Kind: k.name, Project: o.project, Labels: o.labels, Stale: o.stale,
		})
		if err != nil {
			return err
		}
		resources := sortResources(answer.GetResources())
		if o.output.isData() {
			return o.output.writeList(o.Out, resources, answer.GetFreshness())
		}
		if len(resources) == 0 {
			return o.none(k)
		}
		return o.print(ctx, c, k, resources)
	})
}

func (o *getOptions) one(ctx context.Context, c *client.Client, k kind, name string) error {
	if len(o.labels) > 0 {
		return problem.New(problem.Invalid, "", "a name and labels do not go together").WithHint("leave out one of them")
	}
	resource, err := o.get(ctx, c, k, name)
	if err != nil {
		return err
	}
	if o.output.isData() {
		return o.output.writeResource(o.Out, resource)
	}
	return o.print(ctx, c, k, []*skerryv1.Resource{resource})
}

// get asks for one resource.
func (r *reading) get(ctx context.Context, c *client.Client, k kind, name string) (*skerryv1.Resource, error) {
	answer, err := call(ctx, r.app, c.Resources().Get, &skerryv1.GetRequest{
		Kind: k.name, Name: name, Project: r.project, Stale: r.stale,
	})
	if err != nil {
		return nil, err
	}
	if inside(answer.GetResource()) == nil {
		return nil, problem.New(problem.Internal, k.name+"/"+name, "the answer holds a kind that this version does not know").
			WithHint("use the skerry of the node that answers")
	}
	return answer.GetResource(), nil
}

// none says on standard error that a list is empty; scripts see no lines.
func (o *getOptions) none(k kind) error {
	text := fmt.Sprintf("no %s", k.aliases[1])
	if o.project != "" {
		text += " in project " + o.project
	}
	if len(o.labels) > 0 {
		text += " with " + pairs(o.labels)
	}
	_, err := fmt.Fprintln(o.Err, oneLine(text))
	return err
}

func (o *getOptions) print(ctx context.Context, c *client.Client, k kind, resources []*skerryv1.Resource) error {
	if o.output.value == "name" {
		return o.printNames(k, resources)
	}
	var t *table
	wide := o.output.value == "wide"
	switch k.name {
	case "Workload":
		working, err := o.countWorking(ctx, c)
		if err != nil {
			return err
		}
		t = o.workloadTable(resources, working, wide)
	case "Placement":
		t = o.placementTable(resources, wide)
	case "Node":
		t = o.nodeTable(resources, wide)
	case "Image":
		t = o.imageTable(resources, wide)
	case "Secret":
		t = o.secretTable(resources, wide)
	case "Volume":
		t = o.volumeTable(resources)
	case "Project":
		t = o.projectTable(resources)
	default:
		t = o.plainTable(resources)
	}
	return t.write(o.Out, "")
}

func (o *getOptions) printNames(k kind, resources []*skerryv1.Resource) error {
	for _, resource := range resources {
		if _, err := fmt.Fprintln(o.Out, oneLine(subject(k.name, inside(resource).GetName()))); err != nil {
			return err
		}
	}
	return nil
}

// countWorking counts, for each workload, the placements that work. The second
// answer may be newer than the first: counts are for people.
func (r *reading) countWorking(ctx context.Context, c *client.Client) (map[string]int, error) {
	answer, err := call(ctx, r.app, c.Resources().List, &skerryv1.ListRequest{Kind: "Placement", Project: r.project, Stale: r.stale})
	if err != nil {
		return nil, err
	}
	working := map[string]int{}
	for _, resource := range answer.GetResources() {
		if p := resource.GetPlacement(); works(p) {
			working[p.GetProject()+"/"+p.GetWorkload()]++
		}
	}
	return working, nil
}

func (r *reading) workloadTable(resources []*skerryv1.Resource, working map[string]int, wide bool) *table {
	headings := []string{"NAME", "PROJECT", "HEALTHY", "IMAGE", "AGE"}
	if wide {
		headings = append(headings, "GENERATION", "MODE", "LABELS")
	}
	t := newTable(headings...)
	for _, resource := range resources {
		w := resource.GetWorkload()
		cells := []string{
			w.GetName(), w.GetProject(),
			howFar(w, working[w.GetProject()+"/"+w.GetName()]),
			manifest.ImageOf(w), r.since(w.GetCreated().AsTime()),
		}
		if wide {
			cells = append(cells, fmt.Sprint(w.GetGeneration()), w.GetPartition().GetMode(), pairs(w.GetLabels()))
		}
		t.row(cells...)
	}
	return t
}

// howFar a workload is, in a cell: of a job, how far its last run is.
func howFar(w *skerryv1.Workload, working int) string {
	switch run := manifest.LastRun(w); {
	case run != nil:
		return manifest.Counts(w, run)
	case manifest.IsJob(w):
		return "-"
	default:
		return fmt.Sprintf("%d/%d", working, manifest.Wanted(w))
	}
}

func (r *reading) placementTable(resources []*skerryv1.Resource, wide bool) *table {
	headings := []string{"NAME", "PROJECT", "STATE", "NODE", "RESTARTS", "AGE"}
	if wide {
		headings = append(headings, "ADDRESS", "IMAGE", "MESSAGE")
	}
	t := newTable(headings...)
	for _, resource := range resources {
		p := resource.GetPlacement()
		cells := []string{
			p.GetName(), p.GetProject(), placementState(p), p.GetNode(),
			fmt.Sprint(p.GetStatus().GetRestarts()), r.since(p.GetCreated().AsTime()),
		}
		if wide {
			cells = append(cells, p.GetStatus().GetAddress(), manifest.ImageOf(p.GetSpec()), message(p))
		}
		t.row(cells...)
	}
	return t
}

func (r *reading) imageTable(resources []*skerryv1.Resource, wide bool) *table {
	t := newTable("NAME", "SIZE", "NODES", "AGE", "DIGEST")
	for _, resource := range resources {
		i := resource.GetImage()
		nodes := fmt.Sprint(len(i.GetNodes()))
		digest := shortDigest(i.GetDigest())
		if wide {
			nodes, digest = joined(i.GetNodes()), i.GetDigest()
		}
		t.row(i.GetName(), size(i.GetSize()), nodes, r.since(i.GetCreated().AsTime()), digest)
	}
	return t
}

// completeNames completes the kind, then the name.
func (r *reading) completeNames(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	switch len(args) {
	case 0:
		var words []string
		for _, k := range kinds {
			words = append(words, k.aliases[0])
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	case 1:
		if k, err := parseKind(args[0]); err == nil {
			return r.namesOf(cmd, k)
		}
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// completePlacement completes the name of a placement.
func (r *reading) completePlacement(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return r.namesOf(cmd, kinds[1])
}

func (r *reading) namesOf(cmd *cobra.Command, k kind) ([]string, cobra.ShellCompDirective) {
	names := map[string]bool{}
	quiet := *r.app
	quiet.Err = io.Discard
	err := quiet.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, &quiet, c.Resources().List, &skerryv1.ListRequest{Kind: k.name, Project: r.project, Stale: true})
		for _, resource := range sortResources(answer.GetResources()) {
			names[inside(resource).GetName()] = true
		}
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return slices.Sorted(maps.Keys(names)), cobra.ShellCompDirectiveNoFileComp
}
