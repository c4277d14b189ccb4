package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/deferred"
	"skerry.dev/shared/problem"
)

// queuedWord is what users write for changes that wait.
const queuedWord = "queued"

// whenConnected is the flag of commands whose change may wait.
type whenConnected bool

func (w *whenConnected) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar((*bool)(w), "when-connected", false, "if there is no coordinator in reach, leave the change with the node that answers, to be made when there is one")
}

// later queues a change that failed with refused because there is no coordinator, if
// the flag asks for that; if not, it offers to. Any other refusal it returns.
func (a *app) later(ctx context.Context, c *client.Client, wait whenConnected, change *skerryv1.DeferredChange, refused error) error {
	if !passing(refused) {
		return refused
	}
	if wait {
		return a.queue(ctx, c, change, refused)
	}
	var p *problem.Error
	if deferred.Suits(change) != nil || !errors.As(refused, &p) {
		return refused
	}
	const leave = "--when-connected leaves the change with the node that answers"
	if p.Hint == "" {
		return p.WithHint(leave)
	}
	return p.WithHint("%s; %s", p.Hint, leave)
}

// queue a change, signed by this operator, on the node that answers.
func (a *app) queue(ctx context.Context, c *client.Client, change *skerryv1.DeferredChange, refused error) error {
	key, principal, err := a.Key(a.target)
	if err != nil {
		return err
	}
	known, err := c.Queue().ListQueued(ctx, connect.NewRequest(&skerryv1.ListQueuedRequest{}))
	if err != nil {
		return errors.Join(refused, fromCall(err))
	}
	epoch, _, _ := strings.Cut(known.Msg.GetFreshness().GetEpoch(), ".")
	if change.SiteEpoch, err = strconv.ParseUint(epoch, 10, 64); err != nil {
		return problem.New(problem.Internal, "queue", "%s does not say which site epoch it knows", known.Msg.GetFreshness().GetNode())
	}
	now := known.Msg.GetSiteTime()
	change.Principal, change.Index = principal, known.Msg.GetFreshness().GetIndex()
	change.Queued, change.Expires = now, timestamppb.New(now.AsTime().Add(deferred.Lifetime))
	signed, err := deferred.Sign(key, a.Rand, change)
	if err != nil {
		return err
	}
	answer, err := call(ctx, a, c.Queue().Queue, &skerryv1.QueueRequest{Change: signed})
	if err != nil {
		return err
	}
	queued := answer.GetQueued()
	_, err = fmt.Fprintf(a.Out, "%s queued on %s as %s, until %s: skerry get queued\n", oneLine(strings.Join(queued.GetResources(), ", ")),
		oneLine(queued.GetNode()), oneLine(queued.GetRequestId()), queued.GetExpires().AsTime().Local().Format("2006-01-02 15:04"))
	return err
}

// queued lists what waits, and what became of what did.
func (o *getOptions) queued(cmd *cobra.Command) error {
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		answer, err := call(ctx, o.app, c.Queue().ListQueued, &skerryv1.ListQueuedRequest{})
		if err != nil {
			return err
		}
		if o.output.isData() {
			return o.output.write(o.Out, answer)
		}
		if len(answer.GetChanges()) == 0 {
			_, err := fmt.Fprintln(o.Err, "nothing is queued")
			return err
		}
		t := newTable("ID", "CHANGE", "BY", "NODE", "QUEUED", "STATE", "REASON")
		for _, q := range answer.GetChanges() {
			state := strings.ToLower(strings.TrimPrefix(q.GetState().String(), "QUEUED_STATE_"))
			t.row(q.GetRequestId(), q.GetVerb()+" "+strings.Join(q.GetResources(), ", "), lastOf(q.GetPrincipal()), q.GetNode(),
				o.since(q.GetQueued().AsTime()), state, orDash(q.GetReason()))
		}
		return t.write(o.Out, "")
	})
}

// withdraw changes that wait on the node that answers.
func (o *deleteOptions) withdraw(cmd *cobra.Command, ids []string) error {
	return o.bounded(cmd, func(ctx context.Context, c *client.Client) error {
		var failed []error
		for _, id := range ids {
			_, err := call(ctx, o.app, c.Queue().Withdraw, &skerryv1.WithdrawRequest{RequestId: id})
			if err == nil {
				_, err = fmt.Fprintf(o.Out, "queued/%s withdrawn\n", oneLine(id))
			}
			failed = append(failed, err)
		}
		return errors.Join(failed...)
	})
}

// lastOf a path.
func lastOf(path string) string { return path[strings.LastIndex(path, "/")+1:] }
