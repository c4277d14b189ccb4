package coordinator

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/coordinator/audit"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// Conditions of a node.
const (
	auditForked  = "AuditForked"
	auditDamaged = "AuditDamaged"
)

// auditKeys are all keys that ever signed checkpoints. Walking the chain takes a
// signature for each version, so it is done once for each.
func (v *Voter) auditKeys(view *state.View) (audit.Keys, error) {
	v.trustMu.Lock()
	defer v.trustMu.Unlock()
	chain := view.Trust()
	if v.auditAt == len(chain) {
		return v.auditKnown, nil
	}
	keys, err := audit.KeysOf(view.SiteID(), chain)
	if err == nil {
		v.auditKnown, v.auditAt = keys, len(chain)
	}
	return keys, err
}

// signCheckpoint signs the tree, when this is the coordinator, its key is in the
// chain of trust, and there is something new.
func (v *Voter) signCheckpoint(ctx context.Context) error {
	view := v.store.View()
	frontier := v.store.Frontier()
	known := view.Audit()
	for _, c := range known.Checkpoints {
		if c.GetSize() >= frontier.Size() {
			return nil
		}
	}
	if !v.node.Status().Serving || view.SiteID() == "" || frontier.Size() == 0 {
		return nil
	}
	keys, err := v.auditKeys(view)
	if err != nil || !keys.Has(v.Node, v.AuditKey.Public().(ed25519.PublicKey)) {
		return err
	}
	root := frontier.Root()
	text, err := audit.Sign(audit.Checkpoint{SiteID: view.SiteID(), Size: frontier.Size(), Root: root},
		audit.KeyName(view.Site(), v.Node), v.AuditKey)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, auditTime)
	defer cancel()
	_, err = v.Propose(ctx, &sitev1.Entry{
		RequestId: v.newID(), Principal: "coordinator",
		Change: &sitev1.Entry_AddCheckpoint{AddCheckpoint: &sitev1.AddCheckpoint{Checkpoint: &sitev1.AuditCheckpoint{
			Node: v.Node, Size: frontier.Size(), Root: root[:], Note: text,
		}}},
	})
	return err
}

// watchCheckpoints holds this voter's own tree against what any voter ever
// signed, as far as this one knows, also from before a restart.
func (v *Voter) watchCheckpoints() error {
	view := v.store.View()
	if view.SiteID() == "" {
		return nil
	}
	keys, err := v.auditKeys(view)
	if err != nil {
		return err
	}
	for _, c := range view.Audit().Checkpoints {
		kept := v.signed[c.GetNode()]
		if kept.GetSize() == c.GetSize() && bytes.Equal(kept.GetRoot(), c.GetRoot()) {
			continue
		}
		if said, by, err := audit.OpenCheckpoint(c.GetNote(), keys); err != nil || by != audit.KeyName(view.Site(), c.GetNode()) ||
			said.Size != c.GetSize() || !bytes.Equal(said.Root[:], c.GetRoot()) || said.SiteID != view.SiteID() {
			v.alarm(auditForked, fmt.Sprintf("a checkpoint of the audit log in the name of %s is not signed by it", c.GetNode()))
			continue
		}
		if kept.GetSize() >= c.GetSize() {
			// Signed after all that is kept, and of no more: nobody does that twice
			// for the same tree.
			if err := v.holdCheckpoint(view, c); err != nil {
				return err
			}
			continue
		}
		if kept != nil {
			// It is about to be replaced: this is the last time to hold it.
			if err := v.holdCheckpoint(view, kept); err != nil {
				return err
			}
		}
		encoded, err := proto.Marshal(c)
		if err != nil {
			return err
		}
		if err := v.leaves.KeepCheckpoint(c.GetNode(), encoded); err != nil {
			return err
		}
		v.signed[c.GetNode()] = c
	}
	for _, c := range v.signed {
		if err := v.holdCheckpoint(view, c); err != nil {
			return err
		}
	}
	return nil
}

// holdCheckpoint alarms when the tree does not extend what was signed.
func (v *Voter) holdCheckpoint(view *state.View, c *sitev1.AuditCheckpoint) error {
	size := view.Audit().Size
	first, through := v.leaves.Range()
	switch {
	case c.GetSize() > size && (view.Index() >= c.GetIndex() || v.node.Status().Serving):
		v.alarm(auditForked, fmt.Sprintf("the audit log was rolled back: %s once signed %d entries, the site's log has %d", c.GetNode(), c.GetSize(), size))
	case c.GetSize() > through || c.GetSize() < first:
	default:
		root, err := audit.RootAt(v.leaves, c.GetSize())
		if err != nil {
			return err
		}
		if !bytes.Equal(root[:], c.GetRoot()) {
			v.alarm(auditForked, fmt.Sprintf("the audit log was forked: its first %d entries are not those that %s signed", c.GetSize(), c.GetNode()))
		}
	}
	return nil
}

// loadCheckpoints reads those that were kept before this replica began.
func (v *Voter) loadCheckpoints() error {
	v.signed = map[string]*sitev1.AuditCheckpoint{}
	return v.leaves.Checkpoints(func(node string, encoded []byte) error {
		c := &sitev1.AuditCheckpoint{}
		if err := proto.Unmarshal(encoded, c); err != nil {
			return fmt.Errorf("the checkpoint of %s on this disk does not parse: %w", node, err)
		}
		v.signed[node] = c
		return nil
	})
}

// auditAlarm is what is wrong with the audit log.
type auditAlarm struct{ kind, message string }

// alarm keeps the first trouble: the others follow from it.
func (v *Voter) alarm(kind, message string) {
	if v.alarmed.CompareAndSwap(nil, &auditAlarm{kind, message}) {
		v.Logger.Error("the audit log is not what it should be", "condition", kind, "trouble", message)
	}
}

// Stuck is for how long the replica waits for its disk; 0 while it does not.
func (v *Voter) Stuck() time.Duration { return v.node.Stuck() }

// AuditTrouble is a condition of the node and its text; empty when all is well.
func (v *Voter) AuditTrouble() (kind, message string) {
	if differed := v.leaves.Differed(); differed != "" {
		v.alarm(auditDamaged, differed)
	}
	if trouble := v.alarmed.Load(); trouble != nil {
		return trouble.kind, trouble.message
	}
	return "", ""
}
