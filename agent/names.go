package agent

import (
	"context"
	"math/rand/v2"

	"golang.org/x/sync/errgroup"

	"skerry.dev/agent/naming"
	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/endpoints"
)

// names is this node's DNS, and the copy of the site's endpoints that it
// answers from.
type names struct {
	*Agent
	directory *naming.Directory
	follower  *naming.Follower
	server    *naming.Server // nil where containers do not ask this node
}

func newNames(a *Agent) *names {
	book := naming.NewBook(a.ledger.Endpoints())
	n := &names{Agent: a, directory: naming.NewDirectory(a.identity.Name(), book)}
	n.follower = naming.NewFollower(naming.FollowerConfig{
		Book: book, Env: a.Env, Logger: a.Logger, Keep: a.ledger.KeepEndpoints,
	})
	if resolving, ok := a.Runtime.(runtime.Resolving); ok && !a.Config.DNS.Disabled {
		resolving.Resolve(endpoints.Domain(a.identity.Site()), a.Config.DNS.Loopback)
		n.server = n.newServer(resolving)
	}
	return n
}

func (n *names) newServer(resolving runtime.Resolving) *naming.Server {
	config := naming.Config{
		Zone: &naming.Zone{
			Site: n.identity.Site(), Self: n.identity.Name(), Names: n.directory,
			Shuffle: rand.New(n.Env.Rand).Shuffle,
		},
		Listen: []func(context.Context) (runtime.DNSListener, error){resolving.ListenDNS},
		Clock:  n.Env.Clock, Logger: n.Logger,
	}
	if n.Config.DNS.Loopback {
		config.Listen = append(config.Listen, resolving.ListenLoopback)
	}
	// Validated when the configuration was read.
	if servers, _ := n.Config.DNS.Servers(); len(servers) > 0 {
		config.Forward = (&naming.Forwarder{Servers: servers, Env: n.Env}).Ask
	}
	return naming.New(config)
}

// run until ctx ends.
func (n *names) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return n.know(ctx) })
	group.Go(func() error { return n.untilEvicted(ctx, n.follower.Run) })
	if n.server != nil {
		group.Go(func() error { return n.server.Run(ctx) })
	}
	return group.Wait()
}

// know keeps what this node knows by itself up to date.
func (n *names) know(ctx context.Context) error {
	for {
		ordered, reported := n.ledger.Changed(), n.supervisor.Changed()
		n.directory.Know(n.ledger.Current(), n.supervisor.Reports())
		select {
		case <-ordered:
		case <-reported:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// trouble says why containers get no answers; empty when they do. The channel is
// closed when that changes.
func (n *names) trouble() (string, <-chan struct{}) {
	if n.server == nil {
		return "", nil
	}
	return n.server.Trouble()
}

// Endpoints implements localapi.Names.
func (n *names) Endpoints() []*skerryv1.Endpoint { return n.directory.All() }

// Address implements localapi.Names.
func (n *names) Address(node string) string {
	if address, ok := n.directory.Node(node); ok {
		return address.String()
	}
	return ""
}
