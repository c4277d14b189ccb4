package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/manifest"
)

// describedEvents bounds the events about a node in its description.
const describedEvents = 20

type describeOptions struct{ reading }

func describeCommand(a *app) *cobra.Command {
	o := &describeOptions{reading{app: a}}
	cmd := &cobra.Command{
		Use:     "describe KIND NAME",
		GroupID: GroupSee,
		Short:   "Show all about one resource",
		Long: `Describe shows one resource for people: what it is, what belongs to it, and what
happened last. For programs there is: skerry get KIND NAME -o json.

` + kindLines(),
		Example: `  skerry describe workload web
  skerry describe placement web-3 -p shop
  skerry describe node node-2`,
		Args:              Args(2, 2),
		ValidArgsFunction: o.completeNames,
		RunE:              o.run,
	}
	o.addProject(cmd, "project `NAME` of the resource (default \"default\")")
	o.addStale(cmd)
	return cmd
}

func (o *describeOptions) run(cmd *cobra.Command, args []string) error {
	k, err := parseKind(args[0])
	if err != nil {
		return err
	}
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		resource, err := o.get(ctx, c, k, args[1])
		if err != nil {
			return err
		}
		switch {
		case resource.GetWorkload() != nil:
			return o.workload(ctx, c, resource.GetWorkload())
		case resource.GetPlacement() != nil:
			return o.placement(ctx, c, resource.GetPlacement())
		case resource.GetNode() != nil:
			return o.node(ctx, c, resource.GetNode())
		case resource.GetImage() != nil:
			return o.image(resource.GetImage())
		case resource.GetSecret() != nil:
			return o.secret(ctx, c, resource.GetSecret())
		default: // all there is of it
			yaml := outputFlag{value: "yaml"}
			return yaml.writeResource(o.Out, resource)
		}
	})
}

func (o *describeOptions) workload(ctx context.Context, c *client.Client, w *skerryv1.Workload) error {
	why, err := o.explain(ctx, c, "Workload", w.GetName())
	if err != nil {
		return err
	}
	f := &fields{}
	f.add("Workload", w.GetName())
	f.add("Project", w.GetProject())
	f.add("Now", why.GetSummary())
	f.add("Age", o.since(w.GetCreated().AsTime()))
	f.add("Generation", fmt.Sprint(w.GetGeneration()))
	f.add("Labels", pairs(w.GetLabels()))
	o.form(f, w)
	template(f, w)
	if !manifest.IsJob(w) {
		f.add("Update", update(w.GetUpdate()))
	}
	f.add("When cut off", partition(w.GetPartition()))
	f.add("Restart", restartPolicy(w.GetRestart()))
	f.add("Stop grace", w.GetStopGrace())
	if err := f.write(o.Out); err != nil {
		return err
	}
	if err := section(o.Out, "Runs", o.runTable(w)); err != nil {
		return err
	}
	if err := section(o.Out, "Placements", o.placementsOf(why.GetPlacements())); err != nil {
		return err
	}
	return section(o.Out, "Events", o.eventTable(why.GetEvents()))
}

func (o *describeOptions) placement(ctx context.Context, c *client.Client, p *skerryv1.Placement) error {
	why, err := o.explain(ctx, c, "Placement", p.GetName())
	if err != nil {
		return err
	}
	f := &fields{}
	f.add("Placement", p.GetName())
	f.add("Project", p.GetProject())
	f.add("Workload", fmt.Sprintf("%s, generation %d", p.GetWorkload(), p.GetGeneration()))
	f.add("State", sentence(", ", placementState(p), o.lost(p)))
	f.add("Message", p.GetStatus().GetMessage())
	f.add("Node", orDash(p.GetNode()))
	f.add("Lease", o.lease(ctx, c, p))
	f.add("Decision", p.GetDecision().GetSummary())
	f.add("Address", p.GetStatus().GetAddress())
	f.add("Power", power(p))
	f.add("Migration", migration(p))
	f.add("Runs by", p.GetStatus().GetAccel())
	f.add("Identity", o.identity(p.GetStatus()))
	f.add("Restarts", fmt.Sprint(p.GetStatus().GetRestarts()))
	f.add("Last exit", lastExit(p.GetStatus().GetLastExit()))
	f.add("Age", o.since(p.GetCreated().AsTime()))
	f.add("Labels", pairs(p.GetLabels()))
	template(f, p.GetSpec())
	f.add("Digest", p.GetImageDigest())
	if err := f.write(o.Out); err != nil {
		return err
	}
	if err := section(o.Out, "Snapshots", o.snapshotTable(p.GetStatus().GetSnapshots())); err != nil {
		return err
	}
	return section(o.Out, "Events", o.eventTable(why.GetEvents()))
}

