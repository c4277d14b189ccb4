package sim

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
	// LeakKeys: whoever was evicted goes on getting orders and the log.
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
	// NoRejoin: nobody looks for nodes that gossip has forgotten.
	NoRejoin Bug = "no-rejoin"
)

// has tells whether a bug is planted in this run.
func (w *world) has(bug Bug) bool { return w.options.Bug == bug }
