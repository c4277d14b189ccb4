package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"path/filepath"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

const gossipKeyBytes = 32

// InitOptions say what site to begin.
type InitOptions struct {
	Site string
	// Operator is the name of the first operator.
	Operator string
	// Node is the first node: name, zone, labels, address, gossip address.
	Node *skerryv1.Node
	// StateDir of the agent, Home of the operator.
	StateDir, Home string
	// Keep stores what else the agent needs. It is called before the node's
	// identity is complete, for which an agent may be waiting.
	Keep func(*sitev1.InitSite) error
}

// InitSite begins a site on this machine: its CA, its chain of trust, the
// identities of its first node and first operator. It returns the entry that
// opens the log, and refuses when the machine belongs to a site already.
func InitSite(system env.System, options InitOptions) (*sitev1.InitSite, error) {
	dir := Dir(options.StateDir)
	if _, err := Load(system, dir); err != ErrNone {
		return nil, problem.New(problem.Conflict, dir, "this machine belongs to a site already").
			WithHint("skerry status shows which")
	}
	now := system.Clock.Now()
	authority, err := certs.NewAuthority(system.Rand, options.Site, options.Node.GetName(), now)
	if err != nil {
		return nil, problem.New(problem.Invalid, "site "+options.Site, "%w", err)
	}
	first, err := certs.FirstTrust(options.Site, authority)
	if err != nil {
		return nil, err
	}
	b := &beginning{system: system, options: options, authority: authority,
		siteID: certs.SiteID(first), chain: []*sitev1.TrustVersion{first}}
	if b.bundle, err = certs.VerifyTrust(b.siteID, b.chain); err != nil {
		return nil, err
	}
	operator, err := b.operator()
	if err != nil {
		return nil, err
	}
	gossipKey := make([]byte, gossipKeyBytes)
	if _, err := system.Rand.Read(gossipKey); err != nil {
		return nil, err
	}
	init := &sitev1.InitSite{Name: options.Site, SiteId: b.siteID, Trust: first, Operator: operator, GossipKey: gossipKey}
	return init, b.node(init)
}

// beginning is a site in the making.
type beginning struct {
	system    env.System
	options   InitOptions
	authority *certs.Authority
	siteID    string
	chain     []*sitev1.TrustVersion
	bundle    *certs.Bundle
}

func (b *beginning) operator() (*sitev1.OperatorRecord, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), b.system.Rand)
	if err != nil {
		return nil, err
	}
	svid, err := b.authority.IssueOperator(b.options.Operator, key.Public(), b.system.Clock.Now())
	if err != nil {
		return nil, problem.New(problem.Invalid, "operator "+b.options.Operator, "%w", err)
	}
	dir := filepath.Join(b.options.Home, b.options.Site)
	if err := storeCredentials(b.system.FS, dir, key, [][]byte{svid}, b.chain, b.bundle); err != nil {
		return nil, err
	}
	now := b.system.Clock.Now()
	if err := storeTime(b.system.FS, dir, sitetime.Stamp{Time: now, Reference: now}); err != nil {
		return nil, err
	}
	if err := storeSite(b.system.FS, dir, b.options.Site, []string{b.options.Node.GetAddress()}); err != nil {
		return nil, err
	}
	return &sitev1.OperatorRecord{Name: b.options.Operator, KeyFingerprint: certs.Fingerprint(key.Public())}, nil
}

// node makes the identity of the first node; its record completes the entry.
func (b *beginning) node(init *sitev1.InitSite) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), b.system.Rand)
	if err != nil {
		return err
	}
	now := b.system.Clock.Now()
	node := proto.CloneOf(b.options.Node)
	node.Kind = "Node"
	node.Created = timestamppb.New(now)
	node.KeyFingerprint = certs.Fingerprint(key.Public())
	node.MayVote = true
	node.RaftId = 1
	node.Voter = skerryv1.VoterRole_VOTER_ROLE_VOTER
	node.Authority = b.authority.Certificate().Raw
	svid, err := b.authority.IssueNode(certs.NodeRequest{
		Name: node.GetName(), PublicKey: key.Public(), Addresses: []string{node.GetAddress()},
	}, now)
	if err != nil {
		return problem.New(problem.Invalid, "node "+node.GetName(), "%w", err)
	}
	dir := Dir(b.options.StateDir)
	if err := b.system.FS.MkdirAll(dir, dirPerm); err != nil {
		return err
	}
	if err := storeAuthority(b.system.FS, dir, b.authority); err != nil {
		return err
	}
	init.Node = node
	if err := b.options.Keep(init); err != nil {
		return err
	}
	return store(b.system.FS, dir, key, [][]byte{svid}, b.chain, b.bundle, init.GetGossipKey(), node)
}
