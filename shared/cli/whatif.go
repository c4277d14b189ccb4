package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

type whatifOptions struct {
	reading
	lose, add, files []string
}

func whatifCommand(a *app) *cobra.Command {
	o := &whatifOptions{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:     "whatif",
		GroupID: GroupSee,
		Short:   "Show what would become of the site, without touching it",
		Long: `Whatif runs the site's own controllers and scheduler on a copy of its state: what
would move, what would find no place and why, and whether the quorum would
stand. Several assumptions count together. Nothing is changed.`,
		Example: `  skerry whatif --lose node-3
  skerry whatif --lose zone=b
  skerry whatif --lose node-3 --add 2x,cpu=8,mem=32Gi,zone=b
  skerry whatif --apply web.yaml`,
		Args: Args(0, 0),
		RunE: o.run,
	}
	flags := cmd.Flags()
	flags.StringArrayVar(&o.lose, "lose", nil, "node, or zone=`NAME`, that is lost; may be repeated")
	flags.StringArrayVar(&o.add, "add", nil, "machines that join, `[COUNTx,]cpu=CPU,mem=MEMORY[,zone=NAME][,LABEL=VALUE...]`; may be repeated")
	flags.StringArrayVar(&o.files, "apply", nil, "manifest `FILE` that is applied, - for standard input; may be repeated")
	o.addStale(cmd)
	o.output.add(cmd, false)
	return cmd
}

func (o *whatifOptions) run(cmd *cobra.Command, _ []string) error {
	question, err := o.question()
	if err != nil {
		return err
	}
	if len(o.lose)+len(o.add)+len(o.files) == 0 {
		return usage(cmd, "there is nothing to assume: give --lose, --add or --apply")
	}
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Foresight().WhatIf, question)
		if err != nil {
			return asFlags(err)
		}
		if o.output.isData() {
			return o.output.write(o.Out, answer)
		}
		return o.printForesight(answer, "would not run")
	})
}

// asFlags names what was asked with the flags that asked for it.
func asFlags(err error) error {
	var p *problem.Error
	flags := map[string]string{
		"loseNodes": "--lose", "loseZones": "--lose", "add.count": "--add", "add.cpu": "--add cpu", "add.memory": "--add mem",
	}
	if errors.As(err, &p) && flags[p.Field] != "" {
		named := *p
		named.Field = flags[p.Field]
		return &named
	}
	return err
}

func (o *whatifOptions) question() (*skerryv1.WhatIfRequest, error) {
	question := &skerryv1.WhatIfRequest{Stale: o.stale}
	for _, lost := range o.lose {
		if zone, found := strings.CutPrefix(lost, "zone="); found {
			question.LoseZones = append(question.LoseZones, zone)
		} else {
			question.LoseNodes = append(question.LoseNodes, strings.TrimPrefix(lost, "node="))
		}
	}
	for _, text := range o.add {
		machines, err := parseMachines(text)
		if err != nil {
			return nil, err
		}
		question.Add = append(question.Add, machines)
	}
	var err error
	if len(o.files) > 0 {
		question.Apply, err = readManifests(o.In, o.files, o.readFiles)
	}
	return question, err
}

// parseMachines reads 2x,cpu=8,mem=32Gi,zone=b; spaces are as good as commas.
func parseMachines(text string) (*skerryv1.Machines, error) {
	machines := &skerryv1.Machines{Count: 1, Labels: map[string]string{}}
	for _, part := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' }) {
		name, value, found := strings.Cut(part, "=")
		if count, isCount := strings.CutSuffix(part, "x"); !found && isCount {
			n, err := strconv.ParseUint(count, 10, 32)
			if err != nil {
				return nil, badMachines(text)
			}
			machines.Count = uint32(n)
			continue
		}
		switch {
		case !found || value == "":
			return nil, badMachines(text)
		case name == "cpu":
			machines.Cpu = value
		case name == "mem" || name == "memory":
			machines.Memory = value
		case name == "zone":
			machines.Zone = value
		default:
			machines.Labels[name] = value
		}
	}
	if machines.GetCpu() == "" || machines.GetMemory() == "" {
		return nil, badMachines(text)
	}
	return machines, nil
}

func badMachines(text string) error {
	return problem.New(problem.Invalid, "", "%q does not describe machines", text).
		WithHint("write them as in --add 2x,cpu=8,mem=32Gi,zone=b")
}

// waitsAnyway is the title of what the question is not to blame for.
const waitsAnyway = "Has no node now, and would have none"

// parted takes what has no node as things are apart from what would be hit.
func parted(all []*skerryv1.Stranded) (hit, waiting []*skerryv1.Stranded) {
	for _, s := range all {
		if s.GetNode() == "" && s.GetPlacement() != "" { // a new one has no name yet
			waiting = append(waiting, s)
		} else {
			hit = append(hit, s)
		}
	}
	return hit, waiting
}

