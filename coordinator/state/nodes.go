package state

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"net"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	maxNodes      = 10_000
	maxConditions = 32
	maxAddress    = 255
	maxAuthority  = 8 << 10
	maxJwtKey     = 256
	maxVersion    = 64
	// maxIssuers of the SVIDs on one node: more CAs than a site ever has at once.
	maxIssuers = 64
)

// Indexes of nodes: a site has few that are in these, whatever its size.
const (
	byReplica = "replica"
	byMayVote = "mayVote"
	// byHost finds who is at a host.
	byHost = "host"
)

var nodes = table[*skerryv1.Node]{
	name: "nodes",
	key:  func(n *skerryv1.Node) string { return n.GetName() },
	indexes: map[string]func(*skerryv1.Node) string{
		byReplica: func(n *skerryv1.Node) string { return yes(n.GetRaftId() != 0) },
		byHost:    func(n *skerryv1.Node) string { return hostKey(hostOf(n.GetAddress())) },
		byMayVote: func(n *skerryv1.Node) string {
			return yes(n.GetMayVote() && n.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED)
		},
	},
	ordinal: nodesOrdinal,
}

// hostOf is the host of an address, or all of it.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return address
}

// hostKey is equal for equal hosts: names without case, and IP addresses however
// written.
func hostKey(host string) string {
	if ip := net.ParseIP(host); ip != nil {
		return ip.String()
	}
	return strings.ToLower(host)
}

// yes puts an object into an index, or not.
func yes(in bool) string {
	if in {
		return "yes"
	}
	return ""
}

func aboutNode(name string) subject { return subject{kind: "Node", name: name, node: name} }

// addNode records a node that joined, in place of a removed one of that name.
// The record becomes the state's.
func (x *tx) addNode(node *skerryv1.Node) error {
	if err := checkNodeName(node.GetName()); err != nil {
		return err
	}
	if len(node.GetKeyFingerprint()) != sha256.Size {
		return problem.New(problem.Invalid, "Node/"+node.GetName(), "the fingerprint of its key is not a SHA-256").WithField("keyFingerprint")
	}
	if x.isRevoked(node.GetKeyFingerprint()) {
		return problem.New(problem.Forbidden, "Node/"+node.GetName(), "the key of this machine was revoked").
			WithHint("it joins with a new key once its old identity is gone: see operations.md, evict a node")
	}
	old := nodes.get(x.rows, node.GetName())
	if old == nil && x.counts[nodesOrdinal] == maxNodes {
		return exhausted("nodes", maxNodes)
	}
	switch {
	case old == nil:
	case old.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED:
		return problem.New(problem.Conflict, "Node/"+node.GetName(), "there is a node of this name").
			WithHint("give the new one another name, or evict the old one: skerry node evict %s", node.GetName())
	case old.GetRaftId() != 0:
		return problem.New(problem.Unavailable, "Node/"+node.GetName(), "the node that had this name was evicted, and still counts among the voters until another one has its place").
			WithHint("try again in a moment; skerry status shows who votes")
	}
	if left := append(placements.by(x.rows, byNode, node.GetName()), placements.by(x.rows, byOther, node.GetName())...); len(left) > 0 {
		return problem.New(problem.Conflict, "Node/"+node.GetName(), "the node that had this name was evicted, and %s may still run on it", left[0].GetName()).
			WithHint("if that machine is off: skerry node evict %s --off", node.GetName())
	}
	if err := checkLabels("Node/"+node.GetName(), node.GetLabels()); err != nil {
		return err
	}
	facts := &sitev1.NodeFacts{
		Address: node.GetAddress(), GossipAddress: node.GetGossipAddress(), Capacity: node.GetCapacity(),
		Version: node.GetVersion(), Conditions: node.GetConditions(), Authority: node.GetAuthority(),
		SvidExpires: node.GetSvidExpires(),
		AuditKey:    node.GetAuditKey(),
		JwtKey:      node.GetJwtKey(),
	}
	setFacts(node, facts)
	node.Kind, node.Project = "Node", ""
	if node.GetZone() == "" {
		node.Zone = node.GetName()
	}
	node.Generation, node.Created = 1, x.time
	if node.SiteEpoch = 0; x.siteEpoch > 1 {
		node.SiteEpoch = x.siteEpoch
	}
	node.State, node.StateSince = skerryv1.NodeState_NODE_STATE_READY, x.time
	x.putNode(node)
	x.inform(aboutNode(node.GetName()), "NodeJoined", "node %s in zone %s", node.GetName(), node.GetZone())
	return nil
}

