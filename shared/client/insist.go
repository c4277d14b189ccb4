package client

import (
	"context"
	"time"

	"connectrpc.com/connect"
)

// askAgain is the pause before a write is asked for again.
const askAgain = 200 * time.Millisecond

// insist repeats writes that meet no coordinator, until c.Insist is over. That they
// carry the ID of their request makes them happen once.
func (c *Client) insist(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, question connect.AnyRequest) (connect.AnyResponse, error) {
		answer, err := next(ctx, question)
		if c.Insist <= 0 || !repeatable(question.Any()) || connect.CodeOf(err) != connect.CodeUnavailable {
			return answer, err
		}
		all := pauseFor(ctx, c.Insist)
		defer all.end()
		for connect.CodeOf(err) == connect.CodeUnavailable && !all.over() {
			rest := pauseFor(ctx, askAgain)
			<-rest.done
			rest.end()
			if ctx.Err() != nil {
				break
			}
			again, refused := next(ctx, question)
			if refused != nil && ctx.Err() != nil {
				break // why it was refused before says more than that the time is up
			}
			answer, err = again, refused
		}
		return answer, err
	}
}

func repeatable(question any) bool {
	write, ok := question.(interface{ GetRequestId() string })
	return ok && write.GetRequestId() != ""
}