// printForesight shows an answer; unable is what is said of placements that find
// no place, as in `would not run`.
func (a *app) printForesight(answer *skerryv1.WhatIfResponse, unable string) error {
	quorum := fmt.Sprintf("stands, %d of %s left", answer.GetVotersLeft(), plural(int(answer.GetVoters()), "voter"))
	if !answer.GetQuorum() {
		quorum = fmt.Sprintf("LOST, %d of %s left: nothing could be changed", answer.GetVotersLeft(), plural(int(answer.GetVoters()), "voter"))
	}
	if fresh := answer.GetFreshness(); fresh.GetStale() && !fresh.GetQuorum() {
		quorum = "NO, nothing can be changed now; if all voters were back: " + quorum
	}
	f := &fields{}
	f.add("Quorum", quorum)
	if err := f.write(a.Out); err != nil {
		return err
	}
	hit, waiting := parted(answer.GetStranded())
	var applied []string
	for _, result := range answer.GetApplied() {
		if of := inside(result.GetResource()); of != nil {
			applied = append(applied, subject(manifest.KindOf(result.GetResource()), oneLine(of.GetName()))+" "+oneLine(result.GetOutcome()))
		}
	}
	return errors.Join(
		a.lines("Would be applied", applied),
		section(a.Out, "Would move", moveTable(answer.GetMoves())),
		section(a.Out, "Would pause", nodesOfStranded(answer.GetPausing())),
		section(a.Out, strings.ToUpper(unable[:1])+unable[1:], nodesOfStranded(hit)),
		section(a.Out, waitsAnyway, strandedTable(waiting)),
		a.verdict(answer, len(hit), unable))
}

// maxRows of one table of what would be; more are counted together.
const maxRows = 50

// moveTable tells of each move, of many by where they begin and end, of very many
// by workload.
func moveTable(moves []*skerryv1.Move) *table {
	if len(moves) > maxRows {
		return countedMoves(moves)
	}
	t := newTable("WORKLOAD", "PLACEMENT", "FROM", "TO")
	for _, m := range moves {
		to := orDash(m.GetTo())
		if m.GetLive() {
			to += ", while it runs"
		}
		t.row(m.GetWorkload(), orDash(m.GetPlacement()), orDash(m.GetFrom()), to)
	}
	return t
}

// countedMoves by workload and nodes, or by workload and how many nodes when those
// are too many.
func countedMoves(moves []*skerryv1.Move) *table {
	ways := newGroups()
	workloads := newGroups()
	for _, m := range moves {
		ways.add(m.GetWorkload(), orDash(m.GetFrom()), orDash(m.GetTo()))
		workloads.add(m.GetWorkload())
	}
	if len(ways.order) <= maxRows {
		t := newTable("WORKLOAD", "PLACEMENTS", "FROM", "TO")
		ways.each(func(key []string, count int) { t.row(key[0], fmt.Sprint(count), key[1], key[2]) })
		return t
	}
	from, to := map[string]map[string]int{}, map[string]map[string]int{}
	for _, m := range moves {
		countIn(from, m.GetWorkload(), m.GetFrom())
		countIn(to, m.GetWorkload(), m.GetTo())
	}
	t := newTable("WORKLOAD", "PLACEMENTS", "FROM", "TO")
	workloads.each(func(key []string, count int) {
		t.row(key[0], fmt.Sprint(count), spreadOver(from[key[0]]), spreadOver(to[key[0]]))
	})
	return t
}

func countIn(by map[string]map[string]int, workload, node string) {
	if by[workload] == nil {
		by[workload] = map[string]int{}
	}
	if node != "" {
		by[workload][node]++
	}
}

// spreadOver says on how many nodes, and how many on each: `1000 nodes, 9 to 11 each`.
func spreadOver(nodes map[string]int) string {
	if len(nodes) == 0 {
		return "-"
	}
	counts := slices.Sorted(maps.Values(nodes))
	least, most := counts[0], counts[len(counts)-1]
	if least == most {
		return fmt.Sprintf("%s, %d each", plural(len(nodes), "node"), least)
	}
	return fmt.Sprintf("%s, %d to %d each", plural(len(nodes), "node"), least, most)
}

// groups count what is alike, in the order in which it came.
type groups struct {
	count map[string]int
	keys  map[string][]string
	order []string
}

func newGroups() *groups { return &groups{count: map[string]int{}, keys: map[string][]string{}} }

func (g *groups) add(key ...string) {
	k := strings.Join(key, "\x00")
	if g.count[k] == 0 {
		g.order = append(g.order, k)
		g.keys[k] = key
	}
	g.count[k]++
}

func (g *groups) each(tell func(key []string, count int)) {
	for _, k := range g.order {
		tell(g.keys[k], g.count[k])
	}
}

// nodesOfStranded says also where they were; of many, how many for each reason.
func nodesOfStranded(stranded []*skerryv1.Stranded) *table {
	if len(stranded) > maxRows {
		alike := newGroups()
		for _, s := range stranded {
			alike.add(s.GetWorkload(), s.GetWhy())
		}
		t := newTable("WORKLOAD", "PLACEMENTS", "WHY")
		alike.each(func(key []string, count int) { t.row(key[0], fmt.Sprint(count), key[1]) })
		return t
	}
	t := newTable("WORKLOAD", "PLACEMENT", "NODE", "WHY")
	for _, s := range stranded {
		t.row(s.GetWorkload(), orDash(s.GetPlacement()), orDash(s.GetNode()), s.GetWhy())
	}
	return t
}

func (a *app) lines(title string, lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(a.Out, "\n%s:\n  %s\n", title, strings.Join(lines, "\n  "))
	return err
}

func (a *app) verdict(answer *skerryv1.WhatIfResponse, hit int, unable string) error {
	text := "Everything that runs now would run on."
	switch {
	case !answer.GetSettled():
		text = "It did not come to rest: what is shown is how far it got."
	case hit > 0:
		text = plural(hit, "placement") + " " + unable + "."
	}
	_, err := fmt.Fprintf(a.Out, "\n%s\n", text)
	return err
}
