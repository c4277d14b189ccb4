package coordinator

import (
	"net/http"
	"sync"

	"skerry.dev/certs/mtls"
)

// clients keeps one client for each node and protocol, so that calls share
// connections: one that is made for a single call stays open for a while after
// it, and those of many calls would use up what the other side takes.
type clients struct {
	dialer *mtls.Dialer

	mu    sync.Mutex
	known map[target]*http.Client
}

type target struct{ node, protocol string }

func (c *clients) to(node, protocol string) *http.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := target{node, protocol}
	if c.known[at] == nil {
		c.known[at] = c.dialer.HTTPClient(protocol, mtls.ExpectNode(node))
	}
	return c.known[at]
}

func (c *clients) closeIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, client := range c.known {
		client.CloseIdleConnections()
	}
}
