package naming

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	"skerry.dev/shared/env"
)

const (
	// lookEvery is how often it is looked who coordinates.
	lookEvery = 200 * time.Millisecond
	// keepEvery is how often the copy is written to the disk at most: what is
	// lost by a power cut is a few seconds of it.
	keepEvery = 5 * time.Second
	// maxCopy bounds a message of the coordinator, in bytes.
	maxCopy = 32 << 20
)

// FollowerConfig of a follower. All fields are required.
type FollowerConfig struct {
	// Node is the name of this node.
	Node string
	Book *Book
	// Coordinator is its address while there is contact; empty otherwise.
	Coordinator func() string
	HTTP        connect.HTTPClient
	// Keep writes the copy to the ledger.
	Keep   func(*sitev1.EndpointCopy) error
	Env    env.System
	Logger *slog.Logger
}

// Follower keeps the copy as the coordinator has it.
type Follower struct {
	FollowerConfig
	changed chan struct{}
}

// NewFollower returns a follower; Run makes it follow.
func NewFollower(config FollowerConfig) *Follower {
	return &Follower{FollowerConfig: config, changed: make(chan struct{}, 1)}
}

// Run follows whoever coordinates, until ctx ends.
func (f *Follower) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.follow(ctx) })
	group.Go(func() error { return f.keep(ctx) })
	return group.Wait()
}

func (f *Follower) follow(ctx context.Context) error {
	for {
		if address := f.Coordinator(); address != "" {
			err := f.stream(ctx, address)
			if ctx.Err() == nil {
				f.Logger.Debug("the stream of endpoints ended", "address", address, "reason", err)
			}
		}
		// Thousands of nodes must not come in the same moment.
		pause := lookEvery/2 + time.Duration(f.Env.Rand.Uint64()%uint64(lookEvery))
		if err := env.Sleep(ctx, f.Env.Clock, pause); err != nil {
			return err
		}
	}
}

// stream takes in what one coordinator sends, for as long as it is the one that
// this node has contact with.
func (f *Follower) stream(ctx context.Context, address string) error {
	group, ctx := errgroup.WithContext(ctx)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group.Go(func() error {
		defer cancel()
		return f.receive(ctx, address)
	})
	group.Go(func() error {
		defer cancel()
		for f.Coordinator() == address {
			if err := env.Sleep(ctx, f.Env.Clock, lookEvery); err != nil {
				return err
			}
		}
		return errors.New("it is not the coordinator any more")
	})
	return group.Wait()
}

func (f *Follower) receive(ctx context.Context, address string) error {
	client := sitev1connect.NewEndpointServiceClient(f.HTTP, "https://"+address, connect.WithReadMaxBytes(maxCopy))
	stream, err := client.Endpoints(ctx, connect.NewRequest(&sitev1.EndpointsRequest{Node: f.Node, Digest: f.Book.Digest()}))
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }() // it is over whatever this says
	for stream.Receive() {
		if err := f.Book.Take(stream.Msg()); err != nil {
			return err
		}
		select {
		case f.changed <- struct{}{}:
		default:
		}
	}
	return stream.Err()
}

// keep writes the copy to the ledger after it has changed, now and then.
func (f *Follower) keep(ctx context.Context) error {
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
