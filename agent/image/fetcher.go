// Package image brings images from the node that has them to the node that
// needs them: whole blobs, over mutual TLS, verified by their digest.
//
// It knows nothing of what an image is for; the store decides what is missing.
package image

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"

	"golang.org/x/sync/singleflight"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/problem"
)

// maxRounds bounds how often a store may ask for more: an index, a manifest,
// its configuration and layers.
const maxRounds = 8

// Source is a node that holds an image, and what it wants to see.
type Source struct {
	// Address is host:port.
	Address string
	// Ticket for the image, of this node, at that one (shared/ticket).
	Ticket []byte
}

// Fetcher makes images present in a store. It is safe for concurrent use.
type Fetcher struct {
	Store *Shelf
	// Client reaches other nodes for content.
	Client func() *http.Client
	Logger *slog.Logger

	flights singleflight.Group
}

// Ensure makes the image with this manifest digest present under the name,
// from any of the sources. Calls for the same image share
// one fetch. What was fetched before a failure is kept for the next attempt.
func (f *Fetcher) Ensure(ctx context.Context, digest, name string, sources []Source) error {
	shared := f.flights.DoChan(digest+" "+name, func() (any, error) {
		return nil, f.ensure(ctx, digest, name, sources)
	})
	select {
	case result := <-shared:
		return result.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *Fetcher) ensure(ctx context.Context, digest, name string, sources []Source) error {
	f.Store.using.RLock()
	defer f.Store.using.RUnlock()
	present, err := f.Store.Images(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(present, func(i runtime.StoredImage) bool { return i.Digest == digest && i.Name == name }) {
		return nil
	}
	for range maxRounds {
		missing, err := f.Store.Missing(ctx, digest)
		if err != nil {
			return err
		}
		if len(missing) == 0 {
			return f.Store.Complete(ctx, name, digest)
		}
		for _, blob := range missing {
			if err := f.fetch(ctx, digest, blob, sources); err != nil {
				return problem.New(problem.KindOf(err), "Image/"+name, "it could not be fetched: %w", err).
					WithHint("load it again on any node: skerry image load FILE")
			}
		}
	}
	return problem.New(problem.Internal, "Image/"+name, "it names ever more blobs; given up after %d rounds", maxRounds)
}

// Removed rises with each image that is removed from the store, or might have been.
func (f *Fetcher) Removed() uint64 { return f.Store.Removed() }

// fetch stores one blob of an image from the first source that gives it.
func (f *Fetcher) fetch(ctx context.Context, image string, blob runtime.Blob, sources []Source) error {
	if len(sources) == 0 {
		return problem.New(problem.Unavailable, blob.Digest, "no node is known to hold it")
	}
	var failures []error
	for _, source := range sources {
		err := f.fetchFrom(ctx, image, blob, source)
		if err == nil {
			return nil
		}
		f.Logger.Debug("a blob was not fetched", "digest", blob.Digest, "from", source.Address, "error", err)
		failures = append(failures, fmt.Errorf("%s: %w", source.Address, err))
		if ctx.Err() != nil {
			break
		}
	}
	return problem.New(problem.Unavailable, blob.Digest, "no node gave it: %w", errors.Join(failures...))
}

func (f *Fetcher) fetchFrom(ctx context.Context, image string, blob runtime.Blob, source Source) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+source.Address+blobPath+blob.Digest, nil)
	if err != nil {
		return err
	}
	request.Header.Set(imageHeader, image)
	request.Header.Set(ticketHeader, hex.EncodeToString(source.Ticket))
	response, err := f.Client().Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // read to its end, or given up
	if response.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(response.Body, 200)) // only to tell why
		return fmt.Errorf("%s: %s", response.Status, text)
	}
	if blob.Size == 0 {
		blob.Size = max(0, response.ContentLength)
	}
	return f.Store.WriteBlob(ctx, blob, response.Body)
}
