package agent

import (
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"skerry.dev/agent/ledger"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/sitetime"
)

// KeepInit stores what the first agent of a new site needs beside its
// identity: the entry that opens the log, and a ledger that knows the node. That
// machine's clock is the site's first time: the operator who begins a site stands
// for it.
func KeepInit(files env.FS, stateDir string, init *sitev1.InitSite) error {
	dir := filepath.Join(stateDir, replicaDir)
	if err := files.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	encoded, err := proto.Marshal(init)
	if err != nil {
		return err
	}
	if err := files.WriteFile(filepath.Join(dir, initFile), encoded, 0o600); err != nil {
		return err
	}
	node := init.GetNode()
	return seed(files, stateDir, &sitev1.Assignments{
		Peers: []*sitev1.Peer{{
			Name: node.GetName(), Address: node.GetAddress(), GossipAddress: node.GetGossipAddress(),
			Voter: node.GetVoter(), RaftId: node.GetRaftId(), Zone: node.GetZone(),
			KeyFingerprint: node.GetKeyFingerprint(),
		}},
		Trust: []*sitev1.TrustVersion{init.GetTrust()}, GossipKey: init.GetGossipKey(),
		Site: init.GetName(), SiteId: init.GetSiteId(),
	}, sitetime.Stamp{Time: node.GetCreated().AsTime(), Reference: node.GetCreated().AsTime()})
}

// KeepJoin stores what the agent of a node that joins needs beside its
// identity: a ledger that knows the other nodes.
func KeepJoin(files env.FS, stateDir, site, siteID string, answer *sitev1.JoinResponse) error {
	return seed(files, stateDir, &sitev1.Assignments{
		Peers: answer.GetPeers(), Trust: answer.GetTrust(), GossipKey: answer.GetGossipKey(), Site: site, SiteId: siteID,
	}, sitetime.FromMessage(answer.GetClock()))
}

// seed writes a ledger without an order: it names no work, neither to do nor
// to end.
func seed(files env.FS, stateDir string, known *sitev1.Assignments, stamp sitetime.Stamp) error {
	l, err := ledger.Open(files, stateDir)
	if err != nil {
		return err
	}
	if err := l.KeepTime(stamp); err != nil {
		return err
	}
	return l.Accept(known)
}
