package state

import (
	"crypto/sha256"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Store holds the state. One goroutine applies entries; any number read views.
type Store struct {
	// mu guards what View copies, so that a view is of one moment.
	mu      sync.Mutex
	rows    *rows
	meta    meta
	events  []event
	touched touched
	changed chan struct{}
	// view of this moment, made when somebody asks; nil again after each change.
	view *View
	// nodes is what the views since the last change of a node share.
	nodes *nodeList

	// requests belong to the applying goroutine alone.
	requests requests
	hasher   hasher
	audit    auditLog
	// hashed is the gossip state that was encoded last for the hash of the whole:
	// one that changes is another object.
	hashed struct {
		gossip  *sitev1.GossipState
		encoded string
	}
}

// meta is the part of the state that is not in tables.
type meta struct {
	index uint64
	// time is the newest stamp; it never goes back.
	time *timestamppb.Timestamp
	// reference and timeEra belong to it: see shared/sitetime.
	reference  *timestamppb.Timestamp
	timeEra    uint64
	nextRaftID uint64
	site       string
	siteID     string
	siteEpoch  uint64
	gossipKey  []byte
	trust      []*sitev1.TrustVersion
	revoked    []*sitev1.Revocation
	gossip     *sitev1.GossipState
	// broken are the operators whom root has made on a voter, newest last.
	broken []*sitev1.BrokenGlass
	// halt of the site; nil when it is not stopped.
	halt *skerryv1.SiteStop
	// imageKeys are nil before the first one has come.
	imageKeys *sitev1.ImageKeys
	// backups are nil before the first one.
	backups *sitev1.BackupState
	// rebalance that is under way, or the last one.
	rebalance *skerryv1.Rebalance
	// recovery is the last one; nil when there was none.
	recovery *skerryv1.Recovery
	// queued are the last changes that had waited on a node, oldest first.
	queued []*skerryv1.QueuedChange
	// trusted are the SHA-256 of the CAs in the newest version of the chain of
	// trust, sorted; they follow from trust.
	trusted [][sha256.Size]byte
	// authorityGeneration counts rotations of the CAs.
	authorityGeneration uint64
	// numberFloor is below the first number of every new workload.
	numberFloor uint64
	// accessRevision is the index of the last change of who may do what.
	accessRevision uint64
	counts         [tableCount]int
	// placing is what PlacingIndex tells, common and nodesAt are what CommonIndex
	// and NodesIndex do.
	placing, common, nodesAt uint64
	audit                    auditMeta
	// sum of the hashes of all objects.
	sum uint64
}

// New returns the empty state before the first entry.
func New() *Store {
	return &Store{
		rows:     newRows(),
		meta:     meta{time: &timestamppb.Timestamp{}, reference: &timestamppb.Timestamp{}, nextRaftID: 1, numberFloor: 1},
		requests: newRequests(),
	}
}

// Changed is closed when the next entry has been applied. Get it before the
// View that it guards.
func (s *Store) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

// publish makes the result of a transaction visible.
func (s *Store) publish(x *tx) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = x.rows
	s.meta = x.meta
	s.view = nil
	s.events = append(s.events[x.evicted:], x.events...)
	s.touched = s.touched.with(x.index, x.nodesTouched)
	s.wake()
}

// wake needs mu.
func (s *Store) wake() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Hash of the whole state: equal for equal states, at the cost of a few
// fields.
func (s *Store) Hash() uint64 {
	m := &s.meta
	if m.gossip != s.hashed.gossip {
		encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(m.gossip)
		must(err) // it holds no text
		s.hashed.gossip, s.hashed.encoded = m.gossip, string(encoded)
	}
	return m.sum + s.requests.sum + s.auditHash() + s.hasher.scalars(
		[]string{m.site, m.siteID, string(m.gossipKey), s.hashed.encoded},
		m.index, m.siteEpoch, m.nextRaftID, m.numberFloor, m.accessRevision, m.authorityGeneration,
		uint64(m.time.GetSeconds()), uint64(m.time.GetNanos()),
		uint64(m.reference.GetSeconds()), uint64(m.reference.GetNanos()), m.timeEra)
}

// tx is one entry on its way into the state. Nothing is visible before
// publish; without it nothing has happened.
type tx struct {
	*rows
	*hasher
	meta
	// events of this entry, and how many old ones they push out.
	events  []event
	evicted int
	oldest  []event
	// nodesTouched are the nodes whose record or placements this entry changes.
	nodesTouched map[string]bool
	// by whom the entry was asked for.
	by string
	// hadAdmin: before this entry changed who may do what, somebody could.
	hadAdmin bool
	// policy by which this entry's plan is checked; nil before the first look.
	policy *Policy
	// usage of the nodes that this entry assigns placements to.
	usage map[string]*Usage
	// counted placements of the workloads that this entry plans for.
	counted map[string]*counted
	// numbers that this entry's next new placements get, by workload, and the names
	// of those it made, empty for one that it did not make.
	numbers map[string]uint64
	created []string
	// nodesChanged in a way that may decide who hosts what.
	nodesChanged []nodeChange
}

func (s *Store) begin(index uint64, stamp *sitev1.SiteClock) *tx {
	if index <= s.meta.index {
		panic(fmt.Sprintf("state: entry %d comes after entry %d", index, s.meta.index))
	}
	x := &tx{rows: s.rows.fork(), hasher: &s.hasher, meta: s.meta, oldest: s.events}
	x.index = index
	x.advance(stamp)
	return x
}

func later(a, b *timestamppb.Timestamp) bool {
	if a.GetSeconds() != b.GetSeconds() {
		return a.GetSeconds() > b.GetSeconds()
	}
	return a.GetNanos() > b.GetNanos()
}