func (o *describeOptions) node(ctx context.Context, c *client.Client, n *skerryv1.Node) error {
	answer, err := call(ctx, o.app, c.Resources().List, &skerryv1.ListRequest{Kind: "Placement", Stale: o.stale})
	if err != nil {
		return err
	}
	var here []*skerryv1.Placement
	for _, resource := range sortResources(answer.GetResources()) {
		if p := resource.GetPlacement(); p.GetNode() == n.GetName() {
			here = append(here, p)
		}
	}
	holds, err := o.holds(ctx, c, n, here)
	if err != nil { // a node that is cut off need not know
		holds = "not known: " + withoutHint(err)
	}
	f := &fields{}
	f.add("Node", n.GetName())
	f.add("Zone", n.GetZone())
	f.add("State", fmt.Sprintf("%s for %s", nodeState(n), o.since(n.GetStateSince().AsTime())))
	o.duty(f, n)
	for _, condition := range n.GetConditions() {
		f.add("Attention", condition.GetType()+": "+condition.GetMessage())
	}
	f.add("Voter", mayVote(n))
	f.add("Version", n.GetVersion())
	if n.GetSvidExpires() != nil {
		f.add("Identity", "counts until "+utc(n.GetSvidExpires().AsTime())+", also without any voter; renewed after half of its life")
	}
	f.add("Address", n.GetAddress())
	f.add("Gossip", n.GetGossipAddress())
	f.add("CPU", cores(n.GetCapacity().GetCpuMilli()))
	f.add("Memory", size(n.GetCapacity().GetMemoryBytes()))
	f.add("Disk", disk(n.GetRoom()))
	f.add("Holds", holds)
	f.add("Removed", o.removed(n.GetRoom().GetRemoved()))
	f.add("Devices", devices(n.GetCapacity().GetDevices()))
	f.add("Machines", vms(n))
	f.add("Identities", o.identitiesOn(n.GetName(), here))
	f.add("Labels", pairs(n.GetLabels()))
	f.add("Joined", o.since(n.GetCreated().AsTime())+" ago")
	f.add("ID", n.GetId())
	if err := f.write(o.Out); err != nil {
		return err
	}
	if err := section(o.Out, "Placements", o.placementsOf(here)); err != nil {
		return err
	}
	return o.eventsAbout(ctx, c, n)
}

// duty of a node that is out of service.
func (o *describeOptions) duty(f *fields, n *skerryv1.Node) {
	if until := n.GetDistrust().GetUntil(); until != nil {
		f.add("Distrusted", fmt.Sprintf("it was lost %s within an hour: until %s it gets new work only where no other node fits",
			plural(len(n.GetDistrust().GetLost()), "time"), utc(until.AsTime())))
	}
	if d := n.GetDuty(); d != nil {
		f.add("Duty", fmt.Sprintf("%s for %s", dutyName(d.GetDuty()), o.since(d.GetSince().AsTime())))
		f.add("Reason", d.GetReason())
		f.add("Drain", drainText(d.GetDrain()))
	}
}

func drainText(d *skerryv1.NodeDrain) string {
	switch {
	case d == nil:
		return ""
	case d.GetResult() != "":
		return d.GetResult()
	case d.GetDeadline() == nil:
		return "it goes on"
	default:
		return "it goes on until " + utc(d.GetDeadline().AsTime()) + " at the latest"
	}
}

// eventsAbout shows the last events about a node, when the answering node knows
// any: one that is alone does not.
func (o *describeOptions) eventsAbout(ctx context.Context, c *client.Client, n *skerryv1.Node) error {
	var events []*skerryv1.Event
	source := &eventsOptions{app: o.app, kind: "Node", name: n.GetName(), limit: describedEvents}
	end, err := source.each(ctx, c, func(event *skerryv1.Event) error {
		events = append(events, event)
		return nil
	})
	if err != nil {
		return err
	}
	if end != nil {
		_, err := fmt.Fprintf(o.Err, "! no events: %s\n", oneLine(withoutHint(fromCall(end))))
		return err
	}
	return section(o.Out, "Events", o.eventTable(events))
}

func (o *describeOptions) image(i *skerryv1.Image) error {
	f := &fields{}
	f.add("Image", i.GetName())
	f.add("Digest", i.GetDigest())
	f.add("Size", size(i.GetSize()))
	f.add("Nodes", orDash(joined(i.GetNodes())))
	f.add("Labels", pairs(i.GetLabels()))
	f.add("Age", o.since(i.GetCreated().AsTime()))
	return f.write(o.Out)
}

func (o *describeOptions) placementsOf(placements []*skerryv1.Placement) *table {
	t := newTable("NAME", "STATE", "NODE", "GENERATION", "RESTARTS", "AGE", "MESSAGE")
	for _, p := range placements {
		t.row(p.GetName(), placementState(p), p.GetNode(), fmt.Sprint(p.GetGeneration()),
			fmt.Sprint(p.GetStatus().GetRestarts()), o.since(p.GetCreated().AsTime()), message(p))
	}
	return t
}

func mayVote(n *skerryv1.Node) string {
	if n.GetWitness() {
		return "witness, now " + strings.TrimSuffix(voterRole(n), " (witness)") + ": it votes, runs nothing, holds no CA and no secrets"
	}
	if role := voterRole(n); role != "-" {
		return role
	}
	if n.GetMayVote() {
		return "no, but it may become one"
	}
	return "no, and it may not become one"
}
