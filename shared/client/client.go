// Package client calls the operators' API of a site: it finds a node that
// answers, asks it for the voters, and goes on with the coordinator.
//
// It knows nothing of certificates: the HTTP client that it is given does.
package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/problem"
)

// StaleHeader marks answers that may be out of date, so that the next request
// looks for a node that knows better.
const StaleHeader = "Skerry-Stale"

// CoordinatorHeader is the address of the coordinator, in answers that another voter has
// from it, so that the next request looks for it: a voter that passes calls on may be slow.
const CoordinatorHeader = "Skerry-Coordinator"

// lookAgain is how long after a search requests are left to a voter that passes them on to a
// coordinator that was not found: it may be out of reach from here.
const lookAgain = 10 * time.Second

// maxMessage bounds one answer: the lists of a large site.
const maxMessage = 64 << 20

// Client calls one site. It is safe for concurrent use.
type Client struct {
	// Learned, if set, is told the addresses of the site's voters by each node that is
	// chosen to send requests to. If Direct it is not: of a site that was recovered
	// twice, those may be the other one's. Set it before the first call.
	Learned func(voters []string)
	// Refused, if set, is called when no node answers: they may have refused the
	// caller's identity. It tells whether it is worth another try.
	Refused func(ctx context.Context) bool
	// Direct: the addresses are those of the nodes to ask, not of nodes that know
	// whom to ask. A voter among them answers whether it has quorum or not; a node
	// that does not vote still names the voters that it reaches. Set it before the
	// first call.
	Direct bool
	// Patience, if set, bounds the question to one node in place of a second. Set
	// it before the first call.
	Patience time.Duration
	// Insist, if set, is for how long a write is asked for again that meets no
	// coordinator: another one may be about to take over. Set it before the first call.
	Insist time.Duration
	// Told, if set, is told the site's time by each node that is chosen to send
	// requests to. Set it before the first call.
	Told func(now time.Time, era uint64)

	http      *http.Client
	addresses []string

	resources  skerryv1connect.ResourceServiceClient
	site       skerryv1connect.SiteServiceClient
	siteTime   skerryv1connect.SiteTimeServiceClient
	placements skerryv1connect.PlacementServiceClient
	images     skerryv1connect.ImageServiceClient
	identity   skerryv1connect.IdentityServiceClient
	secrets    skerryv1connect.SecretServiceClient
	nodes      skerryv1connect.NodeServiceClient
	foresight  skerryv1connect.ForesightServiceClient
	naming     skerryv1connect.NamingServiceClient
	leases     skerryv1connect.LeaseServiceClient
	rollouts   skerryv1connect.RolloutServiceClient
	plans      skerryv1connect.PlanServiceClient
	power      skerryv1connect.PowerServiceClient
	rebalance  skerryv1connect.RebalanceServiceClient
	runs       skerryv1connect.RunServiceClient
	vms        skerryv1connect.VmServiceClient
	disks      skerryv1connect.DiskServiceClient
	audit      skerryv1connect.AuditServiceClient
	access     skerryv1connect.AccessServiceClient
	backups    skerryv1connect.BackupServiceClient
	recovery   skerryv1connect.RecoveryServiceClient
	queue      skerryv1connect.QueueServiceClient

	mu sync.Mutex
	// base is where requests go until it is forgotten, last where they went; voters are
	// those that it named, who are asked when the nodes that were given are gone.
	base, last string
	voters     []string
	settled    bool
	// seeking: the next request looks for the coordinator, and stays with base if that
	// finds nobody. sought is the coordinator's address at the last search; it is looked for
	// again after rest.
	seeking bool
	sought  string
	rest    pause
}

