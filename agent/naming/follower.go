package naming

import (
	"context"
	"log/slog"
	"time"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
)

// keepEvery is how often the copy is written to the disk at most: what is lost by
// a power cut is a few seconds of it.
const keepEvery = 5 * time.Second

// FollowerConfig of a follower. All fields are required.
type FollowerConfig struct {
	*Book
	// Keep writes the copy to the ledger.
	Keep   func(*sitev1.EndpointCopy) error
	Env    env.System
	Logger *slog.Logger
}

// Follower keeps the copy as the coordinator has it: it comes on the stream of
// sync.
type Follower struct {
	FollowerConfig
	changed chan struct{}
}

// NewFollower returns a follower; Run makes it keep what it takes.
func NewFollower(config FollowerConfig) *Follower {
	return &Follower{FollowerConfig: config, changed: make(chan struct{}, 1)}
}

// Take takes in what the coordinator sent; see Book.
func (f *Follower) Take(response *sitev1.EndpointsResponse) error {
	if err := f.Book.Take(response); err != nil {
		return err
	}
	select {
	case f.changed <- struct{}{}:
	default:
	}
	return nil
}

// Run writes the copy to the ledger after it has changed, now and then, until ctx
// ends.
func (f *Follower) Run(ctx context.Context) error {
	for {
		select {
		case <-f.changed:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := f.Keep(f.Book.Copy()); err != nil {
			f.Logger.Warn("the copy of the endpoints could not be kept; it is tried again", "error", err)
		}
		if err := env.Sleep(ctx, f.Env.Clock, keepEvery); err != nil {
			return err
		}
	}
}