func (x *tx) putNode(node *skerryv1.Node) {
	node.ResourceVersion = x.index
	old := nodes.get(x.rows, node.GetName())
	nodes.put(x, node)
	if hasReplica(node) && len(node.GetAuthority()) > 0 && (!hasReplica(old) || !bytes.Equal(node.GetAuthority(), old.GetAuthority())) {
		x.issuesAgain(node)
	}
}

// setFacts bounds and copies what a node says of itself.
func setFacts(node *skerryv1.Node, facts *sitev1.NodeFacts) {
	node.Address = bounded(facts.GetAddress(), maxAddress)
	node.GossipAddress = bounded(facts.GetGossipAddress(), maxAddress)
	node.Version = bounded(facts.GetVersion(), maxVersion)
	if facts.GetCapacity() != nil {
		node.Capacity = &skerryv1.Capacity{
			CpuMilli:    max(0, facts.GetCapacity().GetCpuMilli()),
			MemoryBytes: max(0, facts.GetCapacity().GetMemoryBytes()),
			DiskBytes:   max(0, facts.GetCapacity().GetDiskBytes()),
			Devices:     boundedDevices(facts.GetCapacity().GetDevices()),
		}
	}
	node.GossipVersion = facts.GetGossipVersion()
	node.AuthorityGeneration = facts.GetAuthorityGeneration()
	if len(facts.GetSvidIssuer()) == sha256.Size {
		// A node that has just started has not looked at either yet.
		node.SvidIssuer, node.WorkloadIssuers = facts.GetSvidIssuer(), boundedIssuers(facts.GetWorkloadIssuers())
	}
	node.Conditions = nil
	for _, c := range facts.GetConditions()[:min(len(facts.GetConditions()), maxConditions)] {
		node.Conditions = append(node.Conditions, &skerryv1.Condition{
			Type: bounded(c.GetType(), maxLabel), Message: bounded(c.GetMessage(), maxMessage),
		})
	}
	if authority := facts.GetAuthority(); len(authority) > 0 && len(authority) <= maxAuthority {
		node.Authority = authority
	}
	if facts.GetSvidExpires() != nil {
		node.SvidExpires = facts.GetSvidExpires()
	}
	if sealing := facts.GetSealingKey(); len(sealing) == publicKeySize {
		node.SealingKey = sealing
	}
	if key := facts.GetAuditKey(); len(key) == ed25519.PublicKeySize {
		node.AuditKey = key
	}
	node.Vms = boundedVMs(facts.GetVms())
	node.SurplusImages, node.Room = boundedDigests(facts.GetSurplusImages()), boundedRoom(facts.GetRoom(), node.GetRoom())
	if facts.GetRun() != "" {
		node.Run = bounded(facts.GetRun(), maxRunID)
	}
	if key := facts.GetJwtKey(); len(key) > 0 && len(key) <= maxJwtKey {
		node.JwtKey = key
	}
}

// boundedIssuers are those of what a node says that can be CAs of the site.
func boundedIssuers(given [][]byte) [][]byte {
	var issuers [][]byte
	for _, issuer := range given[:min(len(given), maxIssuers)] {
		if len(issuer) == sha256.Size {
			issuers = append(issuers, issuer)
		}
	}
	return issuers
}

// nodeFacts takes over what a node reported of itself.
func (x *tx) nodeFacts(old *skerryv1.Node, facts *sitev1.NodeFacts) {
	node := shallow(old)
	setFacts(node, facts)
	if len(facts.GetSvidIssuer()) == sha256.Size {
		node.RefusedIssuers = x.refusedIssuers(facts.GetRefusedIssuers())
	}
	if !proto.Equal(node, old) {
		x.tellConditions(old, node)
		x.tellRemoved(old, node)
		x.putNode(node)
	}
	x.holds(node.GetName(), facts.GetImages())
	x.holdsVolumes(node.GetName(), facts.GetVolumes())
}

func (x *tx) tellConditions(old, node *skerryv1.Node) {
	for _, c := range node.GetConditions() {
		known := slices.ContainsFunc(old.GetConditions(), func(o *skerryv1.Condition) bool { return o.GetType() == c.GetType() })
		if !known {
			x.warn(aboutNode(node.GetName()), c.GetType(), "%s", c.GetMessage())
		}
	}
}

