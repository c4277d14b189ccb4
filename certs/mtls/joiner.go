package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"
	"time"

	rpc "connectrpc.com/connect"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// maxJoinAnswer bounds an answer in bytes: a page of the chain of trust, and nodes
// to begin with.
const maxJoinAnswer = 8 << 20

// Joiner speaks to a node of a site that it does not know yet. The server's
// certificate is kept, and checked by Verify once the chain of trust is known;
// nothing secret may be sent before.
type Joiner struct {
	// Client for the join protocol. All its connections are to the same node.
	Client *http.Client

	address string
	mu      sync.Mutex
	shown   []*x509.Certificate
}

// NewJoiner returns a joiner for the node at host:port.
func NewJoiner(network env.Net, address string) *Joiner {
	j := &Joiner{address: address}
	j.Client = httpClient(joinerPingAfter, joinerPingTimeout, func(ctx context.Context, _ string) (shielded, error) { return j.dial(ctx, network) })
	return j
}

// Service is the node's join service.
func (j *Joiner) Service() sitev1connect.JoinServiceClient {
	return sitev1connect.NewJoinServiceClient(j.Client, "https://"+j.address, rpc.WithReadMaxBytes(maxJoinAnswer))
}

// Trust walks the chain of trust of the site with this ID, from what is known of
// it on; nil for nothing. It returns what is new, and the bundle after it.
func (j *Joiner) Trust(ctx context.Context, siteID string, known *certs.Bundle) ([]*sitev1.TrustVersion, *certs.Bundle, error) {
	service, told := j.Service(), &sitev1.TrustResponse{}
	ask := func(after uint64) ([]*sitev1.TrustVersion, bool, error) {
		answer, err := service.Trust(ctx, rpc.NewRequest(&sitev1.TrustRequest{After: after}))
		if err != nil {
			return nil, false, problem.FromConnect(err)
		}
		told = answer.Msg
		return told.GetVersions(), told.GetMore(), nil
	}
	walked, bundle, err := certs.WalkTrust(siteID, known, ask)
	if known == nil || len(told.GetRecovered()) == 0 || reached(bundle, known).Recovered(told.GetRecovered()) {
		return walked, bundle, err
	}
	// The site was recovered at a version before the last one that is known here, or
	// apart from what is known here.
	return certs.WalkTrust(siteID, nil, ask)
}

// reached is the bundle at the end of a walk; what was known before when it led
// nowhere.
func reached(bundle, known *certs.Bundle) *certs.Bundle {
	if bundle == nil {
		return known
	}
	return bundle
}

// Verify checks that the server is a node of the site. All its connections,
// also those to come, show the certificate that is checked here.
func (j *Joiner) Verify(bundle *certs.Bundle, now time.Time) (certs.Peer, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	peer, err := certs.VerifyPeer(j.shown, bundle, now)
	if err != nil {
		return certs.Peer{}, err
	}
	return peer, ExpectNode("")(peer)
}

func (j *Joiner) dial(ctx context.Context, network env.Net) (shielded, error) {
	conn, err := connect(ctx, network, j.address)
	if err != nil {
		return nil, err
	}
	return secure(ctx, conn, &tls.Config{
		MinVersion:             tls.VersionTLS13,
		NextProtos:             []string{Join},
		SessionTicketsDisabled: true,
		InsecureSkipVerify:     true, // Verify does it, once the chain of trust is known
		VerifyConnection:       j.keep,
	}, j.address)
}

func (j *Joiner) keep(state tls.ConnectionState) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.shown != nil && !j.shown[0].Equal(state.PeerCertificates[0]) {
		return fmt.Errorf("%s shows another certificate than before", j.address)
	}
	j.shown = state.PeerCertificates
	return nil
}
