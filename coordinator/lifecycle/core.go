package lifecycle

import (
	"time"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// longestWake bounds the time between two steps.
const longestWake = time.Second

// Core is the coordinator's controllers in one term. Its times are those of
// one monotonic clock.
type Core struct {
	config Config
	// suspectAfter is that of the configuration, for a site of few nodes.
	suspectAfter time.Duration

	began time.Duration
	// started: the first step, which shows who was there before, is done.
	started bool
	nodes   map[string]*watch
	voters  voterControl
	asked   asked
	waits   waits
	tried   tried
	times   timesCache
	// rollouts under way, by workload.
	rollouts map[string]*rolloutWatch
	// leases granted in this term; nil when nobody tells.
	leases Leases
}

// New core for a term of leadership that begins now.
func New(config Config, now time.Duration) *Core {
	return &Core{
		config: config, suspectAfter: config.SuspectAfter, began: now, nodes: map[string]*watch{}, times: timesCache{}, rollouts: map[string]*rolloutWatch{},
		voters: voterControl{replicas: map[uint64]replicaWatch{}},
	}
}

// Progress is what the coordinator's replica knows of the log's replication.
type Progress struct {
	// Commit is the last index that a majority holds.
	Commit uint64
	// Replicas are the others.
	Replicas []Replica
}

// Replica of the log on another node.
type Replica struct {
	ID uint64
	// Match is the last index that it is known to hold.
	Match uint64
	// Active: it answered a moment ago.
	Active bool
}

// Effects of one step, to be carried out in this order.
type Effects struct {
	// Probe these nodes directly, and tell Probed what came of it.
	Probe []string
	// Propose these entries. What does not get through is asked for again.
	Propose []*sitev1.Entry
	// Change of the voters. Until the state shows it, it is asked for again only
	// after a while.
	Change *sitev1.VoterChange
	// HandOver the leadership to one of these replicas; empty to keep it.
	HandOver []uint64
	// Waiting says why replacing is held back; empty when it is not. For people.
	Waiting string
	// Wake is how long until the next step at the latest.
	Wake time.Duration
}

// step is one call of Step.
type step struct {
	*Core
	now     time.Duration
	wall    time.Time
	view    *state.View
	effects Effects
}

// Step decides what to do now. wall is the coordinator's clock, for stamps and
// for how long ago a predecessor saw something. Asked twice with nothing
// changed it proposes the same.
func (c *Core) Step(now time.Duration, wall time.Time, view *state.View, progress Progress) Effects {
	s := &step{Core: c, now: now, wall: wall, view: view, effects: Effects{Wake: longestWake}}
	if view.Site() == "" {
		return s.effects
	}
	s.judgeNodes()
	// With other nodes the rest looks different: it waits for the next step.
	if len(s.effects.Propose) == 0 && !s.startAgain() {
		s.planWorkloads()
		if s.view.Stop() == nil {
			// Machines that are switched off keep their votes.
			s.changeVoters(progress)
		}
		s.handOver()
	}
	s.holdRepeated()
	return s.effects
}

// wakeAt asks for a step at this time at the latest.
func (s *step) wakeAt(at time.Duration) {
	if at > s.now {
		s.effects.Wake = min(s.effects.Wake, at-s.now)
	}
}
