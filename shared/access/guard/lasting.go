package guard

import (
	"context"
	"time"

	"skerry.dev/shared/env"
)

// askAgain is the shortest time between two looks whether a call may go on: the
// state of a busy site changes a thousand times a second.
const askAgain = 250 * time.Millisecond

// Lasting is for calls that last: the context ends when the caller may not do any
// more what was asked, by the records and labels of then. changed is closed at
// the next change of those. end waits for the watch to end and returns what to
// answer: the refusal if there was one, else err.
func (c *Call) Lasting(ctx context.Context, clock env.Clock, changed func() <-chan struct{}) (lasting context.Context, end func(err error) error) {
	lasting, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	var refusal error
	go func() {
		defer close(watched)
		if c.isJudged() {
			refusal = c.untilRefused(lasting, clock, changed)
			cancel(refusal)
		}
	}()
	return lasting, func(err error) error {
		cancel(nil)
		<-watched
		if refusal != nil {
			return refusal
		}
		return err
	}
}

// untilRefused returns why the call may not go on; nil when it has ended.
func (c *Call) untilRefused(ctx context.Context, clock env.Clock, changed func() <-chan struct{}) error {
	for {
		next := changed()
		if err := c.Again(); err != nil {
			return err
		}
		select {
		case <-next:
		case <-ctx.Done():
			return nil
		}
		if env.Sleep(ctx, clock, askAgain) != nil {
			return nil
		}
	}
}
