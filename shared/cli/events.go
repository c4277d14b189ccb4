package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/problem"
)

const (
	defaultEvents = 100
	// keptEvents is how many events a site keeps.
	keptEvents = 4096
)

type eventsOptions struct {
	*app
	follow bool
	limit  uint32
	output outputFlag

	kind, name string
	// last is the newest event that was printed.
	last    *skerryv1.Event
	printed bool
}

func eventsCommand(a *app) *cobra.Command {
	o := &eventsOptions{app: a}
	cmd := &cobra.Command{
		Use:     "events [KIND [NAME]]",
		GroupID: GroupSee,
		Short:   "Show what happened",
		Long: `Events lists what happened in the site, oldest first: time (UTC), severity,
reason, what it is about, and the message. The site keeps the last 4096 events.

With -f it goes on until Ctrl-C, through a lost connection and a change of
coordinator, and leaves no event out. With -o json each event is one line.`,
		Example: `  skerry events --limit 20
  skerry events -f
  skerry events node node-2
  skerry events -f -o json | jq .reason`,
		Args:              Args(0, 2),
		ValidArgsFunction: (&reading{app: a}).completeNames,
		RunE:              o.run,
	}
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on with what happens")
	cmd.Flags().Uint32VarP(&o.limit, "limit", "n", defaultEvents, "only the last `COUNT` past events")
	o.output.add(cmd, false)
	return cmd
}

func (o *eventsOptions) run(cmd *cobra.Command, args []string) error {
	if o.limit < 1 || o.limit > keptEvents {
		return problem.New(problem.Invalid, "", "--limit must be 1 to %d, not %d", keptEvents, o.limit)
	}
	if len(args) > 0 {
		k, err := parseKind(args[0])
		if err != nil {
			return err
		}
		o.kind, o.name = k.name, strings.Join(args[1:], "")
	}
	if !o.follow {
		return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
			end, err := o.each(ctx, c, o.print)
			return cmp.Or(err, fromCall(end))
		})
	}
	return o.unbounded(cmd.Context(), func(ctx context.Context, c *client.Client) error {
		return o.app.follow(ctx, func() error {
			end, err := o.each(ctx, c, o.print)
			return cmp.Or(err, endOfFollow(end))
		})
	})
}

// each reads one stream. It returns how the stream ended, and apart from that
// what went wrong here.
func (o *eventsOptions) each(ctx context.Context, c *client.Client, use func(*skerryv1.Event) error) (end, err error) {
	stream, end := c.Site().Events(ctx, connect.NewRequest(o.request()))
	if end != nil {
		return end, nil
	}
	defer func() { _ = stream.Close() }() // read to its end, or given up
	for stream.Receive() {
		o.warnStale(stream.Msg().GetFreshness())
		event := stream.Msg().GetEvent()
		if !isAfter(event, o.last) {
			continue
		}
		o.last = event
		if err := use(event); err != nil {
			return nil, err
		}
	}
	return stream.Err(), nil
}

// request asks for what comes after the last event. The stream may have been
// lost between two events of one log entry: that entry is asked for again.
func (o *eventsOptions) request() *skerryv1.EventsRequest {
	request := &skerryv1.EventsRequest{Follow: o.follow, Kind: o.kind, Name: o.name, Limit: o.limit}
	if o.last != nil {
		request.After, request.Limit = o.last.GetIndex()-1, keptEvents
	}
	return request
}

func (o *eventsOptions) print(event *skerryv1.Event) error {
	switch o.output.value {
	case "json":
		return o.printJSON(event)
	case "yaml":
		return o.printYAML(event)
	}
	_, err := fmt.Fprintln(o.Out, eventLine(event))
	return err
}

func (o *eventsOptions) printJSON(event *skerryv1.Event) error {
	encoded, err := canonicalJSON(event)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.Out, "%s\n", encoded)
	return err
}

func (o *eventsOptions) printYAML(event *skerryv1.Event) error {
	if o.printed {
		if _, err := io.WriteString(o.Out, "---\n"); err != nil {
			return err
		}
	}
	o.printed = true
	return o.output.write(o.Out, event)
}

func isAfter(event, last *skerryv1.Event) bool {
	return last == nil || cmp.Or(cmp.Compare(event.GetIndex(), last.GetIndex()), cmp.Compare(event.GetSub(), last.GetSub())) > 0
}

// eventLine has columns of a fixed width: nobody knows what comes next.
func eventLine(e *skerryv1.Event) string {
	return oneLine(fmt.Sprintf("%s  %-7s  %-18s  %-16s  %s",
		utc(e.GetAt().AsTime()), severity(e), e.GetReason(), eventSubject(e), e.GetMessage()))
}

// utc is a moment as all nodes and people of a site read it alike.
func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

func severity(e *skerryv1.Event) string {
	if e.GetSeverity() == skerryv1.Severity_SEVERITY_WARNING {
		return "warning"
	}
	return "info"
}

func eventSubject(e *skerryv1.Event) string {
	about := subject(e.GetKind(), e.GetName())
	if project := e.GetProject(); project != "" && project != "default" {
		about += " in " + project
	}
	return about
}

// eventTable shows events that are all there already.
func (a *app) eventTable(events []*skerryv1.Event) *table {
	t := newTable("AGO", "SEVERITY", "REASON", "ABOUT", "MESSAGE")
	for _, e := range events {
		t.row(a.since(e.GetAt().AsTime()), severity(e), e.GetReason(), eventSubject(e), e.GetMessage())
	}
	return t
}
