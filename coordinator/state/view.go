package state

import (
	"crypto/sha256"
	"crypto/x509"
	"iter"
	"slices"
	"sync"

	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/sitetime"
)

// View is the state at one moment. It is cheap, stays as it is while entries
// are applied, and may be used by several goroutines. What it returns is
// shared and must not be changed. Single objects are nil when there is none;
// lists are sorted by key.
type View struct {
	rows   *rows
	meta   meta
	events []event

	touched touched
	nodes   *nodeList
}

// nodeList is all nodes, listed when somebody first asks: by many in each step of
// the controllers, while the nodes rarely change. The views of a state between
// two changes of nodes share it.
type nodeList struct {
	at       uint64
	once     sync.Once
	all      []*skerryv1.Node
	replicas []*skerryv1.Node
	voters   []*skerryv1.Node
	issuers  map[[sha256.Size]byte]string

	parsing     sync.Once
	authorities map[string]*x509.Certificate
}

func (l *nodeList) of(from *rows) *nodeList {
	l.once.Do(func() {
		l.all, l.replicas = nodes.list(from), nodes.by(from, byReplica, "yes")
		l.issuers = issuersOf(l.replicas)
		for _, n := range l.replicas {
			if n.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER {
				l.voters = append(l.voters, n)
			}
		}
	})
	return l
}

// View of the state now: between two changes it is the same for all who ask.
func (s *Store) View() *View {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.view == nil {
		if s.nodes == nil || s.nodes.at != s.meta.nodesAt {
			s.nodes = &nodeList{at: s.meta.nodesAt}
		}
		s.view = &View{rows: s.rows, meta: s.meta, events: s.events, touched: s.touched, nodes: s.nodes}
	}
	return s.view
}

// Index of the last entry that was applied.
func (v *View) Index() uint64 { return v.meta.index }

// Time is the newest stamp of the log.
func (v *View) Time() *timestamppb.Timestamp { return v.meta.time }

// Stamp is the newest reading of site time in the log.
func (v *View) Stamp() sitetime.Stamp {
	return sitetime.Stamp{Time: v.meta.time.AsTime(), Reference: v.meta.reference.AsTime(), Era: v.meta.timeEra}
}

// Site is the site's name; empty before it is made.
func (v *View) Site() string { return v.meta.site }

// SiteID is the hash of the first trust version, in hex.
func (v *View) SiteID() string { return v.meta.siteID }

// AuditTerm is the newest term of the log.
func (v *View) AuditTerm() uint64 { return v.meta.audit.term }

// SiteEpoch counts recoveries, from 1.
func (v *View) SiteEpoch() uint64 { return v.meta.siteEpoch }

// GossipKey encrypts gossip.
func (v *View) GossipKey() []byte { return v.meta.gossipKey }

// Trust is the chain of trust, oldest first.
func (v *View) Trust() []*sitev1.TrustVersion { return slices.Clone(v.meta.trust) }

// NextRaftID was never used.
func (v *View) NextRaftID() uint64 { return v.meta.nextRaftID }

// Node of this name, also a removed one.
func (v *View) Node(name string) *skerryv1.Node { return nodes.get(v.rows, name) }

// NodeOfReplica is the node that holds the replica of this ID, nil for none.
func (v *View) NodeOfReplica(id uint64) *skerryv1.Node {
	for _, node := range v.nodes.of(v.rows).replicas {
		if id != 0 && node.GetRaftId() == id {
			return node
		}
	}
	return nil
}

// Replicas are the nodes with a replica of the log, also removed ones.
func (v *View) Replicas() []*skerryv1.Node { return slices.Clone(v.nodes.of(v.rows).replicas) }

// NodeCount is how many nodes there are, also removed ones.
func (v *View) NodeCount() int { return v.meta.counts[nodesOrdinal] }

// Nodes of the site, also removed ones.
func (v *View) Nodes() []*skerryv1.Node { return slices.Clone(v.nodes.of(v.rows).all) }

// AllNodes is Nodes for who only looks at each: without a copy.
func (v *View) AllNodes() iter.Seq[*skerryv1.Node] { return slices.Values(v.nodes.of(v.rows).all) }

// Voters are the nodes that vote.
func (v *View) Voters() []*skerryv1.Node { return slices.Clone(v.nodes.of(v.rows).voters) }

// Peers are the nodes that were not removed, as other nodes need to know them.
func (v *View) Peers() []*sitev1.Peer {
	var peers []*sitev1.Peer
	for n := range v.AllNodes() {
		if peer := PeerOf(n); peer != nil {
			peers = append(peers, peer)
		}
	}
	return peers
}

// AtHost are the nodes that are not removed and are at a host, or called so.
func (v *View) AtHost(host string) []*skerryv1.Node {
	k := hostKey(host)
	found := nodes.by(v.rows, byHost, k)
	if named := v.Node(k); named != nil && !slices.Contains(found, named) {
		found = append(found, named)
	}
	return slices.DeleteFunc(found, func(n *skerryv1.Node) bool { return n.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED })
}

