package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// maxRedirects to another voter.
	maxRedirects = 5
	// maxJoinAnswer bounds an answer in bytes: the chain of trust of an old
	// site.
	maxJoinAnswer = 8 << 20
	pendingKey    = "join-key.pem"
)

// JoinOptions say who wants to join and where its files go.
type JoinOptions struct {
	Token   certs.Token
	Address string
	// Node describes this machine; not used with an operator's token.
	Node *skerryv1.Node
	// StateDir of the agent, Home of the operator.
	StateDir, Home string
}

// Join joins a site: as a node or as an operator, as the token says. The
// token's secret is sent only after the other side has proved to be a node of
// the site that the token pins. After a crash it may be called again with the
// same token. It returns the name that the joiner got.
func Join(ctx context.Context, system env.System, options JoinOptions) (string, error) {
	isNode := options.Token.Role == string(certs.RoleNode)
	dir := filepath.Join(options.Home, options.Token.Site)
	if isNode {
		dir = Dir(options.StateDir)
		if _, err := Load(system, dir); err != ErrNone {
			return "", problem.New(problem.Conflict, dir, "this machine belongs to a site already").
				WithHint("skerry status shows which")
		}
	}
	key, err := pending(system, dir)
	if err != nil {
		return "", err
	}
	answer, chain, err := ask(ctx, system, options, key)
	if err != nil {
		return "", err
	}
	bundle, err := check(system, options.Token, answer, chain)
	if err != nil {
		return "", err
	}
	if isNode {
		err = store(system.FS, dir, key, answer.GetSvid(), chain, bundle, answer.GetGossipKey(), answer.GetNode())
	} else {
		err = storeOperator(system.FS, dir, options, key, answer, chain, bundle)
	}
	if err != nil {
		return "", err
	}
	return answer.GetName(), system.FS.Remove(filepath.Join(dir, pendingKey))
}

// pending returns the key that an earlier attempt made, or a new one: the site
// binds the token to the key, so an attempt that is repeated must have the
// same.
func pending(system env.System, dir string) (*ecdsa.PrivateKey, error) {
	name := filepath.Join(dir, pendingKey)
	key, err := readKey(system.FS, name)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if err := system.FS.MkdirAll(dir, dirPerm); err != nil {
		return nil, err
	}
	if key, err = ecdsa.GenerateKey(elliptic.P256(), system.Rand); err != nil {
		return nil, err
	}
	return key, writeKey(system.FS, name, key)
}

// ask finds the coordinator, makes sure of it, and sends the request.
func ask(ctx context.Context, system env.System, options JoinOptions, key *ecdsa.PrivateKey) (*sitev1.JoinResponse, []*sitev1.TrustVersion, error) {
	csr, err := certs.NewJoinRequest(system.Rand, key)
	if err != nil {
		return nil, nil, err
	}
	address := options.Address
	for range maxRedirects {
		joiner := mtls.NewJoiner(system.Net, address)
		client := sitev1connect.NewJoinServiceClient(joiner.Client, "https://"+address, connect.WithReadMaxBytes(maxJoinAnswer))
		trust, err := client.Trust(ctx, connect.NewRequest(&sitev1.TrustRequest{}))
		if err != nil {
			return nil, nil, problem.FromConnect(err)
		}
		bundle, err := certs.VerifyTrust(options.Token.SiteID, trust.Msg.GetVersions())
		if err != nil {
			return nil, nil, err
		}
		if _, err := joiner.Verify(bundle, laterOf(system.Clock.Now(), bundle)); err != nil {
			return nil, nil, err
		}
		response, err := client.Join(ctx, connect.NewRequest(&sitev1.JoinRequest{Secret: options.Token.Secret, Csr: csr, Node: options.Node}))
		joiner.Client.CloseIdleConnections()
		if err != nil {
			return nil, nil, problem.FromConnect(err)
		}
		if len(response.Msg.GetRedirect()) == 0 {
			return response.Msg, trust.Msg.GetVersions(), nil
		}
		address = response.Msg.GetRedirect()[0]
	}
	return nil, nil, problem.New(problem.Unavailable, options.Address, "no coordinator was found after %d redirects", maxRedirects).
		WithHint("try again; if it stays so, see skerry status on a node of the site")
}

// check makes sure that what was issued is usable before anything is stored.
func check(system env.System, token certs.Token, answer *sitev1.JoinResponse, chain []*sitev1.TrustVersion) (*certs.Bundle, error) {
	if len(answer.GetTrust()) > len(chain) {
		chain = answer.GetTrust()
	}
	bundle, err := certs.VerifyTrust(token.SiteID, chain)
	if err != nil {
		return nil, err
	}
	leaf, err := parseLeaf(answer.GetSvid())
	if err != nil {
		return nil, problem.New(problem.Internal, "join", "the SVID that was issued does not parse: %w", err)
	}
	peer, err := certs.VerifyPeer(leaf, bundle, laterOf(system.Clock.Now(), bundle))
	if err != nil {
		return nil, err
	}
	if string(peer.Role) != token.Role || peer.Name != answer.GetName() {
		return nil, problem.New(problem.Internal, "join", "the SVID that was issued is for %s", peer.ID)
	}
	return bundle, nil
}

// laterOf keeps a clock that is far behind from standing in the way: the site
// cannot be younger than its newest CA.
func laterOf(now time.Time, bundle *certs.Bundle) time.Time {
	for _, authority := range bundle.Authorities() {
		if now.Before(authority.NotBefore) {
			now = authority.NotBefore
		}
	}
	return now
}

func storeOperator(files env.FS, dir string, options JoinOptions, key *ecdsa.PrivateKey, answer *sitev1.JoinResponse,
	chain []*sitev1.TrustVersion, bundle *certs.Bundle) error {
	if err := storeCredentials(files, dir, key, answer.GetSvid(), chain, bundle); err != nil {
		return err
	}
	addresses := []string{options.Address}
	for _, peer := range answer.GetPeers() {
		if peer.GetAddress() != options.Address {
			addresses = append(addresses, peer.GetAddress())
		}
	}
	return storeSite(files, dir, options.Token.Site, addresses)
}
