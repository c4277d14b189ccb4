package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/agent/identity"
	"skerry.dev/agent/reconcile"
	"skerry.dev/certs"
	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/audit"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/lifecycle"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// rehearseEvery is how often a site is recovered or restored on trial.
	rehearseEvery = 37 * time.Second
	// backupEvery is how often a backup is kept for that.
	backupEvery = 100 * time.Second
	// rehearsedTime is how long the controllers go on in a site that began anew.
	rehearsedTime = 3 * time.Minute
	// fresh is the machine on which a backup is restored.
	fresh = "spare"
)

// kept is a backup: a state, and the CA that signs what begins with it.
type kept struct {
	state  []byte
	signer *certs.Authority
}

// rehearsals begin the site anew again and again, on the side, from what the disks
// hold at that moment and with what really runs on the machines. The site itself
// hears nothing of them.
type rehearsals struct {
	world *world
	rng   *rand.Rand
	// backup is the last one.
	backup kept
	// named are all placements that there ever were.
	named map[string]bool
	// count of sites that began anew.
	count int
}

func (w *world) rehearse() {
	r := &rehearsals{world: w, rng: w.rngFor(8), named: map[string]bool{}}
	w.rehearsals = r
	w.kernel.after(backupEvery, r.keep)
	w.kernel.after(rehearseEvery, r.next)
}

// applied notes what has been named.
func (r *rehearsals) applied(view *state.View) {
	for _, p := range view.Placements() {
		r.named[p.GetName()] = true
	}
}

// keep a backup of the coordinator's state.
func (r *rehearsals) keep() {
	r.world.kernel.after(backupEvery, r.keep)
	at := r.world.coordinatorHost()
	if at < 0 {
		return
	}
	p := r.world.hosts[at].process
	data, err := p.voter.store.Marshal()
	if err == nil && p.self.Authority() != nil {
		r.backup = kept{state: data, signer: p.self.Authority()}
	}
}

// next begins a site anew: with what a survivor has, or with the backup.
func (r *rehearsals) next() {
	r.world.kernel.after(rehearseEvery, r.next)
	if r.rng.IntN(2) == 0 {
		r.restore()
		return
	}
	r.recover(r.world.hosts[r.rng.IntN(len(r.world.hosts))])
}

// newStore whose audit log nobody keeps.
func newStore() *state.Store {
	store := state.New()
	store.OnLeaf(func(audit.Leaf) {})
	return store
}

// recover on a survivor: all that its log holds counts.
func (r *rehearsals) recover(h *host) {
	if h.raft.memLog == nil || h.process == nil || h.process.self == nil || h.process.self.Authority() == nil {
		return
	}
	disk := h.raft.synced
	store := newStore()
	last, err := consensus.Salvage(&memLog{now: disk, synced: disk}, h.raft.id, store, r.world.logger)
	if err != nil {
		r.violate("the log of %s cannot be salvaged: %v", h.name, err)
		return
	}
	view := store.View()
	for _, entry := range disk.entries {
		if entry.GetIndex() > view.Index() && changesState(entry) {
			r.violate("the log of %s ends at %d, and was salvaged up to %d", h.name, last.Index, view.Index())
		}
	}
	if view.Node(h.name).GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER {
		r.begin(store, h.process.self.Authority(), &sitev1.RecoverSite{
			Node: &skerryv1.Node{Name: h.name, RaftId: view.RaftIDAfter()}, From: &skerryv1.Recovery{How: "recover"},
		})
	}
}

// changesState: it is no entry that a new leader begins with, no change of the voters,
// and no hash to compare.
func changesState(entry *raftpb.Entry) bool {
	decoded := &sitev1.Entry{}
	return entry.GetType() == raftpb.EntryNormal && len(entry.GetData()) > 0 &&
		(proto.Unmarshal(entry.GetData(), decoded) != nil || decoded.GetCheckHash() == nil)
}

// restore the backup on a machine that is new to the site.
func (r *rehearsals) restore() {
	if r.backup.signer == nil {
		return
	}
	store := newStore()
	if err := store.RestoreOlder(r.backup.state); err != nil {
		r.violate("a backup cannot be restored: %v", err)
		return
	}
	node := r.world.hosts[0].record()
	node.Name, node.Id, node.RaftId, node.KeyFingerprint = fresh, "id-"+fresh, store.View().RaftIDAfter(), tokenHash(fresh, 0)
	node.Address, node.GossipAddress = fresh+":7600", fresh+":7601"
	r.begin(store, r.backup.signer, &sitev1.RecoverSite{Node: node, Fresh: true, From: &skerryv1.Recovery{How: "restore"}})
}

// begin a site epoch as coordinator.Voter.beginAgain does.
func (r *rehearsals) begin(store *state.Store, signer *certs.Authority, change *sitev1.RecoverSite) {
	view := store.View()
	bundle, err := certs.VerifyTrust(view.SiteID(), view.Trust())
	if err != nil {
		r.violate("the chain of trust does not verify: %v", err)
		return
	}
	if !bundle.Has(signer.Certificate()) || view.Stop() != nil {
		return // another survivor, or a newer backup, is asked for
	}
	if change.Version, err = identity.RecoverVersion(chance{r.rng}, bundle, view.Trust(), signer, certs.TrustChange{}); err != nil {
		r.violate("the record is not made: %v", err)
		return
	}
	change.From.SiteEpoch, change.From.Index, change.From.StateTime = view.SiteEpoch()+1, view.Index(), view.Time()
	site := &rehearsed{rehearsals: r, Store: store, now: view.Time().AsTime(), adopted: map[string]bool{}}
	site.apply(&sitev1.Entry{Term: view.AuditTerm() + 1, Change: &sitev1.Entry_RecoverSite{RecoverSite: change}})
	r.count++
	r.world.trace.note("site", "rehearsal: %s on %s with index %d", change.GetFrom().GetHow(), change.GetNode().GetName(), view.Index())
	site.goOn(change.GetNode().GetName())
}

