package state

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	gossipKeyBytes = 32
	// maxSiteName is what a trust domain may have.
	maxSiteName = 255
	// firstRaftID is the replica of the node that made the site.
	firstRaftID = 1
	// MaxTrust versions; each is a change of the voters' CAs.
	MaxTrust = 10_000
)

// initSite makes the site: its first trust version, operator, node and voter.
func (x *tx) initSite(init *sitev1.InitSite) (*sitev1.Outcome, error) {
	if x.site != "" {
		return nil, problem.New(problem.Conflict, "site "+x.site, "it exists already")
	}
	if init.GetName() == "" || len(init.GetName()) > maxSiteName || len(init.GetGossipKey()) != gossipKeyBytes {
		return nil, problem.New(problem.Invalid, "site", "a site needs a name and a gossip key of %d bytes", gossipKeyBytes)
	}
	digest := sha256.Sum256(init.GetTrust().GetBody())
	if init.GetSiteId() != hex.EncodeToString(digest[:]) {
		return nil, problem.New(problem.Invalid, "site "+init.GetName(), "its ID is not the hash of its first trust version").WithField("siteId")
	}
	x.site, x.siteID, x.siteEpoch, x.gossipKey = init.GetName(), init.GetSiteId(), 1, init.GetGossipKey()
	x.gossip = firstRing(init.GetGossipKey())
	if err := x.appendTrust(init.GetTrust()); err != nil {
		return nil, err
	}
	first := shallow(init.GetOperator())
	first.Grants = []*skerryv1.Grant{{Role: adminRole}}
	if err := x.addOperator(first); err != nil {
		return nil, err
	}
	if _, err := x.applyProject(&skerryv1.Project{Kind: "Project", Name: defaultProject}); err != nil {
		return nil, err
	}
	node := shallow(init.GetNode())
	node.MayVote, node.Voter, node.RaftId = true, skerryv1.VoterRole_VOTER_ROLE_VOTER, firstRaftID
	if err := x.addNode(node); err != nil {
		return nil, err
	}
	x.nextRaftID = firstRaftID + 1
	x.inform(subject{kind: "Site", name: x.site, node: node.GetName()}, "SiteCreated", "site %s was made on node %s", x.site, node.GetName())
	return &sitev1.Outcome{Node: node}, nil
}

func (x *tx) extendTrust(change *sitev1.ExtendTrust) (*sitev1.Outcome, error) {
	if err := x.mayRetire(change.GetVersion()); err != nil {
		return nil, err
	}
	if err := x.appendTrust(change.GetVersion()); err != nil {
		return nil, err
	}
	x.inform(subject{kind: "Site", name: x.site}, "TrustExtended", "trust version %d", len(x.trust))
	return &sitev1.Outcome{}, nil
}

// appendTrust checks that a version continues the chain. Signatures and
// certificates are not judged here but by the coordinator that proposes and by
// everyone who uses the chain: what a library accepts differs between its
// versions, and the outcome of an entry must not.
func (x *tx) appendTrust(version *sitev1.TrustVersion) error {
	body := &sitev1.TrustBody{}
	if err := proto.Unmarshal(version.GetBody(), body); err != nil {
		return problem.New(problem.Invalid, "trust", "the version does not parse")
	}
	if body.GetSite() != x.site {
		return problem.New(problem.Invalid, "trust", "the version is of site %q, not %q", bounded(body.GetSite(), maxSiteName), x.site)
	}
	if len(x.trust) == MaxTrust {
		return exhausted("trust versions", MaxTrust)
	}
	var previous []byte
	if len(x.trust) > 0 {
		digest := sha256.Sum256(x.trust[len(x.trust)-1].GetBody())
		previous = digest[:]
	}
	if body.GetVersion() != uint64(len(x.trust))+1 || !bytes.Equal(body.GetPrevious(), previous) {
		return problem.New(problem.Conflict, "trust", "version %d does not continue the chain, which has %d", body.GetVersion(), len(x.trust)).
			WithHint("make it again from the newest version")
	}
	// The full slice expression: views hold on to what was there before.
	x.trust = append(x.trust[:len(x.trust):len(x.trust)], version)
	x.trusted = trustedBy(version)
	x.sum += x.hash("trust", version)
	return nil
}
