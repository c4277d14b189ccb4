package sim

import (
	"crypto/sha256"
	"strconv"
	"time"

	"skerry.dev/coordinator/state"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
)

const (
	// bootTime is how long a host takes from power to process.
	bootTime = 3 * time.Second
	// startTime is how long a process takes to start.
	startTime = 100 * time.Millisecond
	// writeWait is how long a process lives that is to die in a write.
	writeWait = 500 * time.Millisecond
	// transferTime is how long a leader that stops waits for its successor.
	transferTime = 2 * time.Second
)

// host is one machine: what outlives a process, and what outlives a power cut.
type host struct {
	world *world
	index int
	name  string
	zone  string
	// told is its record, as it tells it again and again.
	told *skerryv1.Node

	// disk outlives everything; raft is the log of the replica on it.
	disk *disk
	raft raftDisk
	// leaves of the audit log.
	leaves *leafDisk
	// identities are sealed on the disk: of which placements there is one, with
	// the SHA-256 of the CA that issued it.
	identities map[string][sha256.Size]byte
	// machine runs instances; they outlive the process, not a power cut.
	recipient *envelope.Recipient
	// opened are secrets as they were opened with it, by what was sealed.
	opened  map[string]string
	machine *machine
	// earlier is the state of its replica before the last entry.
	earlier *state.View
	// guard outlives the process, not a power cut.
	guard *guardian
	// inAsk is called when the process has asked for a lease; nil for nothing.
	inAsk func()

	// wall is how far the wall clock is off, drift how much it gains; wrong counts
	// the faults that set it.
	wall  time.Duration
	drift float64
	wrong int
	// fixed is the arbitrary point from which elapsed time counts, another one
	// at each boot.
	fixed time.Duration
	// rate of the elapsed clock, near 1.
	rate float64

	// held and unpowered count the faults that keep the process, or the whole
	// host, down.
	held, unpowered int
	process         *process
	// starts of a process, and boots of the host.
	starts, boots int
	// member: it has joined the site. lives counts how often.
	member bool
	lives  int
	// stops of its process, of a while.
	stops []stop
	// low: its disk is below the floor. lowSince when that began.
	low      int
	lowSince time.Duration
}

// system is what the product sees of the host.
func (h *host) system() env.System {
	return env.System{Clock: hostClock{h}, Rand: chance{h.world.keyRng}, FS: h.disk}
}

// joined tells whether the host belongs to the site.
func (h *host) joined() bool { return h.member }

func hostName(index int) string { return "n" + strconv.Itoa(index+1) }

// elapsed is the host's own monotonic clock.
func (h *host) elapsed() time.Duration {
	return h.fixed + time.Duration(float64(h.world.kernel.now)*h.rate)
}

// now is the host's wall clock.
func (h *host) now() time.Time {
	gained := time.Duration(float64(h.world.kernel.now) * h.drift)
	return simulationStart.Add(h.world.kernel.now + gained + h.wall)
}

// run of the machine, from power on to power off.
func (h *host) run() string {
	switch {
	case h.world.has(RestartIsPower):
		return h.name + "-" + strconv.Itoa(h.lives) + "-" + strconv.Itoa(h.starts)
	case h.world.has(NoPower):
		return h.name
	}
	return h.name + "-" + strconv.Itoa(h.lives) + "-" + strconv.Itoa(h.boots)
}

// start begins a process unless a fault forbids it or one runs.
func (h *host) start(delay time.Duration) {
	h.starts++
	attempt := h.starts
	h.world.kernel.after(delay, func() {
		if h.held > 0 || h.unpowered > 0 || h.process != nil || attempt != h.starts {
			return
		}
		h.world.trace.note(h.name, "process starts")
		h.process = newProcess(h)
		h.process.boot()
	})
}

// hold kills the process and keeps it down until release.
func (h *host) hold() {
	h.held++
	h.kill("process killed", false)
}

// holdInWrite is hold, but the process dies in the middle of its next write to
// the log of its replica: before or after the disk has it. Without such a write
// it dies after a while.
func (h *host) holdInWrite(before bool) {
	h.held++
	h.raft.dieBefore, h.raft.dieAfter = before, !before
	p := h.process
	h.world.kernel.after(writeWait, func() {
		if p != nil && h.process == p {
			h.kill("process killed", false)
		}
	})
}

// holdOrderly stops the process as an operator does: it hands the leadership
// over first, if somebody takes it in time.
func (h *host) holdOrderly() {
	h.held++
	p := h.process
	end := h.world.kernel.now + transferTime
	if p != nil && p.voter != nil && p.voter.lead != nil {
		p.voter.replica.TransferLeadership()
		p.voter.wake()
	}
	var wait func()
	wait = func() {
		if p == nil || h.process != p {
			return
		}
		if h.world.kernel.now < end && p.voter != nil && p.voter.last.IsLeader {
			h.world.kernel.after(tickEvery, wait)
			return
		}
		h.kill("process stopped", false)
	}
	wait()
}

func (h *host) release() {
	h.held--
	if h.held > 0 || h.unpowered > 0 {
		return
	}
	h.kill("process killed", false) // if it still waits for its end
	h.start(startTime)
}

// powerOff ends everything that runs on the host, until powerOn.
func (h *host) powerOff() {
	h.unpowered++
	h.kill("power lost", true)
	if h.unpowered == 1 {
		h.guard.begin()
		h.machine.driver.PowerCut()
		h.world.judgeKept()
	}
}

func (h *host) powerOn() {
	h.unpowered--
	if h.unpowered > 0 {
		return
	}
	h.boots++
	h.fixed = time.Duration(h.world.hostRng.Int64N(int64(1000 * time.Hour)))
	if h.held == 0 {
		h.start(bootTime + time.Duration(h.world.hostRng.Int64N(int64(2*time.Second))))
	}
}

// kill ends the process. What it wrote to its log without syncing is lost; a
// real kernel would keep it when only the process dies, so this is harsher.
func (h *host) kill(why string, silent bool) {
	h.starts++ // whatever was about to start does not
	if h.process == nil {
		return
	}
	h.world.trace.note(h.name, "%s", why)
	h.process.dead = true
	h.process = nil
	h.world.net.hangUp(h.index, silent)
	if h.world.has(ForgetOrders) {
		h.disk.undo()
	}
	h.raft.crash()
	h.leaves.crash()
}
