package sim

import (
	"slices"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Bug that is planted through a seam, to prove that a rule notices it.
type Bug string

// The bugs.
const (
	// SkipSync: the log says that it is durable when it is not.
	SkipSync Bug = "skip-sync"
	// YesMan: a replica votes for everyone who asks.
	YesMan Bug = "yes-man"
	// EarlyAck: a write is acknowledged before a majority holds it.
	EarlyAck Bug = "early-ack"
	// StaleReads: reads are answered from what is here, whoever leads.
	StaleReads Bug = "stale-reads"
	// OldValues: a read waits as it must, and is then answered from the state before
	// the last entry.
	OldValues Bug = "old-values"
	// BelieveFlips: a log does not notice that a bit has flipped.
	BelieveFlips Bug = "believe-flips"
	// WallClock: apply looks at the host's clock.
	WallClock Bug = "wall-clock"
	// ForgetOrders: the last orders were not durable when the agent acted.
	ForgetOrders Bug = "forget-orders"
	// Boast: nodes say that they have four times the room that they have.
	Boast Bug = "boast"
	// StopAll: an agent that starts again stops what runs, to begin afresh.
	StopAll Bug = "stop-all"
	// Spill: a coordinator gives every node all secrets.
	Spill Bug = "spill"
	// LoseLeaves: the leaves of the audit log are not durable when the log
	// forgets the entries.
	LoseLeaves Bug = "lose-leaves"
	// MuteAudit: one voter writes other leaves than the others.
	MuteAudit Bug = "mute-audit"
	// AnyIdentity: the voter that issues does not look who asks.
	AnyIdentity Bug = "any-identity"
	// OldTrust: nodes go on believing the chain of trust of the beginning.
	OldTrust Bug = "old-trust"
	// KeepAuthorities: no CA ever leaves the chain of trust.
	KeepAuthorities Bug = "keep-authorities"
	// LeakKeys: members of gossip send each other new keys under the old ones.
	LeakKeys Bug = "leak-keys"
	// MuteIssuers: nodes do not say on which CAs identities hang.
	MuteIssuers Bug = "mute-issuers"
	// OwnClock: the coordinator stamps what its own clock says.
	OwnClock Bug = "own-clock"
	// NoFloor: nobody looks whether the disk has room.
	NoFloor Bug = "no-floor"
	// MixPriorities: what nobody called urgent is written down as if it were.
	MixPriorities Bug = "mix-priorities"
	// LoseKeepIn, LoseMinAvailable, LoseQuota and LoseDuty: what people ask for gets
	// lost on its way to the log.
	LoseKeepIn       Bug = "lose-keep-in"
	LoseMinAvailable Bug = "lose-min-available"
	LoseQuota        Bug = "lose-quota"
	LoseDuty         Bug = "lose-duty"
	// LoseCanary, LoseColors, LoseAfter, LoseRetries, LosePause, LoseAbort and LoseStop:
	// the same, of how work is updated, started, repeated and stopped. HurryStop: a
	// stop keeps no order.
	LoseCanary  Bug = "lose-canary"
	LoseColors  Bug = "lose-colors"
	LoseAfter   Bug = "lose-after"
	LoseRetries Bug = "lose-retries"
	LosePause   Bug = "lose-pause"
	LoseAbort   Bug = "lose-abort"
	LoseStop    Bug = "lose-stop"
	HurryStop   Bug = "hurry-stop"
	// LoseRecreate, LoseExclusive: what is recreated is rolled, what is exclusive is
	// not. TakeWrong: of what is asked for, what is wrong is left out.
	LoseRecreate  Bug = "lose-recreate"
	LoseExclusive Bug = "lose-exclusive"
	TakeWrong     Bug = "take-wrong"
	// StrayMoves: a rebalance gets moves that nobody asked for. HurryMoves: all of it
	// ends at once.
	StrayMoves Bug = "stray-moves"
	HurryMoves Bug = "hurry-moves"
	// RunTwice: a coordinator starts each run once more, a moment later.
	RunTwice Bug = "run-twice"
	// LoseEnds: the coordinator takes in that an attempt has ended, and forgets it.
	LoseEnds Bug = "lose-ends"
	// GoodEnds: an agent tells of each end that it was a good one.
	GoodEnds Bug = "good-ends"
	// EarlyGone: an agent tells that nothing is left of what it is about to stop.
	EarlyGone Bug = "early-gone"
	// RestartIsPower: an agent takes its own start for that of the machine. NoPower:
	// it does not tell one run of the machine from another.
	RestartIsPower Bug = "restart-is-power"
	NoPower        Bug = "no-power"
	// EndlessDrain: no coordinator looks whether a drain is over.
	EndlessDrain Bug = "endless-drain"
	// LeaseWallClock: nodes count leases by their wall clocks.
	LeaseWallClock Bug = "lease-wall-clock"
	// LeaseFromReceipt: nodes count leases from when the answer came.
	LeaseFromReceipt Bug = "lease-from-receipt"
	// EagerCoordinator: a new coordinator does not wait for leases that it did not
	// grant.
	EagerCoordinator Bug = "eager-coordinator"
	// ForgetfulGuard: the guard kills nothing.
	ForgetfulGuard Bug = "forgetful-guard"
	// ImpatientSource: a node takes a machine back as soon as the one to which it handed
	// it over does not answer. LoseSync: what comes with a machine is not brought to the
	// disk before its guest goes on. HastyDelete: a node deletes its copy of a volume when
	// it has handed it over. KeepCopies: no node deletes an old copy.
	ImpatientSource Bug = "impatient-source"
	LoseSync        Bug = "lose-sync"
	HastyDelete     Bug = "hasty-delete"
	KeepCopies      Bug = "keep-copies"
	// EndedForEver: what the guard ended before it began is armed as if it had begun.
	// OneForAll: and what the guard refuses ends the telling of all that comes after.
	EndedForEver Bug = "ended-for-ever"
	OneForAll    Bug = "one-for-all"
	// ForgetHoldings: a site that begins anew takes nodes in without what they run.
	// AssumeGone: it takes those that it has not heard for empty.
	ForgetHoldings Bug = "forget-holdings"
	AssumeGone     Bug = "assume-gone"
	// SlowToFollow: an agent waits until it has missed its coordinator, then for the
	// reason, then goes back there.
	SlowToFollow Bug = "slow-to-follow"
	// Cling: a coordinator that stands still again and again stays in office.
	Cling Bug = "cling"
	// NoRejoin: nobody looks for nodes that gossip has forgotten.
	NoRejoin Bug = "no-rejoin"
)

// planned is an entry of the controllers as it is proposed.
func (w *world) planned(entry *sitev1.Entry) *sitev1.Entry {
	plan := entry.GetPlan()
	switch {
	case w.has(EndlessDrain) && plan != nil:
		plan.EndDrains = nil
	case w.has(HurryMoves) && plan != nil:
		w.hurry(plan)
	case w.has(RunTwice):
		for _, part := range plan.GetDue() {
			again := proto.CloneOf(part)
			again.Due.Nanos++
			plan.Due = append(plan.Due, again)
		}
	}
	return entry
}

// reported is a node's report as it comes into the log.
func (w *world) reported(report *sitev1.NodeReport) *sitev1.NodeReport {
	if !w.has(LoseEnds) {
		return report
	}
	kept := proto.CloneOf(report)
	kept.Placements = slices.DeleteFunc(kept.Placements, func(p *sitev1.PlacementReport) bool {
		return p.GetStatus().GetPhase() == skerryv1.Phase_PHASE_STOPPED
	})
	return kept
}

// has tells whether a bug is planted in this run.
func (w *world) has(bug Bug) bool { return w.options.Bug == bug }