func (x *tx) setNodeState(change *sitev1.SetNodeState) (*sitev1.Outcome, error) {
	old := nodes.get(x.rows, change.GetNode())
	if old == nil {
		return nil, missing("Node", change.GetNode())
	}
	if old.GetState() == change.GetState() {
		return &sitev1.Outcome{}, nil
	}
	if old.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
		return nil, problem.New(problem.Conflict, "Node/"+old.GetName(), "it was evicted from the site").
			WithHint("join it again with a new token")
	}
	about := aboutNode(old.GetName())
	switch change.GetState() {
	case skerryv1.NodeState_NODE_STATE_READY:
		x.inform(about, "NodeReturned", "%s", change.GetReason())
	case skerryv1.NodeState_NODE_STATE_LOST:
		switch {
		case old.GetDuty().GetDuty() == skerryv1.Duty_DUTY_MAINTENANCE:
			x.inform(about, "NodeOff", "it is in maintenance: %s", change.GetReason())
		case x.halt.GetStopped() != nil:
			x.inform(about, "NodeOff", "the site is stopped: %s", change.GetReason())
		default:
			x.warn(about, "NodeLost", "%s", change.GetReason())
		}
	case skerryv1.NodeState_NODE_STATE_REMOVED:
		return x.removeNode(old, 0)
	default:
		return nil, problem.New(problem.Invalid, "Node/"+old.GetName(), "there is no state %d", change.GetState()).WithField("state")
	}
	x.changeNodeState(x.judgeTrust(old, change.GetState()), change.GetState())
	x.markPlacements(old.GetName(), change.GetState())
	return &sitev1.Outcome{}, nil
}

func (x *tx) changeNodeState(old *skerryv1.Node, state skerryv1.NodeState) {
	node := shallow(old)
	node.State, node.StateSince = state, x.time
	x.putNode(node)
}

// markPlacements notes on the placements of a node that it is lost, or that it
// is back: then their replacements are surplus, or they are.
func (x *tx) markPlacements(node string, state skerryv1.NodeState) {
	for _, old := range placements.by(x.rows, byNode, node) {
		p := shallow(old)
		if state == skerryv1.NodeState_NODE_STATE_LOST {
			p.LostSince = x.time
		} else {
			p.LostSince, p.ReplacedBy = nil, ""
		}
		x.putPlacement(p)
	}
}

// removeNode is an eviction by somebody who is in no hurry: a node that is
// ready must be empty, and on a lost one nothing may be left that must not run
// twice.
func (x *tx) removeNode(old *skerryv1.Node, version uint64) (*sitev1.Outcome, error) {
	name := old.GetName()
	if err := checkVersion("Node/"+name, version, old.GetResourceVersion()); err != nil {
		return nil, err
	}
	for _, p := range placements.by(x.rows, byOther, name) {
		return nil, problem.New(problem.Conflict, "Node/"+name, "%s, which moves, may be on it", p.GetName()).
			WithHint("if the machine is off: skerry node confirm-off %s", name)
	}
	for _, p := range placements.by(x.rows, byNode, name) {
		ended := p.GetEnded() != nil && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN // only its logs are there
		if old.GetState() == skerryv1.NodeState_NODE_STATE_READY && !ended {
			return nil, problem.New(problem.Conflict, "Node/"+name, "it still runs %s", p.GetName()).
				WithHint("delete what it runs, or switch it off and wait until it is lost; skerry node evict %s does not wait", name)
		}
		if p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && p.GetEnded() == nil && IsStay(p.GetSpec()) {
			return nil, problem.New(problem.Conflict, "Node/"+name, "%s stays on it and may still run there", p.GetName()).
				WithHint("if the machine is off for good, delete %s first", p.GetName())
		}
		if MayRun(p) {
			return nil, problem.New(problem.Conflict, "Node/"+name, "%s is exclusive and may run on it until its lease has ended", p.GetName()).
				WithHint("try again in %s", p.GetSpec().GetPartition().GetLease())
		}
	}
	return x.expel(old, true)
}

func (x *tx) isOnlyVoter(node *skerryv1.Node) bool {
	if node.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_VOTER {
		return false
	}
	for _, other := range nodes.list(x.rows) {
		stays := other.GetName() != node.GetName() && other.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED
		if stays && other.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER {
			return false
		}
	}
	return true
}

func missing(kind, name string) error {
	return problem.New(problem.NotFound, kind+"/"+bounded(name, maxNodeName), "there is no such thing").
		WithHint("skerry get %s lists what there is", lower(kind))
}

func checkVersion(subject string, asked, present uint64) error {
	if asked == 0 || asked == present {
		return nil
	}
	return problem.New(problem.Conflict, subject, "it was changed since: its resource version is %d, not %d", present, asked).
		WithField("resourceVersion").WithHint("read it again and repeat the change")
}
