package cli

import (
	"strings"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func nodeCommand(a *app) *cobra.Command {
	group := Group(&cobra.Command{
		Use:     "node COMMAND",
		GroupID: GroupSite,
		Short:   "The machines of the site",
	})
	o := &getOptions{reading: reading{app: a}}
	list := &cobra.Command{
		Use:     "list",
		Short:   "List the nodes of the site",
		Long:    "List shows the nodes of the site: their state, their part in the log, what they have.\nIt is the same as: skerry get nodes.",
		Example: "  skerry node list\n  skerry node list -o wide",
		Args:    Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, []string{"node"})
		},
	}
	o.addStale(list)
	o.output.add(list, true)
	group.AddCommand(list, nodeEvictCommand(a), cordonCommand(a), uncordonCommand(a), drainCommand(a), maintenanceCommand(a), returnCommand(a),
		labelCommand(a), confirmOffCommand(a), replaceCommand(a))
	return group
}

func (r *reading) nodeTable(resources []*skerryv1.Resource, wide bool) *table {
	headings := []string{"NAME", "ZONE", "STATE", "FOR", "VOTER", "VERSION", "ATTENTION"}
	if wide {
		headings = append(headings, "ADDRESS", "CPU", "MEMORY", "DISK FREE", "LABELS", "ID")
	}
	t := newTable(headings...)
	for _, resource := range resources {
		n := resource.GetNode()
		cells := []string{
			n.GetName(), n.GetZone(), nodeState(n), r.since(n.GetStateSince().AsTime()),
			voterRole(n), n.GetVersion(), conditions(n),
		}
		if wide {
			cells = append(cells, n.GetAddress(), cores(n.GetCapacity().GetCpuMilli()),
				size(n.GetCapacity().GetMemoryBytes()), diskFree(n.GetRoom()), pairs(n.GetLabels()), n.GetId())
		}
		t.row(cells...)
	}
	return t
}

// conditions names what needs attention on a node.
func conditions(n *skerryv1.Node) string {
	var types []string
	for _, condition := range n.GetConditions() {
		types = append(types, condition.GetType())
	}
	return joined(types)
}

func joined(words []string) string { return strings.Join(words, ",") }
