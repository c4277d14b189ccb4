// Package client calls the operators' API of a site: it finds a node that
// answers, asks it for the voters, and goes on with the coordinator.
//
// It knows nothing of certificates: the HTTP client that it is given does.
package client

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/problem"
)

const (
	// locateTimeout bounds the question to one node.
	locateTimeout = time.Second
	// maxMessage bounds one answer: the lists of a large site.
	maxMessage = 64 << 20
)

// Client calls one site. It is safe for concurrent use.
type Client struct {
	// Learned, if set, is told the addresses of the site's voters whenever a
	// node names them. Set it before the first call.
	Learned func(voters []string)

	http      *http.Client
	addresses []string

	mu   sync.Mutex
	base string
}

// New returns a client that tries the nodes at the addresses, host:port, in
// order.
func New(httpClient *http.Client, addresses []string) *Client {
	return &Client{http: httpClient, addresses: addresses}
}

// Resources, Site, Placements and Images are the services of the site.
func (c *Client) Resources() skerryv1connect.ResourceServiceClient {
	return skerryv1connect.NewResourceServiceClient(c, placeholder, options...)
}

// Site is the service that speaks of the site as a whole.
func (c *Client) Site() skerryv1connect.SiteServiceClient {
	return skerryv1connect.NewSiteServiceClient(c, placeholder, options...)
}

// Placements is the service that reaches into placements.
func (c *Client) Placements() skerryv1connect.PlacementServiceClient {
	return skerryv1connect.NewPlacementServiceClient(c, placeholder, options...)
}

// Images is the service that takes in images.
func (c *Client) Images() skerryv1connect.ImageServiceClient {
	return skerryv1connect.NewImageServiceClient(c, placeholder, options...)
}

// placeholder is replaced by the address of a voter in every request.
const placeholder = "https://site.invalid"

var options = []connect.ClientOption{connect.WithReadMaxBytes(maxMessage)}

// Do implements connect.HTTPClient: it sends the request to a voter. When that
// one does not answer, the next request looks for another; requests carry IDs,
// so callers may repeat them.
func (c *Client) Do(request *http.Request) (*http.Response, error) {
	base, err := c.locate(request.Context())
	if err != nil {
		return nil, err
	}
	request.URL.Host = base
	request.Host = base
	response, err := c.http.Do(request)
	if err != nil || response.StatusCode == http.StatusServiceUnavailable {
		c.forget(base)
	}
	if err != nil && request.Context().Err() == nil {
		return nil, problem.ToConnect(problem.New(problem.Unavailable, base, "the call did not get through: %w", err).
			WithHint("try again; another node will be asked"))
	}
	return response, err
}

func (c *Client) forget(base string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.base == base {
		c.base = ""
	}
}

// locate returns the address to send requests to: a voter, the coordinator if
// it is known; else a node that at least answers for itself.
func (c *Client) locate(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.base != "" {
		return c.base, nil
	}
	var failures []error
	alone := ""
	for _, address := range c.addresses {
		answer, err := c.ask(ctx, address)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		if c.Learned != nil && len(answer.GetVoters()) > 0 {
			c.Learned(answer.GetVoters())
		}
		if voter := c.firstAnswering(ctx, answer.GetVoters(), address); voter != "" {
			c.base = voter
			return voter, nil
		}
		if answer.GetVoter() {
			c.base = address
			return address, nil
		}
		if alone == "" {
			alone = address
		}
	}
	if alone != "" {
		return alone, nil
	}
	return "", c.unreachable(ctx, failures)
}

// firstAnswering is the first of the voters that answers. One that has just
// answered need not be asked again.
func (c *Client) firstAnswering(ctx context.Context, voters []string, answered string) string {
	for _, voter := range voters {
		if voter == answered {
			return voter
		}
		if _, err := c.ask(ctx, voter); err == nil {
			return voter
		}
	}
	return ""
}

func (c *Client) ask(ctx context.Context, address string) (*skerryv1.LocateResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, locateTimeout)
	defer cancel()
	response, err := skerryv1connect.NewSiteServiceClient(c.http, "https://"+address, options...).
		Locate(ctx, connect.NewRequest(&skerryv1.LocateRequest{}))
	if err != nil {
		return nil, problem.FromConnect(err)
	}
	return response.Msg, nil
}

func (c *Client) unreachable(ctx context.Context, failures []error) error {
	if ctx.Err() != nil && len(failures) == 0 {
		return ctx.Err()
	}
	return problem.ToConnect(problem.New(problem.Unavailable, "site", "no node answers: %w", errors.Join(failures...)).
		WithHint("are the agents running (systemctl status skerry), and is the network up? --address HOST:PORT asks another node"))
}
