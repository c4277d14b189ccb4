package lifecycle

import (
	"math"
	"time"
)

// never is before every moment.
const never = time.Duration(math.MinInt64 / 2)

// watch is what is known of one node's life.
type watch struct {
	config *Config
	// since this core knows of the node, which then has this grace.
	since, grace time.Duration
	// alive is the newest sign of life, up the first one of an unbroken row.
	alive, up time.Duration
	// failed is when gossip gave the node up; older than alive it means nothing.
	failed time.Duration
	// called: a direct call is under way since. lastCall was made at.
	called, lastCall time.Duration
	// misses are direct calls in a row that failed.
	misses int

	// What the state says of it: ready since, or lost since. doubted is when the
	// core learnt of the loss; only signs of life after it count.
	ready, lost, doubted time.Duration
}

func newWatch(config *Config, now, grace time.Duration) *watch {
	return &watch{
		config: config, since: now, grace: grace, alive: never, up: never, failed: never,
		called: never, lastCall: never, ready: never, lost: never, doubted: never,
	}
}

// lives takes in a sign of life.
func (w *watch) lives(at time.Duration) {
	if at <= w.alive {
		return
	}
	if at-w.alive > w.config.SuspectAfter {
		w.up = at
	}
	w.alive, w.misses = at, 0
}

// probed takes in the result of a direct call.
func (w *watch) probed(ok bool, now time.Duration) {
	w.called = never
	if ok {
		w.lives(now)
	} else {
		w.misses++
	}
}

// refused takes in a direct call that met a machine on which nobody listens.
func (w *watch) refused(now time.Duration) {
	w.called = never
	if now-max(w.alive, w.since) >= w.config.RestartGrace {
		w.misses++
	}
}

// suspectAt is when the node is in doubt unless it gives a sign of life.
func (w *watch) suspectAt() time.Duration {
	switch {
	case w.failed > w.alive:
		return w.failed
	case w.alive > w.since:
		return w.alive + w.config.SuspectAfter
	default:
		return w.since + w.grace
	}
}

func (w *watch) suspected(now time.Duration) bool { return now >= w.suspectAt() }

// dead: it is in doubt and does not answer.
func (w *watch) dead(now time.Duration) bool {
	return w.suspected(now) && w.misses >= w.config.Misses
}

// callAt is when the node is to be called directly next.
func (w *watch) callAt() time.Duration {
	at := max(w.suspectAt(), w.lastCall+w.config.CallEvery)
	if w.called != never {
		at = max(at, w.called+w.config.CallLimit)
	}
	return at
}

// SetPace tells how often nodes are heard that have nothing to say. On sites of
// thousands that is less often, and silence means something only later; what
// gossip loses is called at once all the same.
func (c *Core) SetPace(pace time.Duration) {
	c.config.SuspectAfter = max(c.suspectAfter, silentPaces*pace)
}

// silentPaces without a word put a node in doubt.
const silentPaces = 4

// Heard tells when a node was last heard from on its sync stream.
func (c *Core) Heard(node string, at time.Duration) {
	if w := c.nodes[node]; w != nil {
		w.lives(at)
	}
}

// GossipAlive tells that gossip sees a node. It ends a doubt that gossip had
// raised, but is no sign of life by itself.
func (c *Core) GossipAlive(node string, _ time.Duration) {
	if w := c.nodes[node]; w != nil {
		w.failed = never
	}
}

// GossipFailed tells that gossip has lost a node.
func (c *Core) GossipFailed(node string, now time.Duration) {
	if w := c.nodes[node]; w != nil {
		w.failed = now
	}
}

// Probed tells what came of a direct call.
func (c *Core) Probed(node string, ok bool, now time.Duration) {
	if w := c.nodes[node]; w != nil {
		w.probed(ok, now)
	}
}

// Refused tells that a direct call met a machine that is up, but on which
// nobody listens: its agent ends, starts, or is upgraded.
func (c *Core) Refused(node string, now time.Duration) {
	if w := c.nodes[node]; w != nil {
		w.refused(now)
	}
}
