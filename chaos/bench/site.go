package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"skerry.dev/agent/runtime/testimage"
	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	testImage = "site.local/bench:1"
	// patience bounds every wait for one result.
	patience = 60 * time.Second
	// attemptTime bounds one attempt of a write, attemptEvery is the pause
	// after one that failed.
	attemptTime  = 500 * time.Millisecond
	attemptEvery = 5 * time.Millisecond
)

// newSite brings up a site of n hosts. The caller closes it.
func newSite(ctx context.Context, binary, dir string, n int) (*hosts.Rig, error) {
	return namedSite(ctx, "bench", binary, dir, n)
}

// namedSite is newSite beside others.
func namedSite(ctx context.Context, name, binary, dir string, n int) (*hosts.Rig, error) {
	return siteOf(ctx, hosts.Options{Name: name, Dir: dir, Binary: binary}, n)
}

func siteOf(ctx context.Context, options hosts.Options, n int) (*hosts.Rig, error) {
	r, err := hosts.New(ctx, options)
	if err != nil {
		return nil, err
	}
	if err := r.Up(ctx, n); err != nil {
		return nil, fmt.Errorf("%w (and closing: %v)", err, r.Close())
	}
	return r, nil
}

// loadImage brings the image of a small web server, with more programs in it, to
// the site.
func loadImage(ctx context.Context, r *hosts.Rig, programs ...string) error {
	var archive bytes.Buffer
	if err := testimage.WriteDockerArchive(&archive, testImage, programs...); err != nil {
		return err
	}
	file := filepath.Join(r.Dir, "image.tar")
	if err := os.WriteFile(file, archive.Bytes(), 0o600); err != nil {
		return err
	}
	if _, err := r.Skerry(ctx, nil, "image", "load", file); err != nil {
		return err
	}
	return imageEverywhere(ctx, r, testImage)
}

// imageEverywhere waits until three hosts, or all, hold an image.
func imageEverywhere(ctx context.Context, r *hosts.Rig, name string) error {
	return r.Until(ctx, "copies of the image", patience, func(ctx context.Context) error {
		c, err := r.Client()
		if err != nil {
			return err
		}
		got, err := c.Resources().Get(ctx, connect.NewRequest(&skerryv1.GetRequest{Kind: "Image", Name: name}))
		if err != nil {
			return err
		}
		if nodes := got.Msg.GetResource().GetImage().GetNodes(); len(nodes) < min(3, len(r.Hosts)) {
			return fmt.Errorf("they are on %v", nodes)
		}
		return nil
	})
}

// writer is the part of the API that a write needs.
type writer interface {
	Apply(context.Context, *connect.Request[skerryv1.ApplyRequest]) (*connect.Response[skerryv1.ApplyResponse], error)
}

// firstWrite is the time from begun until a write is acknowledged, tried again
// and again.
func firstWrite(ctx context.Context, c writer, name string, begun time.Time) (time.Duration, error) {
	for attempt := 0; ; attempt++ {
		attemptCtx, cancel := context.WithTimeout(ctx, attemptTime)
		_, err := c.Apply(attemptCtx, connect.NewRequest(smallWrite("w", fmt.Sprintf("%s-%d", name, attempt))))
		cancel()
		if err == nil {
			return time.Since(begun), nil
		}
		if time.Since(begun) > patience {
			return 0, fmt.Errorf("no write was acknowledged within %s: %w", patience, err)
		}
		time.Sleep(attemptEvery)
	}
}

// smallWrite changes one label of a workload that runs nothing.
func smallWrite(name, value string) *skerryv1.ApplyRequest {
	return &skerryv1.ApplyRequest{
		RequestId: name + "-" + value,
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: &skerryv1.Workload{
			Kind:      "Workload",
			Name:      name,
			Labels:    map[string]string{"n": value},
			Replicas:  proto.Uint32(0),
			Container: &skerryv1.Container{Image: "site.local/none:1"},
		}}}},
	}
}
