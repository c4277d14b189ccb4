package localapi

import (
	"context"

	"skerry.dev/certs/mtls"
	"skerry.dev/shared/deferred"
)

// queueService keeps changes on this node while it reaches no coordinator. What became
// of them, voters know.
func (s *Server) queueService() deferred.Service {
	return deferred.Service{
		Node: s.Node, Kept: s.Queue, Freshness: s.freshness, SiteTime: s.SiteTime,
		Key: func(ctx context.Context) []byte {
			peer, _ := mtls.PeerFrom(ctx) // the zero peer has no key
			return peer.KeyFingerprint
		},
	}
}
