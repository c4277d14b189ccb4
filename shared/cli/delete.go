package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/manifest"
)

type deleteOptions struct {
	reading
	files []string
	// withData deletes the data of volumes too.
	withData bool
	wait     whenConnected
}

// doomed is a resource to delete.
type doomed struct{ kind, project, name string }

func deleteCommand(a *app) *cobra.Command {
	o := &deleteOptions{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:     "delete (KIND NAME... | queued ID... | -f FILE)",
		GroupID: GroupChange,
		Short:   "Delete resources",
		Long: `Delete removes workloads. Their placements are stopped by their nodes, with the
grace that the workload asks for; a node that is cut off stops them when it is
back.

A volume that may hold data is deleted only with --with-data, and only while no
workload names it.

With several names the others are deleted also when one fails.

With --when-connected what cannot be deleted now is when there is a coordinator in
reach, as skerry apply --help tells. delete queued withdraws a change that waits.`,
		Example: `  skerry delete workload web
  skerry delete wl web db -p shop
  skerry delete -f web.yaml
  skerry delete queued 1f2e3d4c5b6a79880011223344556677`,
		Args:              Args(0, -1),
		ValidArgsFunction: o.completeNames,
		RunE:              o.run,
	}
	o.addProject(cmd, "project `NAME` of the named resources (default \"default\")")
	addFiles(cmd, &o.files)
	o.wait.add(cmd)
	cmd.Flags().BoolVar(&o.withData, "with-data", false, "of volumes: delete their data too, for good")
	return cmd
}

func (o *deleteOptions) run(cmd *cobra.Command, args []string) error {
	if len(args) > 1 && args[0] == queuedWord {
		return o.withdraw(cmd, args[1:])
	}
	targets, err := o.targets(cmd, args)
	if err != nil {
		return err
	}
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		var failed []error
		for _, target := range targets {
			failed = append(failed, o.one(ctx, c, target))
		}
		return errors.Join(failed...)
	})
}

func (o *deleteOptions) targets(cmd *cobra.Command, args []string) ([]doomed, error) {
	switch {
	case len(o.files) > 0 && len(args) > 0:
		return nil, usage(cmd, "give names or -f, not both")
	case len(o.files) > 0:
		return o.declared()
	case len(args) < 2:
		return nil, usage(cmd, "a kind and a name are needed")
	}
	k, err := parseKind(args[0])
	if err != nil {
		return nil, err
	}
	targets := make([]doomed, 0, len(args)-1)
	for _, name := range args[1:] {
		targets = append(targets, doomed{kind: k.name, project: o.project, name: name})
	}
	return targets, nil
}

// declared are the resources that the manifests declare.
func (o *deleteOptions) declared() ([]doomed, error) {
	resources, err := readManifests(o.In, o.files, func(string, *skerryv1.Resource) error { return nil })
	if err != nil {
		return nil, err
	}
	targets := make([]doomed, 0, len(resources))
	for _, resource := range resources {
		targets = append(targets, doomed{kind: manifest.KindOf(resource), project: inside(resource).GetProject(), name: inside(resource).GetName()})
	}
	// What names secrets goes before them.
	slices.SortStableFunc(targets, func(a, b doomed) int {
		return cmp.Compare(strings.Count(a.kind, "Secret"), strings.Count(b.kind, "Secret"))
	})
	return targets, nil
}

func (o *deleteOptions) one(ctx context.Context, c *client.Client, target doomed) error {
	id, err := o.requestID()
	if err != nil {
		return err
	}
	request := &skerryv1.DeleteRequest{
		Kind: target.kind, Name: target.name, Project: target.project, RequestId: id, WithData: o.withData && target.kind == "Volume",
	}
	_, err = call(ctx, o.app, c.Resources().Delete, request)
	if err != nil {
		return o.later(ctx, c, o.wait, &skerryv1.DeferredChange{RequestId: id, Change: &skerryv1.DeferredChange_Delete{Delete: request}}, err)
	}
	_, err = fmt.Fprintf(o.Out, "%s deleted\n", subject(target.kind, target.name))
	return err
}
