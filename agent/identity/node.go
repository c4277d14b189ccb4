// Package identity keeps who this node is: its key, its SVID, the chain of
// trust it believes, the site's gossip key and, on voters, a CA of its own. It
// also keeps operators' credentials, which are made the same way.
//
// Files are 0600 in a 0700 directory, each written whole or not at all.
package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/agent/identity/retiring"
	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/sitetime"
)

// Names of the files.
const (
	keyFile       = "key.pem"
	svidFile      = "svid.pem"
	trustFile     = "trust.pb"
	caFile        = "ca.pem" // what curl's --cacert takes
	gossipFile    = "gossip.key"
	nodeFile      = "node.pb"
	authorityKey  = "authority-key.pem"
	authorityCert = "authority.pem"
)

const dirPerm, filePerm = 0o700, 0o600

// maxForks are remembered, the newest: so many parts of a site that were recovered
// apart from each other are told without being asked again.
const maxForks = 16

// ErrNone says that this machine belongs to no site yet.
var ErrNone = errors.New("this machine belongs to no site yet")

// Node is the identity of this node. It implements mtls.Source.
type Node struct {
	dir   string
	fs    env.FS
	clock env.Clock
	rand  env.Rand

	// time is the site's.
	time *sitetime.Keeper
	// gate is passed by what is issued.
	gate retiring.Gate

	// writing is held by whoever changes what is on disk, from reading what is
	// there to keeping what was written. mu is never held over the disk: each
	// handshake reads what it guards.
	writing sync.Mutex
	mu      sync.RWMutex
	cert    tls.Certificate
	// print is the fingerprint of the key in cert.
	print     []byte
	chain     []*sitev1.TrustVersion
	bundle    *certs.Bundle
	gossipKey []byte
	record    *skerryv1.Node
	authority *certs.Authority
	// previous is the CA before the last rotation, generation that of authority.
	previous   *certs.Authority
	generation uint64
	jwt        jwtKeys
	records    func(certs.Peer) bool
	changed    chan struct{}
	// forked says that the site was recovered twice; empty when it was not. forks are
	// the last recoveries of the chains that showed it.
	forked string
	forks  [][]byte
}

// Dir is where the identity of the agent with this state directory is.
func Dir(stateDir string) string { return filepath.Join(stateDir, "identity") }

// Load reads the identity in dir; ErrNone when there is none.
func Load(system env.System, dir string) (*Node, error) {
	n := &Node{
		changed: make(chan struct{}),
		dir:     dir, fs: system.FS, clock: system.Clock, rand: system.Rand, record: &skerryv1.Node{},
		time: sitetime.NewKeeper(system.Clock, sitetime.Stamp{}, time.Time{}),
	}
	encoded, err := n.fs.ReadFile(filepath.Join(dir, nodeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err == nil {
		err = proto.Unmarshal(encoded, n.record)
	}
	if err == nil {
		err = n.load()
	}
	if err != nil {
		return nil, problem.New(problem.Internal, dir, "the node's identity cannot be read: %w", err).
			WithHint("restore the directory from a backup, or move it away and join again")
	}
	return n, nil
}

func (n *Node) load() error {
	cert, chain, bundle, err := loadCredentials(n.fs, n.dir)
	if err != nil {
		return err
	}
	n.cert, n.chain, n.bundle = cert, chain, bundle
	n.print = certs.Fingerprint(cert.Leaf.PublicKey)
	if n.gossipKey, err = n.fs.ReadFile(filepath.Join(n.dir, gossipFile)); err != nil {
		return err
	}
	if err := n.loadAuthority(); err != nil {
		return err
	}
	if err := n.loadRotated(); err != nil {
		return err
	}
	return n.loadJwtKeys()
}

func (n *Node) loadAuthority() error {
	cert, err := n.fs.ReadFile(filepath.Join(n.dir, authorityCert))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	key, err := readKey(n.fs, filepath.Join(n.dir, authorityKey))
	if err != nil {
		return err
	}
	ders, err := decodeCerts(cert)
	if err != nil {
		return err
	}
	n.authority, err = certs.LoadAuthority(n.rand, key, ders[0])
	return err
}

// Name of the node.
func (n *Node) Name() string { return n.Record().GetName() }

// Record is the node as the site recorded it at join. It must not be changed.
func (n *Node) Record() *skerryv1.Node {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.record
}

// Site is the name of the site, SiteID its ID.
func (n *Node) Site() string { return n.Bundle().Site() }

// SiteID is the hash of the site's first trust version.
func (n *Node) SiteID() string { return n.Bundle().SiteID() }

// Certificate implements mtls.Source.
func (n *Node) Certificate() *tls.Certificate {
	n.mu.RLock()
	defer n.mu.RUnlock()
	cert := n.cert
	return &cert
}

// Leaf is the node's SVID; nil before there is one.
func (n *Node) Leaf() *x509.Certificate {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.cert.Leaf
}

// Bundle implements mtls.Source.
func (n *Node) Bundle() *certs.Bundle {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.bundle
}

// KnowTime gives the node the site's time; before, nothing has expired for it.
// It comes before the node is used.
func (n *Node) KnowTime(keeper *sitetime.Keeper) {
	keeper.Forget(n.bundle.TimeEra())
	n.time = keeper
}

// Gate is passed by each SVID that this node takes.
func (n *Node) Gate() *retiring.Gate { return &n.gate }

// SiteTime is the site's time as this node knows it.
func (n *Node) SiteTime() *sitetime.Keeper { return n.time }

// Now implements mtls.Source: site time. This machine's wall clock locks nobody
// out and lets nobody in.
func (n *Node) Now() time.Time { return n.time.Now() }

// GossipKey encrypts the pool's gossip.
func (n *Node) GossipKey() []byte {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.gossipKey
}

// Trust is the chain of trust that the node believes.
func (n *Node) Trust() []*sitev1.TrustVersion {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.chain
}

// UpdateTrust takes over a longer chain of trust, or one by which the site was
// recovered, durably. What is known already changes nothing; what is broken, forked
// or of another site is an error.
func (n *Node) UpdateTrust(chain []*sitev1.TrustVersion) error {
	n.writing.Lock()
	defer n.writing.Unlock()
	known := n.Bundle()
	chain, bundle, err := known.Continue(n.Trust(), chain)
	if errors.Is(err, certs.ErrForked) {
		n.metFork(bundle.RecoverID(), err)
	}
	if err != nil || bundle == known {
		return err
	}
	if err := storeTrust(n.fs, n.dir, chain, bundle); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.chain, n.bundle = chain, bundle
	close(n.changed)
	n.changed = make(chan struct{})
	n.time.Forget(bundle.TimeEra())
	return nil
}

// Forked says that this node has met a chain of trust that was recovered apart from
// its own; empty when it has not.
func (n *Node) Forked() string {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.forked
}

func (n *Node) metFork(recovery []byte, why error) {
	known := n.IsFork(recovery)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.forked = why.Error()
	if !known {
		n.forks = append(n.forks[max(0, len(n.forks)-maxForks+1):], recovery)
	}
}

// IsFork tells whether a chain of trust whose last recovery has this ID was met, and
// was recovered apart from what this node believes.
func (n *Node) IsFork(recovery []byte) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return slices.ContainsFunc(n.forks, func(known []byte) bool { return bytes.Equal(known, recovery) })
}

// TrustChanged is closed when the chain of trust has grown.
func (n *Node) TrustChanged() <-chan struct{} {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.changed
}

// Evicted tells whether the site has revoked this node's key. It is never taken
// back.
func (n *Node) Evicted() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.bundle.Revoked(n.print) != ""
}

