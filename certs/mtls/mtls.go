// Package mtls makes and takes the connections of a site: TLS 1.3, both sides
// with SPIFFE identities that are checked at the site's time, one port, told
// apart by ALPN.
//
// The tls.Config is our own: go-spiffe's ready-made ones take the wall clock
// and are skipped when a session is resumed (docs/decisions/0016-identity-never-bricks-a-site.md).
package mtls

import (
	"context"
	"crypto/tls"
	"time"

	"skerry.dev/certs"
)

// The protocols of the one port.
const (
	API2    = "h2"
	API1    = "http/1.1"
	Sync    = "skerry-sync/1"
	Stream  = "skerry-stream/1"
	Raft    = "skerry-raft/1"
	Content = "skerry-content/1"
	Join    = "skerry-join/1"
	Peer    = "skerry-peer/1"
	Renew   = "skerry-renew/1"
	Move    = "skerry-move/1"
)

// Source is who this end is and whom it believes. It may change at any time;
// all methods are safe for concurrent use.
type Source interface {
	Certificate() *tls.Certificate
	Bundle() *certs.Bundle
	// Now is the time by which certificates are judged.
	Now() time.Time
}

type peerKey struct{}

// PeerFrom returns the peer of the connection that an HTTP request came on;
// false when it showed no certificate.
func PeerFrom(ctx context.Context) (certs.Peer, bool) {
	peer, ok := ctx.Value(peerKey{}).(certs.Peer)
	return peer, ok
}

// WithPeer returns a context whose peer is the given one.
func WithPeer(ctx context.Context, peer certs.Peer) context.Context {
	return context.WithValue(ctx, peerKey{}, peer)
}

// base is what both ends have in common.
func base(source Source, protocol string) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{protocol},
		SessionTicketsDisabled: true,
		Certificates:           []tls.Certificate{*source.Certificate()},
	}
}
