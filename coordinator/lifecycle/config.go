package lifecycle

import "time"

// Config of a core.
type Config struct {
	// Patient: no rollout ever fails. For trying out what would be, where time
	// leaps.
	Patient bool
	// Self is the node that coordinates. It is never in doubt.
	Self string

	// SuspectAfter this long without a sign of life a node is called directly.
	SuspectAfter time.Duration
	// Grace for all nodes after the term began, before silence means anything.
	Grace time.Duration
	// JoinGrace for a node that joined during the term and was not heard yet.
	JoinGrace time.Duration
	// GraceEach is added to either for every node beyond the first hundred: each
	// of them has to open a stream first.
	GraceEach time.Duration
	// CallEvery is the least time between two direct calls of one node.
	CallEvery time.Duration
	// CallLimit after which a direct call without result counts as not made.
	CallLimit time.Duration
	// RestartGrace is how long a machine that is up, but on which nobody listens,
	// may be silent: an agent that is restarted comes back within it.
	RestartGrace time.Duration
	// Misses direct calls that fail in a row make a node lost.
	Misses int

	// Settle is how long a node must have been back before what it said of its
	// placements decides which of them are surplus: it may have said so before
	// it was cut off.
	Settle time.Duration

	// VoterSettle is how long a node must have been up before it gets a replica
	// or a vote.
	VoterSettle time.Duration
	// VoterLag is how many entries a learner may lack and still be promoted, but
	// never more than an eighth of the log.
	VoterLag uint64
	// VoterSilence of a replica, on a node that says that it halted, means that
	// it really has.
	VoterSilence time.Duration
	// Still: nothing begins or ends because of what site time it is. For questions
	// about what would be, in which time means nothing.
	Still bool
	// ChangeRetry after which a change of the voters is asked for again.
	ChangeRetry time.Duration
}

// Defaults for a coordinator.
func Defaults(self string) Config {
	return Config{
		Self:         self,
		SuspectAfter: 800 * time.Millisecond,
		Grace:        700 * time.Millisecond,
		JoinGrace:    5 * time.Second,
		GraceEach:    4 * time.Millisecond,
		CallEvery:    250 * time.Millisecond,
		CallLimit:    time.Second,
		RestartGrace: 5 * time.Second,
		Misses:       2,
		Settle:       2 * time.Second,
		VoterSettle:  time.Second,
		VoterLag:     256,
		VoterSilence: 2 * time.Second,
		ChangeRetry:  time.Second,
	}
}
