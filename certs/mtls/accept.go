package mtls

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// acceptPause keeps a failing accept from spinning.
const acceptPause = 100 * time.Millisecond

// Accept takes connections until ctx ends, each for a goroutine of its own; then
// it waits for those. Beyond so many at once, further ones wait in the kernel.
// failed is told of errors that may pass, such as too many open files.
func Accept(ctx context.Context, listener net.Listener, most int, failed func(error), serve func(context.Context, net.Conn)) error {
	ctx, cancel := context.WithCancel(ctx)
	var open sync.WaitGroup
	defer open.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() }) // Accept returns what matters
	defer stop()
	slots := make(chan struct{}, most)
	for {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		conn, err := accept(ctx, listener, failed)
		if err != nil {
			return err
		}
		open.Go(func() {
			defer func() { <-slots }()
			serve(ctx, conn)
		})
	}
}

// accept waits for the next connection.
func accept(ctx context.Context, listener net.Listener, failed func(error)) (net.Conn, error) {
	for {
		conn, err := listener.Accept()
		switch {
		case err == nil:
			return conn, nil
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case errors.Is(err, net.ErrClosed):
			return nil, fmt.Errorf("the listener on %s was closed: %w", listener.Addr(), err)
		}
		failed(err)
		select {
		case <-time.After(acceptPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
