package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/problem"
)

const recoverIDBytes = 16

// RestoreOptions say what a site begins anew with, on a machine that is new to it.
type RestoreOptions struct {
	State   *sitev1.Snapshot
	Content *sitev1.BackupContent
	From    *skerryv1.Recovery
	// Recovery key with which the backup was opened, and its name.
	Recovery     *envelope.Recipient
	RecoveryName string
	// Node is this machine: name, zone, labels, address, gossip address, ID.
	Node     *skerryv1.Node
	StateDir string
	// Keep stores what else the agent needs, before the identity is complete.
	Keep func(*sitev1.BeginAgain, *sitev1.Assignments) error
}

// restoring is a site that begins anew on this machine.
type restoring struct {
	RestoreOptions
	system env.System
	dir    string
	signer *certs.Authority
	bundle *certs.Bundle
	now    time.Time
}

// Restore makes this machine the first voter of a site's next epoch: the CA of the
// voter that made the backup signs the record in the chain of trust, and this
// machine's SVID, so that nodes take it for what it is.
func Restore(system env.System, options RestoreOptions) (*sitev1.BeginAgain, error) {
	dir := Dir(options.StateDir)
	if _, err := Load(system, dir); err != ErrNone {
		return nil, problem.New(problem.Conflict, dir, "this machine belongs to a site already").
			WithHint("a site is restored on a machine that belongs to none; on a voter that is left: skerry site recover")
	}
	r, err := openRestoring(system, options)
	if err != nil {
		return nil, err
	}
	if err := system.FS.MkdirAll(dir, dirPerm); err != nil {
		return nil, err
	}
	return r.begin()
}

// openRestoring changes nothing yet.
func openRestoring(system env.System, options RestoreOptions) (*restoring, error) {
	r := &restoring{RestoreOptions: options, system: system, dir: Dir(options.StateDir), now: options.State.GetTime().AsTime()}
	var err error
	if r.bundle, err = certs.VerifyTrust(options.State.GetSiteId(), options.State.GetTrust()); err != nil {
		return nil, err
	}
	if r.signer, err = loadSigner(system.Rand, options.Content); err != nil {
		return nil, problem.New(problem.Conflict, "backup", "the CA in it cannot be used: %w", err)
	}
	if !r.bundle.Has(r.signer.Certificate()) {
		return nil, problem.New(problem.Conflict, "backup", "the CA in it does not count by the chain of trust in it")
	}
	return r, nil
}

func loadSigner(rand env.Rand, content *sitev1.BackupContent) (*certs.Authority, error) {
	parsed, err := x509.ParsePKCS8PrivateKey(content.GetAuthorityKey())
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, problem.New(problem.Invalid, "backup", "the CA's key is no ECDSA key")
	}
	return certs.LoadAuthority(rand, key, content.GetAuthority())
}

func (r *restoring) begin() (*sitev1.BeginAgain, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), r.system.Rand)
	if err != nil {
		return nil, err
	}
	authority, err := certs.NewAuthority(r.system.Rand, r.bundle.Site(), r.Node.GetName(), r.now)
	if err != nil {
		return nil, err
	}
	auditKey, err := AuditKey(r.system.FS, r.system.Rand, r.dir)
	if err != nil {
		return nil, err
	}
	public := auditKey.Public().(ed25519.PublicKey)
	version, err := RecoverVersion(r.system.Rand, r.bundle, r.State.GetTrust(), r.signer, certs.TrustChange{
		Add: []*x509.Certificate{authority.Certificate()}, AuditKeys: []*sitev1.AuditKey{{Node: r.Node.GetName(), Key: public}},
	})
	if err != nil {
		return nil, err
	}
	node := proto.CloneOf(r.Node)
	node.KeyFingerprint, node.Authority, node.AuditKey = certs.Fingerprint(key.Public()), authority.Certificate().Raw, public
	wraps, err := r.secrets(node)
	if err != nil {
		return nil, err
	}
	svid, err := r.issue(key)
	if err != nil {
		return nil, err
	}
	chain := append(slices.Clone(r.State.GetTrust()), version)
	bundle, err := r.bundle.Extend([]*sitev1.TrustVersion{version})
	if err != nil {
		return nil, err
	}
	if err := storeAuthority(r.system.FS, r.dir, authority); err != nil {
		return nil, err
	}
	again := &sitev1.BeginAgain{
		State: r.Content.GetState(), Principal: "spiffe://" + r.bundle.Site() + "/node/" + node.GetName(),
		Recover: &sitev1.RecoverSite{Version: version, Node: node, Fresh: true, From: r.From, Wraps: wraps},
	}
	r.From.SiteEpoch = bundle.SiteEpoch()
	if err := r.Keep(again, r.known(chain)); err != nil {
		return nil, err
	}
	return again, store(r.system.FS, r.dir, key, [][]byte{svid}, chain, bundle, r.State.GetGossipKey(), node)
}

