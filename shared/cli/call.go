package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/problem"
)

// bounded connects and runs calls that must all end within --timeout.
func (a *app) bounded(cmd *cobra.Command, run func(ctx context.Context, c *client.Client) error) error {
	if a.timeout <= 0 {
		return usage(cmd, "--timeout must be longer than nothing, not %s", a.timeout)
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), a.timeout)
	defer cancel()
	err := a.unbounded(ctx, run)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && problem.KindOf(err) == problem.Timeout {
		return problem.New(problem.Timeout, "site", "there was no answer within %s", a.timeout).
			WithHint("a change may have happened or not: look before you repeat it; --timeout gives more time")
	}
	return err
}

// unbounded connects and runs calls that last until they are done or ctx ends.
func (a *app) unbounded(ctx context.Context, run func(ctx context.Context, c *client.Client) error) error {
	c, err := a.Connect(ctx, a.target)
	if err != nil {
		return err
	}
	return run(ctx, c)
}

// call makes one call and says on standard error when the answer may be old.
func call[Q, A any](ctx context.Context, a *app,
	method func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), question *Q) (*A, error) {
	response, err := method(ctx, connect.NewRequest(question))
	if err != nil {
		return nil, fromCall(err)
	}
	if answer, ok := any(response.Msg).(interface{ GetFreshness() *skerryv1.Freshness }); ok {
		a.warnStale(answer.GetFreshness())
	}
	return response.Msg, nil
}

// passing tells whether an error may be gone with the next coordinator.
func passing(err error) bool {
	kind := problem.KindOf(err)
	return kind == problem.Unavailable || kind == problem.Timeout
}

// fromCall turns the error of a call into a problem; nil stays nil.
func fromCall(err error) error {
	if err == nil {
		return nil
	}
	if connectionBroke(err) {
		return &problem.Error{
			Kind: problem.Unavailable, Subject: "site", Message: "the connection was lost", Err: err,
			Hint: "look what has happened, then try again",
		}
	}
	err = problem.FromConnect(err)
	var p *problem.Error
	if errors.As(err, &p) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return problem.New(problem.Timeout, "site", "%w", err)
	}
	return problem.New(problem.Unavailable, "site", "%w", err)
}

// connectionBroke: no node has sent this error; the connection ended within an
// answer. Connect has no code of its own for that.
func connectionBroke(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeUnknown, connect.CodeInternal, connect.CodeInvalidArgument:
		return errors.As(err, new(*connect.Error)) && !connect.IsWireError(err)
	}
	return false
}

// warnStale tells that an answer may be out of date, how old it is at most and
// who gave it: once for several such answers in a row.
func (a *app) warnStale(f *skerryv1.Freshness) {
	warned := a.stale
	a.stale = f.GetStale()
	if !f.GetStale() || warned {
		return
	}
	fmt.Fprintf(a.Err, "! stale: %s\n", worth(f))
}

// worth says what a stale answer is worth.
func worth(f *skerryv1.Freshness) string {
	manner := "from what it knows"
	if !f.GetQuorum() {
		manner = "without quorum"
	}
	state := "state of unknown age"
	switch {
	case f.GetAge() != nil:
		state = fmt.Sprintf("state as of %s ago", age(f.GetAge().AsDuration()))
	case f.GetAsOf() != nil:
		state += ", last changed " + utc(f.GetAsOf().AsTime()) + " by site time"
	}
	return oneLine(fmt.Sprintf("answered by %s %s, %s (epoch %s)", f.GetNode(), manner, state, f.GetEpoch()))
}

// requestID makes a write idempotent: it may be sent again.
func (a *app) requestID() (string, error) {
	var id [16]byte
	if _, err := a.Rand.Read(id[:]); err != nil {
		return "", fmt.Errorf("no randomness: %w", err)
	}
	return hex.EncodeToString(id[:]), nil
}

// since is how long ago something happened by this machine's clock.
func (a *app) since(t time.Time) string {
	if t.IsZero() || t.Unix() == 0 {
		return "-"
	}
	return age(a.Clock.Now().Sub(t))
}
