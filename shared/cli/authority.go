package cli

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// rotationTime bounds the wait for a rotation, rotationEvery is the pause
	// between two looks at it.
	rotationTime  = 5 * time.Minute
	rotationEvery = 500 * time.Millisecond
)

func authorityCommand(a *app) *cobra.Command {
	group := Group(&cobra.Command{
		Use:     "ca COMMAND",
		GroupID: GroupSite,
		Short:   "The site's certificate authorities",
	})
	group.AddCommand(authorityListCommand(a), authorityRotateCommand(a))
	return group
}

type authorityList struct {
	*app
	output outputFlag
}

func authorityListCommand(a *app) *cobra.Command {
	o := &authorityList{app: a}
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the CAs that count",
		Long: `List shows the certificate authorities of the site: one on each voter, and old ones
until no node's SVID hangs on them.`,
		Example: "  skerry ca list",
		Args:    Args(0, 0),
		RunE:    o.run,
	}
	o.output.add(cmd, false)
	return cmd
}

func (o *authorityList) run(cmd *cobra.Command, _ []string) error {
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Identity().ListAuthorities, &skerryv1.ListAuthoritiesRequest{})
		if err != nil {
			return err
		}
		if o.output.isData() {
			return o.output.write(o.Out, answer)
		}
		t := newTable("CA", "NODE", "STATE", "SVIDS")
		for _, authority := range answer.GetAuthorities() {
			state := "issues"
			if !authority.GetCurrent() {
				state = "is retired when nothing hangs on it"
			}
			fingerprint := authority.GetFingerprint()
			t.row(hex.EncodeToString(fingerprint[:min(len(fingerprint), 8)]), authority.GetNode(), state, joined(authority.GetNodes()))
		}
		if err := t.write(o.Out, ""); err != nil {
			return err
		}
		for _, what := range answer.GetWaiting() {
			if _, err := fmt.Fprintf(o.Out, "waiting for %s\n", oneLine(what)); err != nil {
				return err
			}
		}
		return nil
	})
}

type authorityRotate struct {
	*app
	noWait bool
}

func authorityRotateCommand(a *app) *cobra.Command {
	o := &authorityRotate{app: a}
	cmd := &cobra.Command{
		Use:   "rotate",
		Short: "Give every voter a new CA key",
		Long: `Rotate makes a new certificate authority on every voter, adds them to what the
site trusts, has every node get a new SVID, and retires the old ones when nothing
hangs on them any more. Nothing stops meanwhile. The command shows how far it is
and may be ended: the rotation goes on.`,
		Example: "  skerry ca rotate",
		Args:    Args(0, 0),
		RunE:    o.run,
	}
	cmd.Flags().BoolVar(&o.noWait, "no-wait", false, "begin the rotation and return")
	return cmd
}

func (o *authorityRotate) run(cmd *cobra.Command, _ []string) error {
	id, err := o.requestID()
	if err != nil {
		return err
	}
	begin := func(ctx context.Context, c *client.Client) error {
		_, err := call(ctx, o.app, c.Identity().RotateAuthorities, &skerryv1.RotateAuthoritiesRequest{RequestId: id})
		return err
	}
	switch err := o.bounded(cmd, begin); {
	case problem.KindOf(err) == problem.Conflict && !o.noWait:
		// The only conflict there is: join in.
		fmt.Fprintln(o.Err, "a rotation is under way already: this shows how far it is")
	case err != nil || o.noWait:
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), rotationTime)
	defer cancel()
	return o.unbounded(ctx, o.follow)
}

// follow tells what the rotation waits for until it is done.
func (o *authorityRotate) follow(ctx context.Context, c *client.Client) error {
	last := ""
	for {
		answer, err := call(ctx, o.app, c.Identity().ListAuthorities, &skerryv1.ListAuthoritiesRequest{})
		if err != nil {
			return err
		}
		old := 0
		for _, authority := range answer.GetAuthorities() {
			if !authority.GetCurrent() {
				old++
			}
		}
		waiting := strings.Join(answer.GetWaiting(), "; ")
		if waiting == "" && old == 0 {
			_, err := fmt.Fprintf(o.Out, "done: %d CAs, all of them new\n", len(answer.GetAuthorities()))
			return err
		}
		if waiting == "" {
			waiting = "the end of the old CAs"
		}
		if waiting != last {
			fmt.Fprintf(o.Err, "waiting for %s\n", oneLine(waiting))
			last = waiting
		}
		if env.Sleep(ctx, o.Clock, rotationEvery) != nil {
			return problem.New(problem.Timeout, "site", "the rotation is not done yet: it waits for %s", waiting).
				WithHint("it goes on by itself: skerry ca list shows how far it is")
		}
	}
}