// New returns a client that tries the nodes at the addresses, host:port, in
// order.
func New(httpClient *http.Client, addresses []string) *Client {
	c := &Client{http: httpClient, addresses: addresses, rest: pauseFor(context.Background(), 0)}
	options := slices.Concat(options, []connect.ClientOption{connect.WithInterceptors(connect.UnaryInterceptorFunc(c.insist))})
	c.resources = skerryv1connect.NewResourceServiceClient(c, placeholder, options...)
	c.site = skerryv1connect.NewSiteServiceClient(c, placeholder, options...)
	c.siteTime = skerryv1connect.NewSiteTimeServiceClient(c, placeholder, options...)
	c.placements = skerryv1connect.NewPlacementServiceClient(c, placeholder, options...)
	c.images = skerryv1connect.NewImageServiceClient(c, placeholder, options...)
	c.recovery = skerryv1connect.NewRecoveryServiceClient(c, placeholder, options...)
	c.queue = skerryv1connect.NewQueueServiceClient(c, placeholder, options...)
	c.backups = skerryv1connect.NewBackupServiceClient(c, placeholder, options...)
	c.access = skerryv1connect.NewAccessServiceClient(c, placeholder, options...)
	c.identity = skerryv1connect.NewIdentityServiceClient(c, placeholder, options...)
	c.secrets = skerryv1connect.NewSecretServiceClient(c, placeholder, options...)
	c.nodes = skerryv1connect.NewNodeServiceClient(c, placeholder, options...)
	c.leases = skerryv1connect.NewLeaseServiceClient(c, placeholder, options...)
	c.naming = skerryv1connect.NewNamingServiceClient(c, placeholder, options...)
	c.foresight = skerryv1connect.NewForesightServiceClient(c, placeholder, options...)
	c.rollouts = skerryv1connect.NewRolloutServiceClient(c, placeholder, options...)
	c.plans = skerryv1connect.NewPlanServiceClient(c, placeholder, options...)
	c.power = skerryv1connect.NewPowerServiceClient(c, placeholder, options...)
	c.rebalance = skerryv1connect.NewRebalanceServiceClient(c, placeholder, options...)
	c.runs = skerryv1connect.NewRunServiceClient(c, placeholder, options...)
	c.vms = skerryv1connect.NewVmServiceClient(c, placeholder, options...)
	c.disks = skerryv1connect.NewDiskServiceClient(c, placeholder, options...)
	c.audit = skerryv1connect.NewAuditServiceClient(c, placeholder, options...)
	return c
}

// VMs is the service for virtual machines.
func (c *Client) VMs() skerryv1connect.VmServiceClient { return c.vms }

// Disks is the service that copies disks.
func (c *Client) Disks() skerryv1connect.DiskServiceClient { return c.disks }

// Resources is the service for what users declare and see.
func (c *Client) Resources() skerryv1connect.ResourceServiceClient { return c.resources }

// Site is the service that speaks of the site as a whole.
func (c *Client) Site() skerryv1connect.SiteServiceClient { return c.site }

// SiteTime is the service that shows and corrects site time.
func (c *Client) SiteTime() skerryv1connect.SiteTimeServiceClient { return c.siteTime }

// Placements is the service that reaches into placements.
func (c *Client) Placements() skerryv1connect.PlacementServiceClient { return c.placements }

// Images is the service that takes in images.
func (c *Client) Images() skerryv1connect.ImageServiceClient { return c.images }

// Identity is the service that says who belongs to the site.
func (c *Client) Identity() skerryv1connect.IdentityServiceClient { return c.identity }

// Secrets is the service for the site's key for secrets.
func (c *Client) Secrets() skerryv1connect.SecretServiceClient { return c.secrets }

// Nodes is the service that takes nodes out of service, and back.
func (c *Client) Nodes() skerryv1connect.NodeServiceClient { return c.nodes }

// Power is the service that stops and starts the site as a whole.
func (c *Client) Power() skerryv1connect.PowerServiceClient { return c.power }

// Rebalance is the service that lets placements move to where they would be placed
// now.
func (c *Client) Rebalance() skerryv1connect.RebalanceServiceClient { return c.rebalance }

// Runs is the service that starts runs of scheduled workloads by hand.
func (c *Client) Runs() skerryv1connect.RunServiceClient { return c.runs }

// Foresight is the service that answers what would become of the site.
func (c *Client) Foresight() skerryv1connect.ForesightServiceClient { return c.foresight }

// Leases of what is exclusive.
func (c *Client) Leases() skerryv1connect.LeaseServiceClient { return c.leases }

// Naming is the service that shows what DNS answers from.
func (c *Client) Naming() skerryv1connect.NamingServiceClient { return c.naming }

// Rollouts is the service that shows and steers changes of workloads' templates.
func (c *Client) Rollouts() skerryv1connect.RolloutServiceClient { return c.rollouts }

// Plans is the service that tells what an apply would do.
func (c *Client) Plans() skerryv1connect.PlanServiceClient { return c.plans }

// Audit is the service that reads the audit log.
func (c *Client) Audit() skerryv1connect.AuditServiceClient { return c.audit }

// Access is the service that says who may do what.
func (c *Client) Access() skerryv1connect.AccessServiceClient { return c.access }

// Backups is the service that makes backups of the site's state.
func (c *Client) Backups() skerryv1connect.BackupServiceClient { return c.backups }

// Recovery is the service that tells of the site's last recovery.
func (c *Client) Recovery() skerryv1connect.RecoveryServiceClient { return c.recovery }

