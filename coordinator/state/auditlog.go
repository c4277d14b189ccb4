package state

import (
	"crypto/sha256"
	"slices"
	"strings"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	// maxCheckpoints are kept, of one voter each; the oldest goes first.
	maxCheckpoints = 16
	maxNote        = 2048
	// maxRefusals are listed in one leaf.
	maxRefusals = 16
)

// addCheckpoint keeps what a voter signed. Whether the signature is right and
// the tree this one is judged by every voter that keeps the leaves, not here.
func (x *tx) addCheckpoint(change *sitev1.AddCheckpoint) (*sitev1.Outcome, error) {
	c := change.GetCheckpoint()
	if c.GetNode() == "" || len(c.GetNode()) > maxNodeName || len(c.GetRoot()) != sha256.Size || len(c.GetNote()) > maxNote {
		return nil, problem.New(problem.Invalid, "checkpoint", "it names no node, has no root, or is too long")
	}
	if c.GetSize() > x.audit.size {
		return nil, problem.New(problem.Conflict, "checkpoint", "it is of %d leaves, the log has %d", c.GetSize(), x.audit.size)
	}
	kept := shallow(c)
	kept.Index = x.index
	list := slices.Clone(x.audit.checkpoints)
	list = slices.DeleteFunc(list, func(old *sitev1.AuditCheckpoint) bool {
		return old.GetNode() == kept.GetNode() && x.forgetCheckpoint(old)
	})
	if len(list) == maxCheckpoints {
		oldest := slices.MinFunc(list, func(a, b *sitev1.AuditCheckpoint) int { return int(a.GetIndex()) - int(b.GetIndex()) })
		list = slices.DeleteFunc(list, func(old *sitev1.AuditCheckpoint) bool { return old == oldest && x.forgetCheckpoint(old) })
	}
	list = append(list, kept)
	slices.SortFunc(list, func(a, b *sitev1.AuditCheckpoint) int { return strings.Compare(a.GetNode(), b.GetNode()) })
	x.sum += x.hash("checkpoint", kept)
	x.audit.checkpoints = list
	return &sitev1.Outcome{}, nil
}

func (x *tx) forgetCheckpoint(old *sitev1.AuditCheckpoint) bool {
	x.sum -= x.hash("checkpoint", old)
	return true
}

// recordRefusals has no effect but its leaf.
func (x *tx) recordRefusals(change *sitev1.RecordRefusals) (*sitev1.Outcome, error) {
	if len(change.GetRefusals()) == 0 {
		return nil, problem.New(problem.Invalid, "refusals", "there is none")
	}
	return &sitev1.Outcome{}, nil
}

// describeRefusals makes the leaf speak of who was refused, not of the
// coordinator that says so.
func describeRefusals(leaf *skerryv1.AuditEntry, change *sitev1.RecordRefusals) {
	leaf.Verb, leaf.Principal = "refused", bounded(change.GetPrincipal(), maxPrincipal)
	leaf.Witness, leaf.Happened, leaf.More = bounded(change.GetNode(), maxNodeName), change.GetHappened(), change.GetMore()
	for _, r := range change.GetRefusals() {
		if len(leaf.Refusals) == maxRefusals {
			leaf.More += r.GetCount()
			continue
		}
		leaf.Refusals = append(leaf.Refusals, &skerryv1.AuditRefusal{
			Reason: bounded(r.GetReason(), maxLabel), Resource: bounded(r.GetResource(), maxResource), Count: r.GetCount(),
			From: bounded(r.GetFrom(), maxFrom), Message: bounded(r.GetMessage(), maxResource),
		})
		if !slices.Contains(leaf.Resources, leaf.Refusals[len(leaf.Refusals)-1].GetResource()) {
			leaf.Resources = append(leaf.Resources, leaf.Refusals[len(leaf.Refusals)-1].GetResource())
		}
		leaf.From = bounded(r.GetFrom(), maxFrom)
	}
}

// archiveAudit lets the voters delete leaves that somebody holds in an archive.
// That the root is right was checked by the coordinator; before it deletes, every
// voter checks that what it keeps belongs to the tree of the state.
func (x *tx) archiveAudit(change *sitev1.ArchiveAudit) (*sitev1.Outcome, error) {
	size := change.GetSize()
	switch {
	case len(change.GetRoot()) != sha256.Size:
		return nil, problem.New(problem.Invalid, "audit log", "the root is no SHA-256").WithField("root")
	case size > x.audit.size:
		return nil, problem.New(problem.Invalid, "audit log", "it has %d entries, not %d", x.audit.size, size).WithField("size")
	case size <= x.audit.archived:
		return nil, problem.New(problem.Conflict, "audit log", "the entries below %d were archived already", x.audit.archived)
	}
	x.audit.archived = size
	x.inform(subject{kind: "Audit", name: "log"}, "AuditArchived", "the entries of the audit log below %d were archived", size)
	return &sitev1.Outcome{}, nil
}
