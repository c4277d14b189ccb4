package state

import (
	"cmp"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	// maxCommand is how much of a command a leaf holds, in bytes.
	maxCommand = 512
	// maxReads are listed in one leaf.
	maxReads = 16
)

// recordExec has no effect but its leaf. The placement may be gone: what was run
// while nobody was in reach is recorded later.
func (x *tx) recordExec(change *sitev1.RecordExec) (*sitev1.Outcome, error) {
	if change.GetPlacement() == "" || len(change.GetCommand()) > maxCommand {
		return nil, problem.New(problem.Invalid, "exec", "it names no placement, or too long a command")
	}
	return &sitev1.Outcome{}, nil
}

func describeExec(leaf *skerryv1.AuditEntry, change *sitev1.RecordExec) {
	verb, kind := cmp.Or(bounded(change.GetVerb(), maxName), "exec"), cmp.Or(bounded(change.GetKind(), maxName), "Placement")
	about(leaf, verb, resourcePath(kind, change.GetProject(), change.GetPlacement()))
	leaf.Command, leaf.Tty = bounded(change.GetCommand(), maxCommand), change.GetTty()
	leaf.Witness, leaf.Happened = bounded(change.GetWitness(), maxNodeName), change.GetHappened()
}

// recordReads has no effect but its leaf.
func (x *tx) recordReads(change *sitev1.RecordReads) (*sitev1.Outcome, error) {
	if len(change.GetReads()) == 0 {
		return nil, problem.New(problem.Invalid, "reads", "there is none")
	}
	return &sitev1.Outcome{}, nil
}

// describeReads makes the leaf speak of who has read, not of the coordinator
// that says so.
func describeReads(leaf *skerryv1.AuditEntry, change *sitev1.RecordReads) {
	leaf.Verb, leaf.Principal = "logs", bounded(change.GetPrincipal(), maxPrincipal)
	leaf.Witness, leaf.Happened, leaf.More = bounded(change.GetNode(), maxNodeName), change.GetHappened(), change.GetMore()
	for _, r := range change.GetReads() {
		if len(leaf.Reads) == maxReads {
			leaf.More += r.GetCount()
			continue
		}
		read := &skerryv1.AuditRead{
			Resource: bounded(r.GetResource(), maxResource), Count: r.GetCount(), From: bounded(r.GetFrom(), maxFrom),
		}
		leaf.Reads = append(leaf.Reads, read)
		leaf.Resources = append(leaf.Resources, read.GetResource())
		leaf.From = read.GetFrom()
	}
}
