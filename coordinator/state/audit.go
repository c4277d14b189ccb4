package state

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/audit"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// maxPrincipal is the longest SPIFFE ID.
	maxPrincipal = 2048
	// maxNamed resources are named in one leaf, maxResource bytes each.
	maxNamed    = 64
	maxResource = 512
	maxFrom     = 255
)

// auditLog is what the state keeps of the audit log: not the leaves, but what
// proves them. It belongs to the applying goroutine; what views show is in meta.
type auditLog struct {
	frontier audit.Frontier
	sink     func(audit.Leaf)
	buffer   []byte
}

// OnLeaf names who keeps the leaves; apply hands each one out once for each
// time that its entry is applied. Set it before the first entry.
func (s *Store) OnLeaf(sink func(audit.Leaf)) { s.audit.sink = sink }

// audited tells whether an entry becomes a leaf: all that people, programs and
// nodes asked for, and what the coordinator declared about the site. What
// nodes report and what the controllers plan follow from those, but not that a
// rollout failed or was promoted by itself; checkpoints
// speak of the leaves themselves.
func audited(entry *sitev1.Entry) bool {
	if withoutAudit {
		return false
	}
	switch entry.GetChange().(type) {
	case *sitev1.Entry_StatusBatch, *sitev1.Entry_CheckHash, *sitev1.Entry_AddCheckpoint:
		return false
	case *sitev1.Entry_Plan:
		return judges(entry.GetPlan())
	default:
		return true
	}
}

// record adds the leaf of an entry that was applied.
func (s *Store) record(entry *sitev1.Entry, digest []byte, outcome *sitev1.Outcome) {
	leaf := &skerryv1.AuditEntry{
		Principal: bounded(entry.GetPrincipal(), maxPrincipal),
		From:      bounded(entry.GetFrom(), maxFrom),
		RequestId: bounded(entry.GetRequestId(), maxRequestID),
		Digest:    digest,
		Result:    outcome.GetErrorKind(),
		Message:   outcome.GetError(),
	}
	describe(leaf, entry)
	if entry.GetJoinSite() != nil {
		describeJoiner(leaf, outcome)
	}
	if outcome.GetErrorKind() != "" {
		leaf.Message = outcome.GetError() // why it was refused says more than what it asked for
	}
	if leaf.Result == "" {
		leaf.Result = "ok"
		if leaf.Message == "" { // what it asked for stays
			leaf.Message = became(outcome)
		}
	}
	if queued := entry.GetQueued().GetQueued(); queued != nil {
		leaf.Message = bounded(fmt.Sprintf("queued on %s at %s: %s", queued.GetNode(),
			queued.GetQueued().AsTime().Format(time.RFC3339), leaf.Message), maxMessage)
	}
	s.addLeaf(leaf)
}

func (s *Store) addLeaf(leaf *skerryv1.AuditEntry) {
	leaf.Number = s.audit.frontier.Size()
	leaf.Time, leaf.Index = s.meta.time, s.meta.index
	leaf.Epoch = fmt.Sprintf("%d.%d", s.meta.siteEpoch, s.meta.audit.term)
	data, err := audit.Encode(leaf)
	must(err) // all of it came out of an entry that parsed
	s.mu.Lock()
	added := s.audit.frontier.Append(data)
	s.meta.audit.size = s.audit.frontier.Size()
	s.view = nil
	s.mu.Unlock()
	if s.audit.sink != nil {
		s.audit.sink(added)
	}
}

// recordVoters adds the leaf of a change of the voters.
func (s *Store) recordVoters(change *sitev1.VoterChange) {
	leaf := &skerryv1.AuditEntry{Principal: "coordinator", Verb: "change-voters", Result: "ok"}
	for _, node := range []string{change.GetAddNode(), change.GetRemoveNode()} {
		if node != "" {
			leaf.Resources = append(leaf.Resources, "Node/"+node)
		}
	}
	if change.GetAddNode() != "" {
		role := strings.ToLower(strings.TrimPrefix(change.GetRole().String(), "VOTER_ROLE_"))
		leaf.Message = fmt.Sprintf("%s is %s, replica %d", change.GetAddNode(), role, change.GetAddRaftId())
	}
	_, leaf.Digest = s.hasher.asked(&sitev1.Entry{}, change)
	s.addLeaf(leaf)
}