// FirstPeers are enough to find the site by: all of a small one, of a large one
// those that hold a replica or may get one. The others come with the orders.
func (v *View) FirstPeers() []*sitev1.Peer {
	if v.NodeCount() <= maxFirstPeers {
		return v.Peers()
	}
	first := v.Replicas()
	for _, n := range nodes.by(v.rows, byMayVote, "yes") {
		if n.GetRaftId() == 0 && len(first) < maxFirstPeers {
			first = append(first, n)
		}
	}
	var peers []*sitev1.Peer
	for _, n := range first {
		if peer := PeerOf(n); peer != nil {
			peers = append(peers, peer)
		}
	}
	return peers
}

const maxFirstPeers = 64

// PeerOf a node is what other nodes need to know of it; nil once it was removed.
func PeerOf(n *skerryv1.Node) *sitev1.Peer {
	if n == nil || n.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
		return nil
	}
	return &sitev1.Peer{
		Name: n.GetName(), Address: n.GetAddress(), GossipAddress: n.GetGossipAddress(),
		Voter: n.GetVoter(), RaftId: n.GetRaftId(), Zone: n.GetZone(),
		KeyFingerprint: n.GetKeyFingerprint(),
	}
}

// Workload of this name.
func (v *View) Workload(project, name string) *skerryv1.Workload {
	return workloads.get(v.rows, key(project, name)).GetWorkload()
}

// Workloads of all projects.
func (v *View) Workloads() []*skerryv1.Workload {
	records := workloads.list(v.rows)
	all := make([]*skerryv1.Workload, 0, len(records))
	for _, record := range records {
		all = append(all, record.GetWorkload())
	}
	return all
}

// Placement of this name.
func (v *View) Placement(project, name string) *skerryv1.Placement {
	return placements.get(v.rows, key(project, name))
}

// Placements of all workloads, also those on their way out.
func (v *View) Placements() []*skerryv1.Placement { return placements.list(v.rows) }

// PlacementsOf a workload, also those on their way out.
func (v *View) PlacementsOf(project, workload string) []*skerryv1.Placement {
	return placements.by(v.rows, byWorkload, key(project, workload))
}

// PlacementsOn a node, also those on their way out.
func (v *View) PlacementsOn(node string) []*skerryv1.Placement {
	return placements.by(v.rows, byNode, node)
}

// Image of this name.
func (v *View) Image(name string) *skerryv1.Image { return images.get(v.rows, name) }

// Images of the site.
func (v *View) Images() []*skerryv1.Image { return images.list(v.rows) }

// ImageByDigest returns an image with this content.
func (v *View) ImageByDigest(digest string) *skerryv1.Image {
	found := images.by(v.rows, "digest", digest)
	if len(found) == 0 {
		return nil
	}
	return found[0]
}

// Operator of this name.
func (v *View) Operator(name string) *sitev1.OperatorRecord { return operators.get(v.rows, name) }

// Operators of the site.
func (v *View) Operators() []*sitev1.OperatorRecord { return operators.list(v.rows) }

// Token of this ID.
func (v *View) Token(id string) *sitev1.TokenRecord { return tokens.get(v.rows, id) }

// Tokens that are remembered, used ones too.
func (v *View) Tokens() []*sitev1.TokenRecord { return tokens.list(v.rows) }

// Events after a log index, oldest first; the last limit of them, 0 for all.
func (v *View) Events(after uint64, limit int) []*skerryv1.Event {
	from, _ := slices.BinarySearchFunc(v.events, after, func(e event, after uint64) int {
		if e.GetIndex() <= after {
			return -1
		}
		return 1
	})
	if limit > 0 {
		from = max(from, len(v.events)-limit)
	}
	selected := make([]*skerryv1.Event, 0, len(v.events)-from)
	for _, e := range v.events[from:] {
		selected = append(selected, e.Event)
	}
	return selected
}

// AccessRevision is the index of the last change of who may do what.
func (v *View) AccessRevision() uint64 { return v.meta.accessRevision }

// AccessRecords are all that decides what operators and workloads may do.
func (v *View) AccessRecords() *sitev1.AccessRecords {
	return &sitev1.AccessRecords{Revision: v.meta.accessRevision, Operators: v.Operators(), Policies: v.AccessPolicies()}
}

// AccessPolicy of this name.
func (v *View) AccessPolicy(name string) *skerryv1.AccessPolicy { return policies.get(v.rows, name) }

// AccessPolicies of the site.
func (v *View) AccessPolicies() []*skerryv1.AccessPolicy { return policies.list(v.rows) }

// Projects of the site, with what their workloads ask for.
func (v *View) Projects() []*skerryv1.Project {
	var all []*skerryv1.Project
	for _, record := range projects.list(v.rows) {
		p := shallow(record.GetProject())
		p.Used = shown(record.GetUse())
		all = append(all, p)
	}
	return all
}

// Try tells what an entry would do now, and changes nothing.
func (s *Store) Try(entry *sitev1.Entry) (*sitev1.Outcome, error) {
	fork := s.Fork()
	x := fork.begin(fork.meta.index+1, stampOf(entry))
	outcome, err := x.apply(entry)
	if err == nil {
		err = x.checkAdmin()
	}
	return outcome, err
}