// Queue is the service that keeps changes until the site is in reach.
func (c *Client) Queue() skerryv1connect.QueueServiceClient { return c.queue }

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
	if err == nil && response.StatusCode == http.StatusTemporaryRedirect {
		_ = response.Body.Close() // nothing in it matters
		err = fmt.Errorf("it does not vote, and leaves the call to %s", redirectedTo(response))
	}
	switch {
	case err != nil || response.StatusCode == http.StatusServiceUnavailable:
		c.forget(base, true)
	case response.Header.Get(StaleHeader) != "":
		c.forget(base, false)
	case response.Header.Get(CoordinatorHeader) != "":
		c.passedOn(base, response.Header.Get(CoordinatorHeader))
	}
	if err != nil && request.Context().Err() == nil {
		hint := "try again; another node will be asked"
		if c.Direct {
			hint = "try again, or ask another node: --address HOST:PORT"
		}
		return nil, problem.ToConnect(problem.New(problem.Unavailable, base, "the call did not get through: %w", err).WithHint("%s", hint))
	}
	return response, err
}

func redirectedTo(response *http.Response) string {
	if to, err := response.Location(); err == nil {
		return to.Host
	}
	return "another node"
}

// Settle lets the next requests go where the last one went also if answers from there
// are out of date, until it fails: who has just heard that nobody knows better need not wait for those
// that are silent each time.
func (c *Client) Settle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.base, c.settled, c.seeking = c.last, true, false
}

// forget where requests went: the node there failed, or its answer is out of date.
func (c *Client) forget(base string, failed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.base == base && (failed || !c.settled) {
		c.base, c.settled = "", false
	}
}

// passedOn: the voter at base passed a request on to the coordinator.
func (c *Client) passedOn(base, coordinator string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.base != base || c.settled || c.Direct {
		return
	}
	if coordinator != c.sought || c.rest.over() {
		c.seeking, c.sought = true, coordinator
	}
}

// locate returns the address to send requests to. It is kept for the next request if
// it is that of a voter with quorum.
func (c *Client) locate(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.base != "" && !c.seeking {
		return c.base, nil
	}
	base, err := c.search(ctx)
	if err != nil && c.base != "" && ctx.Err() == nil {
		return c.base, nil
	}
	if err != nil && c.Refused != nil && ctx.Err() == nil && c.Refused(ctx) {
		c.http.CloseIdleConnections()
		return c.search(ctx)
	}
	return base, err
}

// search looks for whom to ask; it needs mu.
func (c *Client) search(ctx context.Context) (string, error) {
	search := newSearch(c)
	found := search.run(ctx)
	c.rest.end()
	c.seeking, c.rest = false, pauseFor(context.Background(), lookAgain)
	if found == nil {
		return "", c.unreachable(ctx, search.failures())
	}
	if c.base != "" && c.base != found.address && !found.answer.GetQuorum() {
		return c.base, nil // that it was slow to answer makes nobody without quorum better
	}
	if voters := found.answer.GetVoters(); !c.Direct && len(voters) > 0 {
		c.voters = voters
		if c.Learned != nil {
			c.Learned(voters)
		}
	}
	if c.Told != nil && found.answer.GetSiteTime() != nil {
		c.Told(found.answer.GetSiteTime().AsTime(), found.answer.GetTimeEra())
	}
	c.last, c.base, c.sought = found.address, "", found.coordinator()
	if found.answer.GetQuorum() {
		c.base = found.address
	}
	return found.address, nil
}

// notLocated is why a node did not say who coordinates. That it refused the
// handshake is known here alone: no answer came.
func notLocated(err error) error {
	var here *problem.Error
	if !connect.IsWireError(err) && errors.As(err, &here) {
		return here
	}
	return problem.FromConnect(err)
}

func (c *Client) unreachable(ctx context.Context, failures []error) error {
	if ctx.Err() != nil && len(failures) == 0 {
		return ctx.Err()
	}
	failures = distinct(failures)
	if refused(failures) {
		return problem.ToConnect(problem.New(problem.Unauthenticated, "site", "no node takes these credentials: %w", errors.Join(failures...)).
			WithHint("they may have been revoked: ask an operator of the site for a token, and join again"))
	}
	return problem.ToConnect(problem.New(problem.Unavailable, "site", "no node answers: %w", errors.Join(failures...)).
		WithHint("are the agents running (systemctl status skerry), and is the network up? --address HOST:PORT asks another node"))
}

// distinct leaves out what another node has said already.
func distinct(failures []error) []error {
	said := map[string]bool{}
	return slices.DeleteFunc(slices.Clone(failures), func(err error) bool {
		text := err.Error()
		again := said[text]
		said[text] = true
		return again
	})
}

// refused: a node was there and did not take the caller, and none did. A node
// that closes the connection may be heard of as one that broke it.
func refused(failures []error) bool {
	return slices.ContainsFunc(failures, func(err error) bool {
		kind := problem.KindOf(err)
		return kind == problem.Unauthenticated || kind == problem.Forbidden
	})
}
