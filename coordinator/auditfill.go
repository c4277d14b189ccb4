package coordinator

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/coordinator/audit"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	// maxBatches of leaves are fetched in one go.
	maxBatches = 200
	// fillAgain is the longest time after which leaves are asked for again that nobody
	// gave. Mostly those who have them are a moment behind, or down.
	fillAgain = 30 * time.Second
)

// filling is an attempt to get leaves that failed.
type filling struct {
	// said is why, as it was logged.
	said string
	// pause comes before the next one, at elapsed time next.
	pause, next time.Duration
}

// checkLeaves compares what is on the disk with the tree of the restored state,
// when the replica opens.
func (v *Voter) checkLeaves() {
	if aside := v.leaves.Aside(); aside != "" {
		v.alarm(auditDamaged, "the audit log on this disk was damaged, and is set aside in "+aside+": its entries come back from the other voters, if there are any")
	}
	frontier := v.store.Frontier()
	first, through := v.leaves.Range()
	if through < frontier.Size() || first > frontier.Size() {
		return // what is missing comes from the others, and is checked then
	}
	at, err := audit.FrontierAt(v.leaves, frontier.Size())
	switch {
	case err != nil:
		v.alarm(auditDamaged, "the audit log on this disk cannot be read: "+err.Error())
	case at != frontier:
		v.alarm(auditDamaged, fmt.Sprintf("the first %d entries of the audit log on this disk are not those of the site", frontier.Size()))
	default:
		return
	}
	v.refetch = true
}

// beginLeaves begins the leaves where the restored state does, when none are left here, as
// after those that were damaged were set aside, and nobody else holds a log. Those that
// follow would be beyond a gap for ever, out of sight and of exports.
func (v *Voter) beginLeaves() error {
	for range v.others() {
		return nil
	}
	frontier := v.store.Frontier()
	if _, through := v.leaves.Range(); through != 0 || frontier.Size() == 0 {
		return nil
	}
	return v.leaves.Begin(frontier)
}

// others are the nodes that hold a replica beside this one, and the leaves with it.
func (v *Voter) others() iter.Seq[*skerryv1.Node] {
	return func(yield func(*skerryv1.Node) bool) {
		for node := range v.store.View().AllNodes() {
			if node.GetName() != v.Node && node.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_UNSPECIFIED && !yield(node) {
				return
			}
		}
	}
}

// fillLeaves fetches the leaves that this replica lacks from the others: those
// from before the snapshot with which it began, and those that were damaged.
// Each batch is proved to belong to the tree of the state before it is kept.
func (v *Voter) fillLeaves(ctx context.Context) {
	frontier := v.store.Frontier()
	_, through := v.leaves.Range()
	behind := through < frontier.Size() && through == v.lastThrough
	v.lastThrough = through
	if !behind && !v.refetch {
		v.failedFill = filling{}
		return
	}
	if v.Env.Clock.Elapsed() < v.failedFill.next {
		return
	}
	asking, cancel := context.WithTimeout(ctx, 4*auditTime)
	defer cancel()
	var failures []string
	for node := range v.others() {
		err := v.fillFrom(asking, node, frontier)
		if err == nil {
			v.failedFill = filling{}
			return
		}
		failures = append(failures, node.GetName()+": "+err.Error())
	}
	if ctx.Err() == nil {
		v.fillFailed(failures)
	}
}

// fillFailed tells why, once, and waits longer and longer.
func (v *Voter) fillFailed(failures []string) {
	_, through := v.leaves.Range()
	said := strings.Join(failures, "; ")
	if said != v.failedFill.said {
		v.Logger.Warn("entries of the audit log are missing on this disk, and no other voter gave them: it is asked for them again and again",
			"firstMissing", through, "error", said)
	}
	pause := min(max(2*v.failedFill.pause, auditEvery), fillAgain)
	v.failedFill = filling{said: said, pause: pause, next: v.Env.Clock.Elapsed() + pause}
}

func (v *Voter) fillFrom(ctx context.Context, node *skerryv1.Node, target audit.Frontier) error {
	root := target.Root()
	for range maxBatches {
		_, through := v.leaves.Range()
		if v.refetch {
			through, _ = v.leaves.Range() // all of them once more
		}
		if through >= target.Size() {
			break
		}
		answer, err := v.auditPeer(node.GetName(), node.GetAddress()).FetchLeaves(ctx, connect.NewRequest(&sitev1.FetchLeavesRequest{
			First: through, Limit: maxFetch, Target: target.Size(),
		}))
		if err != nil {
			return problem.FromConnect(err)
		}
		if v.refetch {
			v.leaves.Forget() // somebody can give them
			v.refetch = false
		}
		before, err := audit.FrontierAt(v.leaves, through)
		if err != nil {
			return err
		}
		before, leaves, err := audit.CheckFetched(answer.Msg, before, v.store.View().Audit().First, target.Size(), root)
		if err != nil {
			return err
		}
		if before.Size() > through {
			if err := v.leaves.Begin(before); err != nil {
				return err
			}
		}
		if err := v.leaves.Append(leaves); err != nil {
			return err
		}
	}
	return v.leaves.Sync()
}

// deleteArchived deletes the leaves that an operator has archived, once all
// others are here, and what is kept in their place is proved to belong to the
// tree of the state: nobody could mend it afterwards.
func (v *Voter) deleteArchived() error {
	known, frontier := v.store.View().Audit(), v.store.Frontier()
	first, through := v.leaves.Range()
	if known.First <= first || through < max(known.First, frontier.Size()) {
		return nil
	}
	return v.deleteUpTo(known.First, frontier)
}

func (v *Voter) deleteUpTo(size uint64, frontier audit.Frontier) error {
	edge, err := audit.FrontierAt(v.leaves, size)
	if err != nil {
		return err
	}
	proof, err := audit.ProveTree(v.leaves, frontier.Size(), size)
	if err == nil {
		err = audit.CheckTree(proof, frontier.Size(), frontier.Root(), size, edge.Root())
	}
	if err != nil {
		v.alarm(auditDamaged, fmt.Sprintf("the first %d entries of the audit log, which were archived, are not those of the site on this disk: they are kept", size))
		v.refetch = true
		return err
	}
	return v.leaves.Archive(size)
}
