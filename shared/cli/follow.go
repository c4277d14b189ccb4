package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// followTries bounds how often in a row a lost stream is taken up again.
	// Together they outlast a change of coordinator and a restart of an agent.
	followTries = 10
	// The wait before a try doubles from the first to the longest.
	followFirst   = 100 * time.Millisecond
	followLongest = 2 * time.Second
	// followSteady is how long a stream lasts to count as taken up again.
	followSteady = 10 * time.Second
)

// lostError is the end of a stream that another attempt may take up again.
type lostError struct{ why *problem.Error }

func (e *lostError) Error() string { return e.why.Error() }

// follow repeats attempt for as long as it only loses its stream.
func (a *app) follow(ctx context.Context, attempt func() error) error {
	tries, wait := 0, followFirst
	for {
		began := a.Clock.Elapsed()
		err := attempt()
		var lost *lostError
		if !errors.As(err, &lost) || ctx.Err() != nil {
			return err
		}
		if a.Clock.Elapsed()-began >= followSteady {
			tries, wait = 0, followFirst
		}
		if tries == followTries {
			return lost.why
		}
		if tries == 0 {
			fmt.Fprintf(a.Err, "! %s: trying again\n", oneLine(lost.why.Message))
		}
		if err := env.Sleep(ctx, a.Clock, wait); err != nil {
			return fromCall(err)
		}
		tries, wait = tries+1, min(2*wait, followLongest)
	}
}

// endOfFollow says what the end of a stream means that should have gone on: it
// is lost unless the site has refused it.
func endOfFollow(err error) error {
	if err == nil {
		return &lostError{problem.New(problem.Unavailable, "site", "the node ended the connection").
			WithHint("is it being restarted? skerry status shows the nodes")}
	}
	err = fromCall(err)
	var p *problem.Error
	if errors.As(err, &p) && (p.Kind == problem.Unavailable || p.Kind == problem.Timeout) {
		return &lostError{p}
	}
	return err
}