func (r *rehearsals) violate(format string, args ...any) {
	r.world.violate(check.BeganAnew(format, args...))
}

// rehearsed is one site that began anew.
type rehearsed struct {
	*rehearsals
	*state.Store
	now time.Time
	ids int
	// adopted are the nodes that were heard.
	adopted map[string]bool
}

func (s *rehearsed) apply(entry *sitev1.Entry) {
	s.ids++
	entry.RequestId, entry.Principal = fmt.Sprintf("again-%d-%d", s.count, s.ids), "coordinator"
	entry.Time, entry.TimeEra = timestamppb.New(s.now), s.View().Stamp().Era
	entry.Reference = s.View().Stamp().Message().GetReference()
	before := s.View()
	if err := state.Refusal(s.Apply(before.Index()+1, entry)); err != nil && entry.GetPlan() == nil {
		s.violate("%s is refused: %v", describe(entry), err)
	}
	for _, made := range entry.GetPlan().GetCreate() {
		for _, p := range s.View().PlacementsOf(made.GetProject(), made.GetWorkload()) {
			if s.named[p.GetName()] && before.Placement(p.GetProject(), p.GetName()) == nil {
				s.violate("%s is the name of another placement, which may run", p.GetName())
			}
		}
	}
}

// goOn: nodes are heard one after the other, some never, and the controllers work
// with those that were.
func (s *rehearsed) goOn(first string) {
	hosts := slices.Clone(s.world.hosts)
	s.rng.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
	silent := s.rng.IntN(len(hosts))
	core := lifecycle.New(lifecycle.Defaults(first), 0)
	left := s.leftAlone(hosts[:silent], first)
	for at := time.Duration(0); at < rehearsedTime; at += time.Second {
		if i := silent + int(at/(5*time.Second)); i < len(hosts) && at%(5*time.Second) == 0 {
			s.hear(hosts[i])
		}
		s.now = s.now.Add(time.Second)
		core.Heard(first, at)
		for _, h := range hosts[silent:] {
			if s.adopted[h.name] {
				core.Heard(h.name, at)
			}
		}
		effects := core.Step(at, s.now, s.View(), lifecycle.Progress{Commit: s.View().Index()})
		for _, node := range effects.Probe {
			core.Probed(node, s.adopted[node] || node == first, at)
		}
		for _, entry := range effects.Propose {
			s.apply(entry)
		}
	}
	s.judge(left)
}

// hear a node: what it runs becomes part of the site, and is never ended by that.
func (s *rehearsed) hear(h *host) {
	p, before := h.process, s.View()
	node := before.Node(h.name)
	if p == nil || p.self == nil || p.ledger == nil || p.agent == nil || node == nil || before.Adopted(node) ||
		node.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED || string(node.GetKeyFingerprint()) != string(s.world.fingerprint(p.leaf())) {
		return
	}
	holds := &sitev1.AdoptNode{Node: h.name}
	isHere := func(moving *skerryv1.Placement) bool {
		return moving.GetMigration() == nil || p.agent.core.IsHere(idOf(moving))
	} // agent/again.go
	for _, placement := range p.ledger.Current().GetPlacements() {
		if isHere(placement) {
			holds.Placements = append(holds.Placements, proto.CloneOf(placement))
		}
	}
	if s.world.has(ForgetHoldings) {
		holds.Placements = nil
	}
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_AdoptNode{AdoptNode: holds}})
	s.adopted[h.name] = true
	after := s.View()
	for _, placement := range p.ledger.Current().GetPlacements() {
		if !isHere(placement) || !h.machine.runs(reconcile.InstanceID(placement.GetProject(), placement.GetName())) {
			continue
		}
		known := before.Placement(placement.GetProject(), placement.GetName())
		s.world.violate(check.Adopted(h.name, placement, known, after.Placement(placement.GetProject(), placement.GetName())))
	}
}

// leftAlone is what stays or is exclusive on nodes that are not heard, by the state
// that the site begins with.
func (s *rehearsed) leftAlone(silent []*host, first string) map[string]string {
	left := map[string]string{}
	for _, h := range silent {
		if h.name == first {
			continue
		}
		for _, p := range s.View().PlacementsOn(h.name) {
			if (slices.Contains(staying, p.GetWorkload()) || p.GetWorkload() == lone || p.GetWorkload() == scada) && p.GetEnded() == nil && p.GetLapsed() == nil {
				left[p.GetWorkload()] = p.GetName()
			}
		}
		if s.world.has(AssumeGone) {
			s.apply(&sitev1.Entry{Change: &sitev1.Entry_AdoptNode{AdoptNode: &sitev1.AdoptNode{Node: h.name}}})
		}
	}
	return left
}

// judge what the controllers have made of it.
func (s *rehearsed) judge(left map[string]string) {
	for _, p := range s.View().Placements() {
		if other := left[p.GetWorkload()]; other != "" && p.GetNode() != "" && !s.named[p.GetName()] {
			s.violate("%s goes to %s, though %s may run on a node that was not heard", p.GetName(), p.GetNode(), other)
		}
	}
}