// Counts tells whether a CA that counts has issued the node's SVID.
func (n *Node) Counts() bool {
	cert, bundle := n.Certificate(), n.Bundle()
	_, err := certs.VerifyPeer([]*x509.Certificate{cert.Leaf}, bundle, n.Now())
	return !errors.Is(err, certs.ErrUnknownAuthority)
}

// Records sets what knows the keys on record. Until it is called none are.
func (n *Node) Records(known func(certs.Peer) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records = known
}

// OnRecord implements mtls.Recorder.
func (n *Node) OnRecord(peer certs.Peer) bool {
	n.mu.RLock()
	known := n.records
	n.mu.RUnlock()
	return known != nil && known(peer)
}

// EnsureAuthority makes this node's CA, and the key that signs JWT-SVIDs beside
// it, unless it has them or is a witness, which has none (SAFETY, rule 9). The CA
// lives as long as is said; 0 for the default.
func (n *Node) EnsureAuthority(lifetime time.Duration) error {
	if n.record.GetWitness() {
		return nil
	}
	if lifetime == 0 {
		lifetime = certs.AuthorityLifetime
	}
	n.writing.Lock()
	defer n.writing.Unlock()
	if n.authority != nil {
		return n.ensureJwtKey()
	}
	authority, err := certs.NewAuthorityFor(n.rand, n.bundle.Site(), n.record.GetName(), n.authorityBegins(), lifetime)
	if err != nil {
		return err
	}
	if err := storeAuthority(n.fs, n.dir, authority); err != nil {
		return err
	}
	n.mu.Lock()
	n.authority = authority
	n.mu.Unlock()
	return n.ensureJwtKey()
}

// storeAuthority writes the key first: a certificate without key is of no use.
func storeAuthority(files env.FS, dir string, authority *certs.Authority) error {
	if err := writeKey(files, filepath.Join(dir, authorityKey), authority.Key()); err != nil {
		return err
	}
	return files.WriteFile(filepath.Join(dir, authorityCert), encodeCerts(authority.Certificate().Raw), filePerm)
}

// store writes a whole identity; the node's record last, because Load takes it
// as the sign that everything is there.
func store(files env.FS, dir string, key *ecdsa.PrivateKey, svid [][]byte, chain []*sitev1.TrustVersion, bundle *certs.Bundle,
	gossipKey []byte, record *skerryv1.Node) error {
	if err := storeCredentials(files, dir, key, svid, chain, bundle); err != nil {
		return err
	}
	if err := files.WriteFile(filepath.Join(dir, gossipFile), gossipKey, filePerm); err != nil {
		return err
	}
	encoded, err := proto.Marshal(record)
	if err != nil {
		return err
	}
	if err := files.WriteFile(filepath.Join(dir, nodeFile), encoded, filePerm); err != nil {
		return fmt.Errorf("the node's record: %w", err)
	}
	return nil
}

// authorityBegins is the time by which a new CA is made: site time, also when it
// was set back. While it is not known it is not earlier than this node's SVID.
func (n *Node) authorityBegins() time.Time {
	now := n.time.Read()
	if !now.Known() && n.cert.Leaf != nil && now.Time.Before(n.cert.Leaf.NotBefore) {
		return n.cert.Leaf.NotBefore
	}
	return now.Time
}