// issue this machine's SVID. The nodes know the CA of the backup, and no later one
// before they were heard: how long ago the backup was made, and when the last of them
// is heard, nobody knows.
func (r *restoring) issue(key *ecdsa.PrivateKey) ([]byte, error) {
	svid, err := r.signer.IssueNode(certs.NodeRequest{
		Name: r.Node.GetName(), PublicKey: key.Public(), Addresses: []string{r.Node.GetAddress()}, Lifetime: certs.AuthorityLifetime,
	}, r.now)
	if err != nil {
		return nil, problem.New(problem.Invalid, "node "+r.Node.GetName(), "%w", err)
	}
	return svid, nil
}

// RecoverVersion is the version of the chain of trust that begins the next site
// epoch.
func RecoverVersion(rand env.Rand, bundle *certs.Bundle, chain []*sitev1.TrustVersion, signer *certs.Authority, change certs.TrustChange) (*sitev1.TrustVersion, error) {
	id := make([]byte, recoverIDBytes)
	if _, err := rand.Read(id); err != nil {
		return nil, err
	}
	change.Recover = &sitev1.RecoverRecord{SiteEpoch: bundle.SiteEpoch() + 1, Id: id}
	return certs.ExtendTrust(chain[len(chain)-1], signer, change)
}

// secrets seals the site's key for secrets to this machine.
func (r *restoring) secrets(node *skerryv1.Node) ([]*sitev1.VersionedWrap, error) {
	own, err := Recipient(r.system.FS, r.system.Rand, r.dir)
	if err != nil {
		return nil, err
	}
	node.SealingKey = own.Public()
	var wraps []*sitev1.VersionedWrap
	for _, version := range r.State.GetSecretKeys() {
		for _, wrap := range version.GetWraps() {
			if wrap.GetRecovery() != r.RecoveryName || wrap.GetRecovery() == "" {
				continue
			}
			siteID := r.State.GetSiteId()
			key, err := r.Recovery.Open(envelope.SiteKeyPlace(siteID, version.GetVersion(), "recovery", r.RecoveryName), wrap.GetSealed())
			if err != nil || !slices.Equal(envelope.Check(key), version.GetCheck()) {
				continue // skerry secret recover gives it back later, with another key
			}
			sealed, err := envelope.SealTo(own.Public(), envelope.SiteKeyPlace(siteID, version.GetVersion(), "node", node.GetName()), key)
			if err != nil {
				return nil, err
			}
			wraps = append(wraps, &sitev1.VersionedWrap{Version: version.GetVersion(), Wrap: &sitev1.KeyWrap{
				Node: node.GetName(), PublicKey: own.Public(), Sealed: sealed,
			}})
		}
	}
	return wraps, nil
}

// known are the nodes of the site, for the ledger.
func (r *restoring) known(chain []*sitev1.TrustVersion) *sitev1.Assignments {
	known := &sitev1.Assignments{
		Trust: chain, GossipKey: r.State.GetGossipKey(), Gossip: r.State.GetGossip().GetRing(), Site: r.State.GetSite(), SiteId: r.State.GetSiteId(),
	}
	for _, node := range r.State.GetNodes() {
		if node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED && node.GetName() != r.Node.GetName() {
			known.Peers = append(known.Peers, &sitev1.Peer{
				Name: node.GetName(), Address: node.GetAddress(), GossipAddress: node.GetGossipAddress(), Zone: node.GetZone(),
				KeyFingerprint: node.GetKeyFingerprint(),
			})
		}
	}
	known.Peers = append(known.Peers, &sitev1.Peer{
		Name: r.Node.GetName(), Address: r.Node.GetAddress(), GossipAddress: r.Node.GetGossipAddress(), Zone: r.Node.GetZone(),
		Voter: skerryv1.VoterRole_VOTER_ROLE_VOTER, RaftId: r.Node.GetRaftId(),
	})
	return known
}
