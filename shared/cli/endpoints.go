package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

func endpointsCommand(a *app) *cobra.Command {
	o := &reading{app: a}
	cmd := &cobra.Command{
		Use:     "endpoints [WORKLOAD]",
		Aliases: []string{"ep"},
		GroupID: GroupSee,
		Short:   "Show where workloads are reached: what DNS answers from",
		Long: `Endpoints lists the placements behind the names that each node's DNS answers,
WORKLOAD.PROJECT.SITE.skerry. Only those that serve are in the answers. ADDRESS
and PORTS are what others connect to; what publishes no port has none but on its
own node.`,
		Example: `  skerry endpoints
  skerry endpoints web
  skerry endpoints api -p shop -o json`,
		Args: Args(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return o.endpoints(cmd, strings.Join(args, "")) },
	}
	o.addProject(cmd, "only this project, by `NAME`; of a workload the default is \"default\"")
	o.addStale(cmd)
	o.output.add(cmd, false)
	return cmd
}

func (o *reading) endpoints(cmd *cobra.Command, workload string) error {
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Naming().Endpoints, &skerryv1.EndpointsRequest{
			Project: o.project, Workload: workload, Stale: o.stale,
		})
		if err != nil {
			return err
		}
		if o.output.isData() {
			return o.output.write(o.Out, answer)
		}
		if len(answer.GetEndpoints()) == 0 {
			_, err := fmt.Fprintln(o.Err, "no endpoints")
			return err
		}
		t := newTable("NAME", "PLACEMENT", "NODE", "STATE", "ADDRESS", "PORTS")
		for _, e := range answer.GetEndpoints() {
			address, ports := reachedAt(e)
			t.row(e.GetWorkload()+"."+e.GetProject()+"."+answer.GetDomain(), e.GetPlacement(), e.GetNode(),
				endpointState(e), address, ports)
		}
		return t.write(o.Out, "")
	})
}

// reachedAt is what others connect to.
func reachedAt(e *skerryv1.Endpoint) (address, ports string) {
	address, given, where := e.GetNodeAddress(), e.GetPorts(), ""
	if len(given) == 0 {
		address, given, where = e.GetLocalAddress(), e.GetLocalPorts(), " (only on "+e.GetNode()+")"
	}
	if address == "" || len(given) == 0 && e.GetLocalAddress() == "" {
		return "", ""
	}
	var words []string
	for _, p := range given {
		words = append(words, strings.TrimPrefix(fmt.Sprintf("%s=%d/%s", p.GetName(), p.GetPort(), p.GetProtocol()), "="))
	}
	return address, strings.TrimSpace(strings.Join(words, ",") + where)
}

func endpointState(e *skerryv1.Endpoint) string {
	word := strings.TrimPrefix(e.GetState().String(), "ENDPOINT_STATE_")
	return strings.ToLower(strings.ReplaceAll(word, "_", " "))
}