// describe says what an entry asked for, and of what. A kind of entry that it
// does not know is called by its name in the log.
func describe(leaf *skerryv1.AuditEntry, entry *sitev1.Entry) {
	switch change := entry.GetChange().(type) {
	case nil:
		leaf.Verb = "none"
	case *sitev1.Entry_InitSite:
		about(leaf, "init", "Site/"+change.InitSite.GetName(), "Operator/"+change.InitSite.GetOperator().GetName())
	case *sitev1.Entry_ApplyResources:
		leaf.Verb = "apply"
		given := change.ApplyResources.GetResources()
		for _, resource := range given[:min(len(given), maxNamed)] {
			leaf.Resources = append(leaf.Resources, resourceName(resource))
		}
	case *sitev1.Entry_DeleteResource:
		d := change.DeleteResource
		about(leaf, "delete", resourcePath(d.GetKind(), d.GetProject(), d.GetName()))
	case *sitev1.Entry_CreateToken:
		token := change.CreateToken.GetToken()
		about(leaf, "create-token", "Token/"+token.GetId())
		if token.GetName() != "" {
			about(leaf, leaf.Verb, kindOfRole(token.GetRole())+"/"+token.GetName())
		}
	case *sitev1.Entry_JoinSite:
		// A machine mostly gets its name from here on, and an operator has none yet.
		about(leaf, "join", resourcePath("Node", "", change.JoinSite.GetNode().GetName()))
	case *sitev1.Entry_SetNodeState:
		n := change.SetNodeState
		about(leaf, "set-node-state", "Node/"+n.GetNode())
		leaf.Message = strings.ToLower(strings.TrimPrefix(n.GetState().String(), "NODE_STATE_"))
	case *sitev1.Entry_ChangeDuty:
		describeDuty(leaf, change.ChangeDuty)
	case *sitev1.Entry_RelabelNode:
		about(leaf, "label", "Node/"+change.RelabelNode.GetNode())
		leaf.Message = bounded(labelChanges(change.RelabelNode), maxMessage)
	case *sitev1.Entry_ConfirmOff:
		about(leaf, "confirm-off", "Node/"+change.ConfirmOff.GetNode())
	case *sitev1.Entry_AddImage:
		about(leaf, "load", "Image/"+change.AddImage.GetImage().GetName())
	case *sitev1.Entry_ExtendTrust:
		about(leaf, "extend-trust", "Site")
	case *sitev1.Entry_EvictNode:
		about(leaf, "evict", "Node/"+change.EvictNode.GetNode())
		if change.EvictNode.GetOff() && change.EvictNode.GetWeighed() {
			leaf.Message = "its machine is off for good"
		}
	case *sitev1.Entry_CreateLocalOperator:
		local := change.CreateLocalOperator
		about(leaf, "create-operator-locally", "Operator/"+local.GetName(), "Node/"+local.GetNode())
	case *sitev1.Entry_RevokeOperator:
		about(leaf, "revoke", "Operator/"+change.RevokeOperator.GetName())
	case *sitev1.Entry_RevokeToken:
		about(leaf, "revoke", "Token/"+change.RevokeToken.GetId())
	case *sitev1.Entry_ChangeGrants:
		about(leaf, "change-grants", "Operator/"+change.ChangeGrants.GetOperator())
	case *sitev1.Entry_RotateAuthorities:
		about(leaf, "rotate", "Authority")
	case *sitev1.Entry_RotateGossip:
		about(leaf, "rotate", "GossipKey")
	case *sitev1.Entry_AdvanceGossip:
		about(leaf, "advance", fmt.Sprintf("GossipKey/%d", change.AdvanceGossip.GetVersion()))
	case *sitev1.Entry_RotateImageKey:
		about(leaf, "rotate", "ImageKey")
	case *sitev1.Entry_AddSecretKey:
		about(leaf, "rotate", fmt.Sprintf("SecretKey/%d", change.AddSecretKey.GetKey().GetVersion()))
	case *sitev1.Entry_WrapSecretKey:
		describeWraps(leaf, change.WrapSecretKey)
	case *sitev1.Entry_RewrapSecrets:
		leaf.Verb = "rewrap"
		for _, secret := range change.RewrapSecrets.GetSecrets()[:min(len(change.RewrapSecrets.GetSecrets()), maxNamed)] {
			leaf.Resources = append(leaf.Resources, resourcePath("Secret", secret.GetProject(), secret.GetName()))
		}
	case *sitev1.Entry_AddRecoveryKey:
		about(leaf, "add", "RecoveryKey/"+change.AddRecoveryKey.GetKey().GetName())
	case *sitev1.Entry_RemoveRecoveryKey:
		about(leaf, "remove", "RecoveryKey/"+change.RemoveRecoveryKey.GetName())
	case *sitev1.Entry_RevealSecret:
		about(leaf, "reveal", resourcePath("Secret", change.RevealSecret.GetProject(), change.RevealSecret.GetName()))
		leaf.Message = bounded("key "+change.RevealSecret.GetKey(), maxMessage)
	case *sitev1.Entry_SetSiteTime:
		about(leaf, "set-site-time", "Site")
	case *sitev1.Entry_Plan:
		describeVerdicts(leaf, change.Plan)
	case *sitev1.Entry_SetPower:
		about(leaf, powerVerb(change.SetPower), resourcePath("Placement", change.SetPower.GetProject(), change.SetPower.GetPlacement()))
	case *sitev1.Entry_StopSite:
		about(leaf, "stop", "Site")
		leaf.Message = change.StopSite.GetReason()
	case *sitev1.Entry_StartSite:
		about(leaf, "start", "Site")
	case *sitev1.Entry_StartRebalance:
		describeRebalance(leaf, change.StartRebalance)
	case *sitev1.Entry_StopRebalance:
		about(leaf, "stop-rebalance", "Site")
	case *sitev1.Entry_StartRun:
		about(leaf, "run", resourcePath("Workload", change.StartRun.GetProject(), change.StartRun.GetWorkload()))
	case *sitev1.Entry_SteerRollout:
		steer := change.SteerRollout
		about(leaf, steerVerb(steer.GetAction()), resourcePath("Workload", steer.GetProject(), steer.GetWorkload()))
	case *sitev1.Entry_RecordRefusals:
		describeRefusals(leaf, change.RecordRefusals)
	case *sitev1.Entry_RecordExec:
		describeExec(leaf, change.RecordExec)
	case *sitev1.Entry_RecordReads:
		describeReads(leaf, change.RecordReads)
	case *sitev1.Entry_RecoverSite:
		recover := change.RecoverSite
		about(leaf, cmp.Or(recover.GetFrom().GetHow(), "recover"), "Site", "Node/"+recover.GetNode().GetName())
		leaf.Message = fmt.Sprintf("with the state of index %d", recover.GetFrom().GetIndex())
	case *sitev1.Entry_AdoptNode:
		about(leaf, "adopt", "Node/"+change.AdoptNode.GetNode())
		leaf.Message = fmt.Sprintf("it names %d placements", len(change.AdoptNode.GetPlacements()))
	case *sitev1.Entry_RecordBackup:
		describeBackup(leaf, change.RecordBackup)
	case *sitev1.Entry_RefuseQueued:
		about(leaf, cmp.Or(entry.GetQueued().GetQueued().GetVerb(), "refuse-queued"), entry.GetQueued().GetQueued().GetResources()...)
	case *sitev1.Entry_ArchiveAudit:
		about(leaf, "archive", fmt.Sprintf("Audit/%d", change.ArchiveAudit.GetSize()))
	default:
		m := entry.ProtoReflect()
		leaf.Verb = strings.ReplaceAll(string(m.WhichOneof(changes).Name()), "_", "-")
	}
}

