// Package check holds what must always be true of a site, as rules over what
// was seen: each is told events, or looks at a state, and says what it finds
// wrong. It is pure and knows nothing of how the site is run, so that the
// simulator and tests with real processes share it.
package check

import "fmt"

// Rule that can be broken.
type Rule string

// The rules.
const (
	// OneLeader: at most one coordinator a term.
	OneLeader Rule = "one leader a term"
	// NothingLost: what was acknowledged stays in the log.
	NothingLost Rule = "no acknowledged write lost"
	// SameLog: all replicas apply the same entry at the same index.
	SameLog Rule = "same log"
	// SameState: equal index, equal state.
	SameState Rule = "same state"
	// Once: a request that is repeated gets its first outcome again.
	Once Rule = "a repeated request happens once"
	// FreshReads: a linearizable read sees every write that was acknowledged
	// before the read began.
	FreshReads Rule = "fresh reads"
	// Linearizable: there is one order of all reads and writes, in which each lies
	// between its beginning and its end, and each read sees the last write before it.
	Linearizable Rule = "linearizable registers"
	// Bounded: no log and no state grows without end.
	Bounded Rule = "memory and log are bounded"
	// OrdersRise: an agent never acts on a lower order than it has seen.
	OrdersRise Rule = "orders rise"
	// Capacity: what is bound to a node fits it, and its host ports are unique.
	Capacity Rule = "capacity"
	// OncePerPlacement: one placement runs on one node.
	OncePerPlacement Rule = "placement on one node"
	// StayOnce: a workload that stays never runs more often than it is asked
	// for.
	StayOnce Rule = "stay never twice"
	// ExclusiveOnce: what is exclusive never runs twice at the same moment, whatever
	// has become of the processes that should see to it.
	ExclusiveOnce Rule = "exclusive never twice"
	// ExclusiveRuns: what is exclusive runs again soon after the last fault.
	ExclusiveRuns Rule = "what is exclusive runs again"
	// HealthyStays: a healthy instance ends only when somebody asked for it.
	HealthyStays Rule = "healthy work is left alone"
	// Converges: soon after the last fault everything is as it should be.
	Converges Rule = "convergence"
	// Available: a majority of voters that are up and connected has a coordinator
	// before long.
	Available Rule = "a majority has a coordinator"
	// Followed: a node that reaches the coordinator follows it before long.
	Followed Rule = "the coordinator is followed"
	// GivesWay: a coordinator that stands still again and again does not stay.
	GivesWay Rule = "who stands still again and again gives way"
	// SecretsStay: a node holds the secrets that its placements name, no others,
	// and what it holds is what the site was given.
	SecretsStay Rule = "secrets stay where they are named"
	// AuditLog: all voters write the same leaves, and lose none.
	AuditLog Rule = "the audit log is whole"
	// IdentityBound: a node gets identities of what is bound to it, is to run, and
	// asks for one.
	IdentityBound Rule = "identities go where the placement is"
	// RevokedOut: a revoked key counts nowhere in reach, within seconds.
	RevokedOut Rule = "revoked keys count nowhere"
	// KeysStay: who was evicted learns no key of gossip that was made since.
	KeysStay Rule = "gossip keys stay in the site"
	// NobodyOut: a CA is retired only when no SVID hangs on it.
	NobodyOut Rule = "nobody is locked out"
	// TimeRuns: site time never goes back, and no single clock moves it.
	TimeRuns Rule = "site time runs"
	// DiskFloor: a replica steps down before its disk is full.
	DiskFloor Rule = "a replica steps down in time"
	// Priority: only what has a lower priority gives way, and nothing that stays.
	Priority Rule = "priorities"
	// MinAvailable: the site itself does not go below what a workload was promised.
	MinAvailable Rule = "what is promised is available"
	// OutOfService: a node that is cordoned or drained gets nothing new.
	OutOfService Rule = "out of service"
	// DrainEnds: a drain ends, or is given up in time and says why.
	DrainEnds Rule = "drains end"
	// Residency: what must be kept somewhere runs nowhere else.
	Residency Rule = "residency"
	// Quota: a project does not ask for more than it may.
	Quota Rule = "quotas"
	// Moments: each one of a schedule starts one run at most, and as many at once
	// as was asked for.
	Moments Rule = "a moment has one run"
	// Attempts: a run makes no more attempts than it may.
	Attempts Rule = "attempts of jobs"
	// Ends: an attempt that ended counts once, as it really ended, and is made once.
	Ends Rule = "what has ended counts once"
	// Paused: a rollout that somebody has paused starts nothing.
	Paused Rule = "a paused rollout starts nothing"
	// OldTemplate: an update that somebody ended goes back to what was good.
	OldTemplate Rule = "back to the good template"
	// Share: a canary takes no more than its share before it is promoted.
	Share Rule = "canaries keep to their share"
	// OneColor: of blue and green one serves, not both and not none.
	OneColor Rule = "one color serves"
	// InOrder: what waits for others starts after them, and is stopped before them.
	InOrder Rule = "the order of after"
	// Stopped: in a site that is stopped nothing runs and nothing starts, until
	// people or the power start it again.
	Stopped Rule = "a stopped site stays stopped"
	// Moves: a rebalance moves what was asked for, another one first, or one alone.
	Moves Rule = "a rebalance moves what was asked for"
	// OneTemplate: of what is recreated nothing starts beside another template.
	OneTemplate Rule = "never two templates of what is recreated"
	// WrongRefused: an apply that the site could not live with changes nothing.
	WrongRefused Rule = "what is wrong is refused whole"
	// OneWriter: a volume is never written by two machines at the same moment.
	OneWriter Rule = "a volume has one writer"
	// NewestKept: what a guest wrote last is where the site knows, or where it will
	// hear of it.
	NewestKept Rule = "what a guest wrote last is kept"
	// CopyStays: no copy of a volume is deleted while it may be the newest.
	CopyStays Rule = "the newest copy is never deleted"
	// Anew: a site that was recovered or restored takes in what its nodes run, gives
	// no name twice, and leaves alone what may run where it hears nobody.
	Anew Rule = "a site that begins anew keeps what runs"
	// NoHalt: no voter halts, and no core returns an error or panics, while
	// hardware keeps its promises.
	NoHalt Rule = "no halt"
)

// Violation says which rule was broken and how.
type Violation struct {
	Rule    Rule
	Message string
}

func (v *Violation) Error() string { return string(v.Rule) + ": " + v.Message }

func violated(rule Rule, format string, args ...any) *Violation {
	return &Violation{Rule: rule, Message: fmt.Sprintf(format, args...)}
}
