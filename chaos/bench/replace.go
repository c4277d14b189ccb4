package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	replaceRuns = 20
	webPort     = 18080
)

// replace measures, on a site of three hosts with default settings, from the
// moment when the power of the host of a container is cut to the first page
// that its replacement on another host serves.
func replace(ctx context.Context, binary, dir string) (result, error) {
	r, err := newSite(ctx, binary, dir, 3)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	if err := loadImage(ctx, r); err != nil {
		return nil, err
	}
	if err := applyWeb(ctx, r); err != nil {
		return nil, err
	}
	var seconds []float64
	for run := range replaceRuns {
		took, err := replaceOnce(ctx, r)
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", run+1, err)
		}
		progress("run %d: %.3f s", run+1, took.Seconds())
		seconds = append(seconds, took.Seconds())
	}
	return summary(seconds, "s"), nil
}

// applyWeb asks for one web server.
func applyWeb(ctx context.Context, r *hosts.Rig) error {
	c, err := r.Client()
	if err != nil {
		return err
	}
	_, err = c.Resources().Apply(ctx, connect.NewRequest(&skerryv1.ApplyRequest{
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: &skerryv1.Workload{
			Kind: "Workload", Name: "web", Replicas: proto.Uint32(1), StopGrace: "0s",
			Container: &skerryv1.Container{
				Image: testImage,
				Ports: []*skerryv1.Port{{Name: "http", Port: 8080, HostPort: webPort}},
			},
		}}}},
	}))
	return err
}

func replaceOnce(ctx context.Context, r *hosts.Rig) (time.Duration, error) {
	if err := r.Settled(ctx); err != nil {
		return 0, err
	}
	victim, err := onlyServing(ctx, r)
	if err != nil {
		return 0, err
	}
	begun := time.Now()
	if err := victim.PowerOff(); err != nil {
		return 0, err
	}
	if _, err := serving(ctx, r, victim); err != nil {
		return 0, err
	}
	took := time.Since(begun)
	if err := victim.Boot(ctx); err != nil {
		return 0, err
	}
	return took, victim.StartAgent()
}

// onlyServing waits until one host serves the page and no other, as the site
// wants it: after a healing the surplus copy serves on for a moment.
func onlyServing(ctx context.Context, r *hosts.Rig) (*hosts.Host, error) {
	c, err := r.Client()
	if err != nil {
		return nil, err
	}
	client := r.PlainHTTP()
	client.Timeout = 250 * time.Millisecond
	var only *hosts.Host
	err = r.Until(ctx, "one copy", patience, func(ctx context.Context) error {
		got, err := c.Resources().List(ctx, connect.NewRequest(&skerryv1.ListRequest{Kind: "Placement"}))
		if err != nil {
			return err
		}
		if n := len(got.Msg.GetResources()); n != 1 {
			return fmt.Errorf("there are %d placements", n)
		}
		if only = r.Host(got.Msg.GetResources()[0].GetPlacement().GetNode()); only == nil {
			return errors.New("it has no node yet")
		}
		for _, h := range r.Hosts {
			if err := fetch(ctx, client, h); (err == nil) != (h == only) {
				return fmt.Errorf("%s serves it or not: %v", h.Name, err)
			}
		}
		return nil
	})
	return only, err
}

// serving waits for a host, other than the one that is off, that serves the
// page.
func serving(ctx context.Context, r *hosts.Rig, off *hosts.Host) (*hosts.Host, error) {
	client := r.PlainHTTP()
	client.Timeout = 250 * time.Millisecond
	var found *hosts.Host
	err := r.Until(ctx, "a page", patience, func(ctx context.Context) error {
		for _, h := range r.Hosts {
			if h == off {
				continue
			}
			if err := fetch(ctx, client, h); err == nil {
				found = h
				return nil
			}
		}
		return fmt.Errorf("no host serves it")
	})
	return found, err
}

func fetch(ctx context.Context, client *http.Client, h *hosts.Host) error {
	url := "http://" + net.JoinHostPort(h.Address, strconv.Itoa(webPort)) + "/"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // read to its end
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", response.Status)
	}
	return nil
}