// describeJoiner names who has joined: the token says who that is.
func describeJoiner(leaf *skerryv1.AuditEntry, outcome *sitev1.Outcome) {
	switch {
	case outcome.GetOperator() != "":
		leaf.Resources = []string{"Operator/" + outcome.GetOperator()}
	case outcome.GetNode() != nil:
		leaf.Resources = []string{"Node/" + outcome.GetNode().GetName()}
	}
}

// describeWraps names who can open a version of the secrets' key from now on, or
// no more.
func describeWraps(leaf *skerryv1.AuditEntry, change *sitev1.WrapSecretKey) {
	about(leaf, "wrap", fmt.Sprintf("SecretKey/%d", change.GetVersion()))
	for _, wrap := range change.GetAdd()[:min(len(change.GetAdd()), maxNamed)] {
		about(leaf, leaf.Verb, kindOfHolder(wrap)+"/"+wrap.GetNode()+wrap.GetRecovery())
	}
	if dropped := change.GetDrop(); len(dropped) > 0 {
		leaf.Message = bounded("no more: "+strings.Join(dropped[:min(len(dropped), maxNamed)], ", "), maxMessage)
	}
}

func kindOfHolder(wrap *sitev1.KeyWrap) string {
	if wrap.GetNode() == "" {
		return "RecoveryKey"
	}
	return "Node"
}

