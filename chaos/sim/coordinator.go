package sim

import (
	"fmt"
	"slices"
	"time"

	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/dispatcher"
	"skerry.dev/coordinator/lifecycle"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// The times of the real shell (coordinator/controller.go).
const (
	probeTimeout   = 300 * time.Millisecond
	proposeTimeout = 5 * time.Second
	rest           = 5 * time.Millisecond
	afterFailure   = 50 * time.Millisecond
)

// coordinator is what a replica does while it serves: the shell around
// lifecycle.Core, as coordinator/controller.go is in production.
type coordinator struct {
	*voter
	term    uint64
	began   time.Duration
	stopped bool
	core    *lifecycle.Core
	// acting: proposals of the last step are on their way.
	acting bool
	// planned: the next step comes at due. alarm counts the timers that were set;
	// only the last one counts.
	planned bool
	due     time.Duration
	alarm   int
	ids     int
	served  []*served
	orders  *dispatcher.Site
	reports []pendingReport
	// committing a batch of reports.
	committing bool
	batches    uint64
	// settledSecrets: the state in which nothing is due of the site's key, and nothing
	// lacks of the secrets that there are to be; 0 for none.
	settledSecrets uint64
	// settledTrust: the state up to which nothing was due of the chain of trust, and
	// until when that is good.
	settledTrust struct {
		index uint64
		until time.Duration
	}
}

func newCoordinator(v *voter, term uint64) *coordinator {
	c := &coordinator{voter: v, term: term, began: v.world.kernel.now}
	c.core = lifecycle.New(lifecycle.Defaults(v.host.name), v.host.elapsed())
	c.core.KnowLeases(v.leaseTable(term))
	v.world.trace.note(v.host.name, "serves term %d", term)
	c.keepSecrets()
	c.keepTrust()
	c.keepGossip()
	c.step()
	return c
}

// stop ends the term: all streams are told to look elsewhere.
func (c *coordinator) stop() {
	c.stopped = true
	c.world.trace.note(c.host.name, "serves term %d no more", c.term)
	for _, s := range slices.Clone(c.served) {
		s.redirect()
	}
}

func (c *coordinator) over() bool { return c.stopped || c.gone() }

// changed tells that the state did.
func (c *coordinator) changed() {
	c.wakeIn(rest)
	for _, s := range c.served {
		s.push()
	}
}

// wakeIn makes the next step come no later than after d.
func (c *coordinator) wakeIn(d time.Duration) {
	at := c.world.kernel.now + d
	if c.planned && c.due <= at {
		return
	}
	c.alarm++
	c.planned, c.due = true, at
	alarm := c.alarm
	c.process.later(d, func() {
		if alarm != c.alarm {
			return
		}
		c.planned = false
		if !c.acting && !c.over() {
			c.step()
		}
	})
}

func (c *coordinator) step() {
	nodes := make([]string, 0, len(c.heard))
	for node := range c.heard {
		nodes = append(nodes, node)
	}
	slices.Sort(nodes)
	for _, node := range nodes {
		c.core.Heard(node, c.heard[node])
	}
	effects := c.core.Step(c.host.elapsed(), c.stamp().Time, c.store.View(), progressOf(c.replica.Status()))
	for _, node := range effects.Probe {
		c.probe(node)
	}
	c.acting = true
	c.act(effects, 0)
}

// progressOf is what coordinator/term.go makes of the replica's status.
func progressOf(status consensus.Status) lifecycle.Progress {
	progress := lifecycle.Progress{Commit: status.Commit}
	for _, peer := range status.Peers {
		progress.Replicas = append(progress.Replicas, lifecycle.Replica{ID: peer.ID, Match: peer.Match, Active: peer.RecentActive})
	}
	return progress
}

// act proposes what a step asks for, one after the other, and steps again.
func (c *coordinator) act(effects lifecycle.Effects, next int) {
	if c.over() {
		return
	}
	if next == len(effects.Propose) {
		c.acting = false
		c.handOver(effects.HandOver)
		changed := effects.Change != nil
		if changed && c.replica.ChangeVoters(effects.Change) != nil {
			c.wakeIn(afterFailure)
			return
		}
		if changed {
			c.world.trace.note(c.host.name, "changes voters: %s", describeChange(effects.Change))
			c.wake()
		}
		if next > 0 || changed {
			c.wakeIn(0)
			return
		}
		c.wakeIn(max(effects.Wake, rest))
		return
	}
	entry := c.world.planned(effects.Propose[next])
	entry.Principal = "coordinator"
	entry.RequestId = c.newID()
	c.commit(entry, func(outcome *sitev1.Outcome, ok bool) {
		if !ok || outcome.GetErrorKind() != "" {
			if ok {
				c.world.trace.note(c.host.name, "entry of the controllers refused: %s", outcome.GetError())
			}
			c.acting = false
			c.wakeIn(afterFailure)
			return
		}
		c.act(effects, next+1)
	})
}

// commit proposes an entry and tells its outcome, or that it has none in time.
func (c *coordinator) commit(entry *sitev1.Entry, done func(*sitev1.Outcome, bool)) {
	answered := false
	once := func(outcome *sitev1.Outcome, ok bool) {
		if !answered && !c.over() {
			answered = true
			done(outcome, ok)
		}
	}
	c.process.later(proposeTimeout, func() { once(nil, false) })
	c.propose(entry, func(done consensus.Completion) { once(done.Outcome, done.Err == nil) })
}

func (c *coordinator) newID() string {
	c.ids++
	return fmt.Sprintf("%s-%d-%d", c.host.name, c.term, c.ids)
}

// What comes of a direct call; it may also not be answered.
const (
	answers = "answers"
	refuses = "refuses"
)

// probe calls a node directly.
func (c *coordinator) probe(node string) {
	to := c.world.hostByName(node)
	answered := false
	finish := func(answer string) {
		if answered || c.over() {
			return
		}
		answered = true
		c.world.trace.note(c.host.name, "calls %s: %s", node, answer)
		if answer == refuses {
			c.core.Refused(node, c.host.elapsed())
		} else {
			c.core.Probed(node, answer == answers, c.host.elapsed())
		}
		if !c.acting {
			c.wakeIn(0)
		}
	}
	c.process.later(probeTimeout, func() { finish("does not answer") })
	net := c.world.net
	net.packet(c.host.index, to, 'p', func() {
		if net.hostUp(to) && !net.processUp(to) {
			net.datagram(to, c.host.index, 'n', func() { finish(refuses) }) // nobody listens
			return
		}
		net.awake(to, func() {
			if net.processUp(to) && c.process.connects(c.world.hosts[to].process) {
				net.datagram(to, c.host.index, 'q', func() { finish(answers) })
			}
		})
	})
}

// poolChanged tells what gossip on this host sees.
func (c *coordinator) poolChanged(node string, alive bool) {
	if alive {
		c.core.GossipAlive(node, c.host.elapsed())
	} else {
		c.core.GossipFailed(node, c.host.elapsed())
	}
	if !c.acting {
		c.wakeIn(0)
	}
}
