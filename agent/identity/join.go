package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

const (
	// maxRedirects to another voter.
	maxRedirects = 5
	pendingKey   = "join-key.pem"
)

// JoinOptions say who wants to join and where its files go.
type JoinOptions struct {
	Token   certs.Token
	Address string
	// Node describes this machine; not used with an operator's token.
	Node *skerryv1.Node
	// StateDir of the agent, Home of the operator.
	StateDir, Home string
	// Keep stores what else an agent needs of the site's answer. It is called
	// before the node's identity is complete, for which an agent may be waiting.
	Keep func(*sitev1.JoinResponse) error
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
	key, err := Pending(system, dir)
	if err != nil {
		return "", err
	}
	answer, err := ask(ctx, system, options, key)
	if err != nil {
		return "", err
	}
	if isNode {
		return answer.GetName(), Joined(system, options.Token.SiteID, options.StateDir, key, answer, options.Keep)
	}
	bundle, err := check(options.Token.SiteID, options.Token.Role, answer)
	if err != nil {
		return "", err
	}
	if err := storeOperator(system.FS, dir, options.Address, key, answer, bundle); err != nil {
		return "", err
	}
	return answer.GetName(), system.FS.Remove(filepath.Join(dir, pendingKey))
}

// Joined takes over what the site answers to a node that joins, if it is usable.
// keep stores what else the agent needs of it.
func Joined(system env.System, siteID, stateDir string, key *ecdsa.PrivateKey, answer *sitev1.JoinResponse, keep func(*sitev1.JoinResponse) error) error {
	dir := Dir(stateDir)
	bundle, err := check(siteID, string(certs.RoleNode), answer)
	if err != nil {
		return err
	}
	if err := keep(answer); err != nil {
		return err
	}
	if err := store(system.FS, dir, key, answer.GetSvid(), answer.GetTrust(), bundle, answer.GetGossipKey(), answer.GetNode()); err != nil {
		return err
	}
	return system.FS.Remove(filepath.Join(dir, pendingKey))
}

// Pending returns the key that an earlier attempt to join left in dir, or a new
// one: the site binds the token to the key, so an attempt that is repeated must
// have the same.
func Pending(system env.System, dir string) (*ecdsa.PrivateKey, error) {
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
func ask(ctx context.Context, system env.System, options JoinOptions, key *ecdsa.PrivateKey) (*sitev1.JoinResponse, error) {
	csr, err := certs.NewJoinRequest(system.Rand, key)
	if err != nil {
		return nil, err
	}
	request := &sitev1.JoinRequest{Secret: options.Token.Secret, Csr: csr, Node: options.Node}
	address := options.Address
	for range maxRedirects {
		answer, err := askOne(ctx, system, address, options.Token.SiteID, request)
		if err != nil || len(answer.GetRedirect()) == 0 {
			return answer, err
		}
		address = answer.GetRedirect()[0]
	}
	return nil, problem.New(problem.Unavailable, options.Address, "no coordinator was found after %d redirects", maxRedirects).
		WithHint("try again; if it stays so, see skerry status on a node of the site")
}

// askOne makes sure of one node and sends it the request.
func askOne(ctx context.Context, system env.System, address, siteID string, request *sitev1.JoinRequest) (*sitev1.JoinResponse, error) {
	joiner := mtls.NewJoiner(system.Net, address)
	defer joiner.Client.CloseIdleConnections()
	chain, bundle, err := joiner.Trust(ctx, siteID, nil)
	if err != nil {
		return nil, err
	}
	if _, err := joiner.Verify(bundle, timeless); err != nil {
		return nil, err
	}
	request.After = bundle.Version()
	answer, err := joiner.Service().Join(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, problem.FromConnect(err)
	}
	// What the chain got meanwhile came with the answer.
	answer.Msg.Trust = slices.Concat(chain, answer.Msg.GetTrust())
	return answer.Msg, nil
}

// check makes sure that what was issued is usable before anything is stored.
func check(siteID, role string, answer *sitev1.JoinResponse) (*certs.Bundle, error) {
	bundle, err := certs.VerifyTrust(siteID, answer.GetTrust())
	if err != nil {
		return nil, err
	}
	leaf, err := parseLeaf(answer.GetSvid())
	if err != nil {
		return nil, problem.New(problem.Internal, "join", "the SVID that was issued does not parse: %w", err)
	}
	peer, err := certs.VerifyPeer(leaf, bundle, timeless)
	if err != nil {
		return nil, err
	}
	if string(peer.Role) != role || peer.Name != answer.GetName() {
		return nil, problem.New(problem.Internal, "join", "the SVID that was issued is for %s", peer.ID)
	}
	return bundle, nil
}

// timeless is how a joiner judges certificates: as of the day on which they
// begin to count. It does not know the site's time yet, and its own clock may be
// years off in either direction; the token pins the site.
var timeless time.Time

func storeOperator(files env.FS, dir, address string, key *ecdsa.PrivateKey, answer *sitev1.JoinResponse, bundle *certs.Bundle) error {
	if err := storeCredentials(files, dir, key, answer.GetSvid(), answer.GetTrust(), bundle); err != nil {
		return err
	}
	if err := storeTime(files, dir, sitetime.FromMessage(answer.GetClock())); err != nil {
		return err
	}
	addresses := []string{address}
	for _, peer := range answer.GetPeers() {
		if peer.GetAddress() != address {
			addresses = append(addresses, peer.GetAddress())
		}
	}
	return storeSite(files, dir, bundle.Site(), addresses)
}