var changes = (*sitev1.Entry)(nil).ProtoReflect().Descriptor().Oneofs().ByName("change")

func about(leaf *skerryv1.AuditEntry, verb string, resources ...string) {
	leaf.Verb = verb
	for _, r := range resources {
		leaf.Resources = append(leaf.Resources, bounded(r, maxResource))
	}
}

// resourceName is kind, project and name of a resource of any kind.
func resourceName(resource *skerryv1.Resource) string {
	if w := resource.GetWorkload(); w != nil {
		return resourcePath("Workload", w.GetProject(), w.GetName())
	}
	m := resource.ProtoReflect()
	field := m.WhichOneof(resourceKinds)
	if field == nil {
		return "nothing"
	}
	inner := m.Get(field).Message()
	text := func(name protoreflect.Name) string {
		if f := inner.Descriptor().Fields().ByName(name); f != nil && f.Kind() == protoreflect.StringKind && !f.IsList() {
			return inner.Get(f).String()
		}
		return ""
	}
	return resourcePath(string(inner.Descriptor().Name()), text("project"), text("name"))
}

var resourceKinds = (*skerryv1.Resource)(nil).ProtoReflect().Descriptor().Oneofs().ByName("kind")

func resourcePath(kind, project, name string) string {
	parts := slices.DeleteFunc([]string{kind, project, name}, func(part string) bool { return part == "" })
	return bounded(strings.Join(parts, "/"), maxResource)
}

func kindOfRole(role string) string {
	if role == operatorRole {
		return "Operator"
	}
	return "Node"
}

// became says what came of an entry that was carried out.
func became(outcome *sitev1.Outcome) string {
	switch {
	case len(outcome.GetApplied()) == 1:
		return outcome.GetApplied()[0].GetOutcome()
	case len(outcome.GetApplied()) > 1:
		var each []string
		for _, applied := range outcome.GetApplied() {
			each = append(each, applied.GetOutcome())
		}
		return bounded(strings.Join(each, ", "), maxMessage)
	case outcome.GetOperator() != "":
		return "operator " + outcome.GetOperator()
	case outcome.GetNode() != nil:
		return "node " + outcome.GetNode().GetName()
	default:
		return ""
	}
}

// auditMeta is what views show of the audit log.
type auditMeta struct {
	// size of the tree; archived leaves, and those from before a restore, are not kept
	// by anybody here any more.
	size, archived uint64
	// term is the newest of the log.
	term uint64
	// checkpoints are the newest of each voter, sorted by name.
	checkpoints []*sitev1.AuditCheckpoint
}

// hash of what is not hashed as an object.
func (s *Store) auditHash() uint64 {
	s.audit.buffer = s.audit.frontier.AppendEdge(s.audit.buffer[:0])
	m := s.meta.audit
	return s.hasher.scalars([]string{"audit", string(s.audit.buffer)}, m.size, m.archived, m.term)
}

func (s *Store) auditState() *sitev1.AuditState {
	m := s.meta.audit
	return &sitev1.AuditState{
		Size: m.size, Edge: s.audit.frontier.Edge(), Term: m.term, Archived: m.archived, Checkpoints: m.checkpoints,
	}
}

// restoreAudit is the part of a snapshot that fill does not take.
func (s *Store) restoreAudit(x *tx, kept *sitev1.AuditState) error {
	frontier, err := audit.FrontierOf(kept.GetSize(), kept.GetEdge())
	if err != nil {
		return err
	}
	s.audit.frontier = frontier
	x.audit = auditMeta{
		size: kept.GetSize(), archived: kept.GetArchived(), term: kept.GetTerm(), checkpoints: kept.GetCheckpoints(),
	}
	for _, c := range kept.GetCheckpoints() {
		x.sum += x.hash("checkpoint", c)
	}
	return nil
}

// Audit is the audit log at the moment of a view.
type Audit struct {
	// Size of the tree, and the first leaf that was not archived, nor lost by a restore.
	Size, First uint64
	// Checkpoints are the newest of each voter, sorted by name.
	Checkpoints []*sitev1.AuditCheckpoint
	Time        *timestamppb.Timestamp
}

// Audit log as the view knows it.
func (v *View) Audit() Audit {
	m := v.meta.audit
	return Audit{Size: m.size, First: m.archived, Checkpoints: m.checkpoints, Time: v.meta.time}
}

// Frontier of the audit log now.
func (s *Store) Frontier() audit.Frontier {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.audit.frontier
}
