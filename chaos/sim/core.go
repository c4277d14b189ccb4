package sim

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"time"

	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/consensus"
)

// CoreOptions of a run of the consensus core alone: replicas, their logs, and a
// machine that holds registers.
type CoreOptions struct {
	Seed uint64
	// Voters that the group is to have; there is one host more.
	Voters int
	// Faults is how long faults go on.
	Faults time.Duration
	// Bug is planted; empty for none.
	Bug Bug
}

const (
	coreRegisters = 4
	coreClients   = 3
	// coreFaultEvery is the mean time between two faults, coreThink between two
	// requests of one client.
	coreFaultEvery, coreThink = 40 * time.Second, 2 * time.Second
	// coreSettle is how soon all is in order after the last fault.
	coreSettle = 2 * time.Minute
	// coreLog bounds how many entries a log holds.
	coreLog = 4 * snapshotEvery
)

// core is a group of replicas and all that happens to it.
type core struct {
	options CoreOptions
	kernel  *kernel
	trace   *trace
	net     *network
	hosts   []*coreHost
	stats   Stats
	// chance of faults, of hosts and of clients.
	faultRng, hostRng, clientRng *rand.Rand

	log     *check.Log
	leaders *check.Leaders
	history *check.History
	// conf is the newest configuration that any replica has applied.
	conf consensus.Status
	// lastID of a replica; they are never used again.
	lastID uint64
	keeper coreKeeper
	// active counts the faults that last.
	active int
	quiet  bool

	violation   *check.Violation
	violationAt time.Duration
}

// RunCore simulates one group.
func RunCore(options CoreOptions) Result {
	c := &core{
		options: options, kernel: &kernel{}, log: check.NewLog(), leaders: check.NewLeaders(), history: check.NewHistory(),
	}
	c.trace = newTrace(c.kernel)
	chance := func(concern uint64) *rand.Rand { return rand.New(rand.NewPCG(options.Seed, concern)) }
	c.faultRng, c.hostRng, c.clientRng = chance(3), chance(1), chance(4)
	c.stats.Hosts = options.Voters + 1
	c.net = newNetwork(c.kernel, c.trace, chance(2), c.stats.Hosts)
	up := func(h int) bool { return c.hosts[h].replica != nil }
	c.net.hostUp, c.net.processUp = up, up
	for i := range c.stats.Hosts {
		c.hosts = append(c.hosts, &coreHost{core: c, index: i, rate: 1 + (c.hostRng.Float64()-0.5)/50})
	}
	c.runGuarded()
	c.stats.Simulated = c.kernel.now
	return Result{Hash: c.trace.hash, Violation: c.violation, At: c.violationAt, Stats: c.stats, trace: c.trace}
}

func (c *core) violate(v *check.Violation) {
	if v == nil || c.violation != nil {
		return
	}
	c.violation, c.violationAt = v, c.kernel.now
	c.trace.note("core", "VIOLATION %v", v)
}

func (c *core) stopped() bool { return c.violation != nil }

func (c *core) has(bug Bug) bool { return c.options.Bug == bug }

// logger of replicas: nobody reads it.
func (c *core) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelError + 1}))
}

func (c *core) runGuarded() {
	defer func() {
		if cause := recover(); cause != nil {
			c.violate(&check.Violation{Rule: check.NoHalt, Message: fmt.Sprintf("panic: %v", cause)})
			c.trace.attach(string(debug.Stack()))
		}
	}()
	c.begin()
	c.advanceTo(openTime)
	if why := c.unsettled(); why != "" {
		c.violate(&check.Violation{Rule: check.Converges, Message: "the group did not come up: " + why})
	}
	end := c.kernel.now + c.options.Faults
	c.nextFault(end)
	for i := range coreClients {
		(&coreClient{core: c, number: i + 1}).run()
	}
	c.advanceTo(end)
	c.quiet = true
	for c.active > 0 && !c.stopped() {
		c.advanceTo(c.kernel.now + time.Second)
	}
	c.settle()
	c.violate(c.history.Linearizable())
}

// begin the log of the first replica; the keeper brings the others.
func (c *core) begin() {
	c.lastID = 1
	first := c.hosts[0]
	first.id, first.disk = 1, newCoreDisk(c)
	if err := consensus.Bootstrap(first.disk, 1, &coreMachine{}); err != nil {
		panic("the group cannot be made: " + err.Error())
	}
	first.start()
	c.keeper = coreKeeper{core: c}
	c.keeper.look()
}

func (c *core) advanceTo(end time.Duration) { c.stats.Events += c.kernel.runUntil(end, c.stopped) }

func (c *core) settle() {
	start := c.kernel.now
	for !c.stopped() {
		why := c.unsettled()
		c.stats.Settled = c.kernel.now - start
		if why == "" {
			return
		}
		if c.stats.Settled > coreSettle {
			c.violate(&check.Violation{Rule: check.Converges, Message: fmt.Sprintf("%v after the last fault: %s", c.stats.Settled, why)})
			return
		}
		c.advanceTo(c.kernel.now + 500*time.Millisecond)
	}
}

// unsettled says what is not in order.
func (c *core) unsettled() string {
	leader := c.leader()
	if leader == nil {
		return "nobody serves"
	}
	status := leader.replica.Status()
	if len(status.Voters) != c.options.Voters || len(status.Learners) > 0 || status.Joint {
		return fmt.Sprintf("voters %v, learners %v", status.Voters, status.Learners)
	}
	for _, h := range c.hosts {
		if !slices.Contains(status.Voters, h.id) {
			continue
		}
		if h.replica == nil || h.replica.Status().Applied != status.Applied {
			return fmt.Sprintf("replica %d is behind", h.id)
		}
	}
	return ""
}

// leader that serves the highest term; nil when none does.
func (c *core) leader() *coreHost {
	var found *coreHost
	term := uint64(0)
	for _, h := range c.hosts {
		if h.replica == nil || h.paused > 0 {
			continue
		}
		if status := &h.last; status.Serving && status.Term > term {
			found, term = h, status.Term
		}
	}
	return found
}

// hostOf a replica; nil when there is none.
func (c *core) hostOf(id uint64) *coreHost {
	for _, h := range c.hosts {
		if h.id == id && id != 0 {
			return h
		}
	}
	return nil
}
