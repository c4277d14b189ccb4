package state

import (
	"encoding/hex"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// nameGap is how many numbers of placements, and how many replicas' IDs, are
// passed over by a recovery: what was lost may have used them.
const nameGap = 1000

// recoverSite begins a site epoch with one voter. All other nodes count as lost,
// and as not heard in this epoch, until what they run was adopted.
func (x *tx) recoverSite(change *sitev1.RecoverSite) (*sitev1.Outcome, error) {
	record, err := x.recoverRecord(change.GetVersion())
	if err != nil {
		return nil, err
	}
	if err := x.appendTrust(change.GetVersion()); err != nil {
		return nil, err
	}
	x.siteEpoch = record.GetSiteEpoch()
	if change.GetFresh() {
		// The new machine has none of the leaves from before, nor will another one in this epoch:
		// voters that join must not wait for them. Nobody else ever applies this entry.
		x.audit.archived = x.audit.size
	}
	x.leaveVotersBehind(change.GetNode().GetName())
	if err := x.firstOfEpoch(change); err != nil {
		return nil, err
	}
	x.passNumbers()
	x.forgetPending()
	for _, token := range tokens.list(x.rows) {
		tokens.remove(x, token.GetToken().GetToken().GetId()) // somebody may have used it since
	}
	if err := x.openSecretsFor(change); err != nil {
		return nil, err
	}
	if x.gossip != nil {
		x.gossipKeyIsKnown() // there may have been another one since
	}
	recovery := proto.CloneOf(change.GetFrom())
	recovery.SiteEpoch, recovery.Id, recovery.Node, recovery.Time = x.siteEpoch, hex.EncodeToString(record.GetId()), change.GetNode().GetName(), x.time
	recovery.Differences, recovery.More = nil, 0
	x.setRecovery(recovery)
	x.common = x.index
	x.warn(subject{kind: "Site", name: x.site, node: recovery.GetNode()}, "SiteRecovered", "site epoch %d begins on %s with the state of index %d: %s",
		x.siteEpoch, recovery.GetNode(), recovery.GetIndex(), "what was acknowledged after it may be lost")
	return &sitev1.Outcome{Node: nodes.get(x.rows, recovery.GetNode())}, nil
}

func (x *tx) recoverRecord(version *sitev1.TrustVersion) (*sitev1.RecoverRecord, error) {
	body := &sitev1.TrustBody{}
	if err := proto.Unmarshal(version.GetBody(), body); err != nil {
		return nil, problem.New(problem.Invalid, "trust", "the version does not parse")
	}
	record := body.GetRecover()
	if record == nil || record.GetSiteEpoch() != x.siteEpoch+1 {
		return nil, problem.New(problem.Conflict, "site", "site epoch %d does not follow %d", record.GetSiteEpoch(), x.siteEpoch)
	}
	return record, nil
}

// leaveVotersBehind: nobody but the named node holds a replica, and nobody else
// was heard.
func (x *tx) leaveVotersBehind(first string) {
	for _, old := range nodes.list(x.rows) {
		if old.GetName() == first {
			continue
		}
		node := shallow(old)
		node.Voter, node.RaftId = skerryv1.VoterRole_VOTER_ROLE_UNSPECIFIED, 0
		if old.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED {
			node.State, node.StateSince = skerryv1.NodeState_NODE_STATE_LOST, x.time
		}
		x.putNode(node)
		if node.GetState() == skerryv1.NodeState_NODE_STATE_LOST {
			x.markPlacements(node.GetName(), node.GetState())
		}
	}
}

// firstOfEpoch records the voter. A new machine takes the place of one of its
// name, of which the operator says that it is off for good.
func (x *tx) firstOfEpoch(change *sitev1.RecoverSite) error {
	given := change.GetNode()
	present := nodes.get(x.rows, given.GetName())
	if change.GetFresh() {
		if present != nil {
			if err := x.revoke("node/"+present.GetName(), present.GetKeyFingerprint()); err != nil {
				return err
			}
			x.forgetPlacements(present.GetName(), true)
			x.holds(present.GetName(), nil)
			gone := shallow(present)
			gone.Voter, gone.RaftId = skerryv1.VoterRole_VOTER_ROLE_UNSPECIFIED, 0
			x.changeNodeState(gone, skerryv1.NodeState_NODE_STATE_REMOVED)
		}
		if err := x.addNode(proto.CloneOf(given)); err != nil {
			return err
		}
		present = nodes.get(x.rows, given.GetName())
	}
	if present == nil || present.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED {
		return missing("Node", given.GetName())
	}
	if given.GetRaftId() < x.nextRaftID {
		return problem.New(problem.Conflict, "Node/"+given.GetName(), "replica %d may have been there already", given.GetRaftId())
	}
	node := shallow(present)
	node.MayVote, node.Voter, node.RaftId, node.SiteEpoch = true, skerryv1.VoterRole_VOTER_ROLE_VOTER, given.GetRaftId(), x.siteEpoch
	x.nextRaftID = given.GetRaftId() + 1
	if node.GetState() != skerryv1.NodeState_NODE_STATE_READY {
		node.State, node.StateSince = skerryv1.NodeState_NODE_STATE_READY, x.time
	}
	x.putNode(node)
	if !change.GetFresh() {
		x.markPlacements(node.GetName(), node.GetState())
	}
	return nil
}

// passNumbers leaves out those that may have been given to placements since.
func (x *tx) passNumbers() {
	x.numberFloor += nameGap
	for _, record := range workloads.list(x.rows) {
		workloads.put(x, &sitev1.WorkloadRecord{Workload: record.GetWorkload(), NextNumber: record.GetNextNumber() + nameGap})
	}
}

// forgetPending placements: they may have got a node since, and others of other
// names are made. What is to run on one certain node, or nowhere, stays.
func (x *tx) forgetPending() {
	for _, p := range placements.list(x.rows) {
		if p.GetNode() == "" && pinOf(p) == "" {
			placements.remove(x, placements.key(p))
		}
	}
}

// openSecretsFor the voter: what was sealed to the voters before opens for nobody
// who is there.
func (x *tx) openSecretsFor(change *sitev1.RecoverSite) error {
	for _, wrap := range change.GetWraps() {
		if _, err := x.wrapSecretKey(&sitev1.WrapSecretKey{Version: wrap.GetVersion(), Add: []*sitev1.KeyWrap{wrap.GetWrap()}}); err != nil {
			return err
		}
	}
	return nil
}

func (x *tx) setRecovery(next *skerryv1.Recovery) {
	if x.recovery != nil {
		x.sum -= x.hash("recovery", x.recovery)
	}
	x.recovery = next
	x.sum += x.hash("recovery", next)
}

// RaftIDAfter a recovery of this state: one that nobody has had.
func (v *View) RaftIDAfter() uint64 { return v.meta.nextRaftID + nameGap }

// Recovery is the last one; nil when there was none.
func (v *View) Recovery() *skerryv1.Recovery { return v.meta.recovery }

// RecoverID is the ID of the last recovery, as in the chain of trust; nil when there
// was none.
func (v *View) RecoverID() []byte {
	id, err := hex.DecodeString(v.meta.recovery.GetId())
	if err != nil {
		return nil // the state has written it
	}
	return id
}

// Adopted tells whether a node was heard in the present site epoch.
func (v *View) Adopted(node *skerryv1.Node) bool {
	return max(1, node.GetSiteEpoch()) >= v.meta.siteEpoch
}

// Calls is the node that began the site epoch, while others were not heard in it: it
// tells them, and they know it by the CAs from before alone. Empty when all were.
func (v *View) Calls() string {
	if len(v.Awaited()) == 0 {
		return ""
	}
	return v.meta.recovery.GetNode()
}

// Awaited are the nodes that were not heard in the present site epoch.
func (v *View) Awaited() []string {
	if v.meta.siteEpoch <= 1 {
		return nil
	}
	var names []string
	for _, node := range v.Nodes() {
		if node.GetState() != skerryv1.NodeState_NODE_STATE_REMOVED && !v.Adopted(node) {
			names = append(names, node.GetName())
		}
	}
	return names
}
