package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/sitetime"
)

func siteCommand(a *app) *cobra.Command {
	group := Group(&cobra.Command{
		Use:     "site COMMAND",
		GroupID: GroupSite,
		Short:   "The site as a whole: begin one, stop and start it, recover it, its time, its gossip key",
	})
	group.AddCommand(siteTimeCommand(a), rotateGossipCommand(a), siteStopCommand(a), siteStartCommand(a), siteReportCommand(a))
	return group
}

type siteTimeOptions struct {
	*app
	output outputFlag
}

func siteTimeCommand(a *app) *cobra.Command {
	o := &siteTimeOptions{app: a}
	cmd := &cobra.Command{
		Use:   "time",
		Short: "Show site time, and which clocks are off",
		Long: `Time shows the site's time and the clock of each node against it. By site time
the site judges certificates and tokens and stamps its events. It follows the
middle of the voters' clocks, never goes back, and never runs more than an hour
ahead of the monotonic clocks: what is beyond that an operator confirms with
skerry site time set. One wrong clock does not move it.`,
		Example: "  skerry site time\n  skerry site time set",
		Args:    Args(0, 0),
		RunE:    o.run,
	}
	o.output.add(cmd, false)
	cmd.AddCommand(siteTimeSetCommand(a))
	return cmd
}

func (o *siteTimeOptions) run(cmd *cobra.Command, _ []string) error {
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.SiteTime().GetSiteTime, &skerryv1.GetSiteTimeRequest{})
		if err != nil {
			return err
		}
		if o.output.isData() {
			return o.output.write(o.Out, answer)
		}
		return o.print(answer)
	})
}

func (o *siteTimeOptions) print(answer *skerryv1.GetSiteTimeResponse) error {
	now := answer.GetTime().AsTime()
	f := &fields{}
	f.add("Site time", utc(now))
	f.add("This machine", offset(o.Clock.Now().Sub(now)))
	if answer.GetMedian() != nil {
		f.add("Voters' clocks", offset(answer.GetMedian().AsTime().Sub(now)))
	}
	f.add("Can follow", sitetime.About(max(0, sitetime.Slack-now.Sub(answer.GetReference().AsTime())))+" more by itself")
	f.add("Set by hand", times(answer.GetEra()))
	if err := f.write(o.Out); err != nil {
		return err
	}
	t := newTable("NODE", "VOTER", "CLOCK", "AGAINST SITE TIME")
	for _, clock := range answer.GetClocks() {
		voter, shown, off := "-", "not heard of", "-"
		if clock.GetVoter() {
			voter = "voter"
		}
		if clock.GetClock() != nil {
			shown, off = utc(clock.GetClock().AsTime()), offset(clock.GetOffset().AsDuration())
		}
		t.row(clock.GetNode(), voter, shown, off)
	}
	if err := section(o.Out, "Clocks", t); err != nil {
		return err
	}
	lines := []string{"", "All clocks agree."}
	if len(answer.GetProblems()) > 0 {
		lines = []string{"", "Needs attention:"}
	}
	for _, text := range answer.GetProblems() {
		lines = append(lines, "  - "+oneLine(text))
	}
	_, err := fmt.Fprintln(o.Out, strings.Join(lines, "\n"))
	return err
}

// offset of a clock for people: below the tolerance it is right.
func offset(d time.Duration) string {
	if d.Abs() < time.Second {
		return "right"
	}
	return sitetime.Off(d)
}

func times(count uint64) string {
	if count == 0 {
		return "never"
	}
	return plural(int(count), "time")
}

func siteTimeSetCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "set [TIME]",
		Short: "Confirm the voters' clocks, or say what time it is",
		Long: `Set makes the site take over a time that it cannot know by itself: the middle of
the voters' clocks, or TIME, as in 2026-03-01T12:00:00Z. Correct the hosts'
clocks first. Site time may be set back.

Nothing that runs is touched. Identities that have expired by the new time are
renewed by themselves within a minute.`,
		Example: "  skerry site time set\n  skerry site time set 2026-03-01T12:00:00Z",
		Args:    Args(0, 1),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := a.requestID()
		if err != nil {
			return err
		}
		request := &skerryv1.SetSiteTimeRequest{RequestId: id}
		if len(args) == 1 {
			at, err := time.Parse(time.RFC3339, args[0])
			if err != nil {
				return usage(cmd, "%q is not a time such as 2026-03-01T12:00:00Z", args[0])
			}
			request.Time = timestamppb.New(at)
		}
		return a.bounded(cmd, func(ctx context.Context, c *client.Client) error {
			answer, err := call(ctx, a, c.SiteTime().SetSiteTime, request)
			if err != nil {
				return err
			}
			before, after := answer.GetBefore().AsTime(), answer.GetAfter().AsTime()
			_, err = fmt.Fprintf(a.Out, "site time set to %s; it was %s, which is %s\n", utc(after), utc(before), sitetime.Off(before.Sub(after)))
			return err
		})
	}
	return cmd
}
