package state

import (
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// Marshal returns the whole state; equal states give equal bytes. It must not
// run while an entry is applied.
func (s *Store) Marshal() ([]byte, error) {
	v := s.View()
	m := v.meta
	snapshot := &sitev1.Snapshot{
		Index:       m.index,
		Hash:        s.Hash(),
		NextRaftId:  m.nextRaftID,
		Site:        m.site,
		SiteId:      m.siteID,
		SiteEpoch:   m.siteEpoch,
		GossipKey:   m.gossipKey,
		Time:        m.time,
		Reference:   m.reference,
		TimeEra:     m.timeEra,
		Trust:       m.trust,
		Operators:   operators.list(v.rows),
		Tokens:      tokens.list(v.rows),
		Workloads:   workloads.list(v.rows),
		Revisions:   revisions.list(v.rows),
		Placements:  placements.list(v.rows),
		Nodes:       nodes.list(v.rows),
		Images:      images.list(v.rows),
		Volumes:     volumes.list(v.rows),
		Events:      v.Events(0, 0),
		Requests:    s.requests.list(),
		Retired:     retired.sortedBy(v.rows, byAge),
		NumberFloor: m.numberFloor,

		Secrets:      secrets.list(v.rows),
		SecretKeys:   v.SecretKeys(),
		RecoveryKeys: v.RecoveryKeys(),

		AccessRevision:      m.accessRevision,
		AccessPolicies:      policies.list(v.rows),
		Projects:            projects.list(v.rows),
		Settings:            settings.list(v.rows),
		Revoked:             m.revoked,
		Gossip:              m.gossip,
		Audit:               s.auditState(),
		AuthorityGeneration: m.authorityGeneration,
		BrokenGlass:         m.broken,
		Stop:                m.halt,
		ImageKeys:           m.imageKeys,
		Backups:             m.backups,
		Rebalance:           m.rebalance,
		Recovery:            m.recovery,
		Queued:              m.queued,
	}
	if m.reference.GetSeconds() == 0 {
		snapshot.Reference = nil // the site has none yet
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(snapshot)
}

// Restore replaces the state by one that Marshal gave. After an error the
// state is as it was before.
func (s *Store) Restore(data []byte) error { return s.restore(data, true) }

// RestoreOlder restores a state that another version of Skerry may have encoded,
// which counted its hash in another way: whoever gives it knows that it is whole.
func (s *Store) RestoreOlder(data []byte) error { return s.restore(data, false) }

func (s *Store) restore(data []byte, hashed bool) error {
	snapshot := &sitev1.Snapshot{}
	if err := proto.Unmarshal(data, snapshot); err != nil {
		return fmt.Errorf("the state does not parse: %w", err)
	}
	restored := New()
	x := restored.fill(snapshot)
	if err := restored.restoreAudit(x, snapshot.GetAudit()); err != nil {
		return fmt.Errorf("the audit log in the state: %w", err)
	}
	restored.publish(x)
	for _, done := range snapshot.GetRequests() {
		restored.requests.add(&restored.hasher, done)
	}
	if got := restored.Hash(); hashed && got != snapshot.GetHash() {
		return fmt.Errorf("the state at index %d has hash %x, not %x as it says", snapshot.GetIndex(), got, snapshot.GetHash())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows, s.meta, s.events, s.requests = restored.rows, restored.meta, restored.events, restored.requests
	s.audit.frontier = restored.audit.frontier
	s.view, s.nodes = nil, nil
	s.touched = touched{after: restored.meta.index}
	s.wake()
	return nil
}

func (s *Store) fill(snapshot *sitev1.Snapshot) *tx {
	x := &tx{rows: s.rows.fork(), hasher: &s.hasher, meta: meta{
		index:       snapshot.GetIndex(),
		time:        snapshot.GetTime(),
		reference:   snapshot.GetReference(),
		timeEra:     snapshot.GetTimeEra(),
		nextRaftID:  snapshot.GetNextRaftId(),
		site:        snapshot.GetSite(),
		siteID:      snapshot.GetSiteId(),
		siteEpoch:   snapshot.GetSiteEpoch(),
		gossipKey:   snapshot.GetGossipKey(),
		trust:       snapshot.GetTrust(),
		numberFloor: snapshot.GetNumberFloor(),

		accessRevision:      snapshot.GetAccessRevision(),
		revoked:             snapshot.GetRevoked(),
		gossip:              snapshot.GetGossip(),
		authorityGeneration: snapshot.GetAuthorityGeneration(),
		broken:              snapshot.GetBrokenGlass(),
		halt:                snapshot.GetStop(),
		imageKeys:           snapshot.GetImageKeys(),
		backups:             snapshot.GetBackups(),
		rebalance:           snapshot.GetRebalance(),
		recovery:            snapshot.GetRecovery(),
		queued:              snapshot.GetQueued(),
	}}
	if x.time == nil {
		x.time = &timestamppb.Timestamp{}
	}
	if x.reference == nil {
		x.reference = &timestamppb.Timestamp{}
	}
	for _, version := range snapshot.GetTrust() {
		x.sum += x.hash("trust", version)
	}
	if last := len(x.trust) - 1; last >= 0 {
		x.trusted = trustedBy(x.trust[last])
	}
	for _, b := range snapshot.GetBrokenGlass() {
		x.sum += x.hash("broken", b)
	}
	if x.halt != nil {
		x.sum += x.hash("stop", x.halt)
	}
	if x.imageKeys != nil {
		x.sum += x.hash("imageKeys", x.imageKeys)
	}
	if x.backups != nil {
		x.sum += x.hash("backups", x.backups)
	}
	if x.rebalance != nil {
		x.sum += x.hash("rebalance", x.rebalance)
	}
	if x.recovery != nil {
		x.sum += x.hash("recovery", x.recovery)
	}
	for _, q := range snapshot.GetQueued() {
		x.sum += x.hash("queued", q)
	}
	for _, r := range snapshot.GetRevoked() {
		x.sum += x.hash("revoked", r)
	}
	putAll(x, operators, snapshot.GetOperators())
	putAll(x, policies, snapshot.GetAccessPolicies())
	putAll(x, projects, snapshot.GetProjects())
	putAll(x, settings, snapshot.GetSettings())
	x.accessRevision = snapshot.GetAccessRevision()
	putAll(x, tokens, snapshot.GetTokens())
	putAll(x, workloads, snapshot.GetWorkloads())
	putAll(x, retired, snapshot.GetRetired())
	putAll(x, revisions, snapshot.GetRevisions())
	putAll(x, placements, snapshot.GetPlacements())
	putAll(x, nodes, snapshot.GetNodes())
	putAll(x, images, snapshot.GetImages())
	putAll(x, volumes, snapshot.GetVolumes())
	putAll(x, secrets, snapshot.GetSecrets())
	putAll(x, secretKeys, snapshot.GetSecretKeys())
	putAll(x, recoveryKeys, snapshot.GetRecoveryKeys())
	for _, e := range snapshot.GetEvents() {
		x.keepEvent(e)
	}
	return x
}

func putAll[T proto.Message](x *tx, t table[T], objects []T) {
	for _, object := range objects {
		t.put(x, object)
	}
}
