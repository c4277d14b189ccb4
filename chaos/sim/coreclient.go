package sim

import (
	"fmt"
	"strings"
	"time"

	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/consensus"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

const (
	coreTimeout = 2 * time.Second
	coreTries   = 5
	// registersLast so long, then others follow.
	registersLast = 20 * time.Minute
)

// coreClient writes and reads registers, one request at a time, each repeated with
// the same ID until it is answered.
type coreClient struct {
	core         *core
	number, sent int
}

// coreRequest is a request on its way.
type coreRequest struct {
	id string
	op check.Operation
	// before is the highest acknowledged index when it began.
	before uint64
	tries  int
	done   bool
}

func (cl *coreClient) run() {
	c := cl.core
	c.kernel.after(coreThink/4+time.Duration(c.clientRng.Int64N(int64(coreThink)*3/2)), func() {
		if c.quiet {
			return
		}
		cl.sent++
		r := &coreRequest{id: fmt.Sprintf("c%d-%d", cl.number, cl.sent), before: c.log.Highest()}
		r.op = check.Operation{
			Client: cl.number, Write: c.clientRng.IntN(3) == 0, Call: c.kernel.now,
			Key: fmt.Sprintf("%d-%d", c.kernel.now/registersLast, c.clientRng.IntN(coreRegisters)),
		}
		if r.op.Write {
			r.op.Value = r.id
		}
		c.history.Begin(r.op)
		cl.try(r)
	})
}

func (cl *coreClient) try(r *coreRequest) {
	c := cl.core
	if r.done {
		return
	}
	if r.tries++; r.tries > coreTries {
		c.stats.Unknown++
		r.op.Unknown, r.op.Return = true, c.kernel.now
		cl.end(r)
		return
	}
	tries := r.tries
	again := func() {
		if r.tries == tries {
			cl.try(r)
		}
	}
	c.kernel.after(coreTimeout, again)
	at := c.hosts[c.clientRng.IntN(len(c.hosts))]
	if at.replica == nil || at.paused > 0 {
		return
	}
	answer := func(node string, index uint64, value string, ok bool) {
		c.kernel.after(c.net.latency(at.index, at.index), func() { cl.answered(r, node, index, value, ok, again) })
	}
	if !r.op.Write {
		at.read(func(index uint64) { answer(at.name(), index, at.machine.state.Registers[r.op.Key], true) })
		return
	}
	to := c.hostOf(at.last.Leader)
	if to == nil {
		return
	}
	c.net.datagram(at.index, to.index, 'w', func() {
		to.write(r, func(index uint64, ok bool) {
			c.net.datagram(to.index, at.index, 'W', func() { answer(to.name(), index, "", ok) })
		})
	})
}

// write proposes what a request asks for.
func (h *coreHost) write(r *coreRequest, done func(index uint64, ok bool)) {
	if h.replica == nil {
		return
	}
	client, _, _ := strings.Cut(r.id, "-")
	entry := &sitev1.Entry{RequestId: r.id, Principal: client + " " + r.op.Key + " " + r.op.Value}
	if h.core.has(EarlyAck) {
		done(h.last.Applied+1, true)
	}
	h.propose(entry, func(completion consensus.Completion) {
		done(completion.Outcome.GetIndex(), completion.Err == nil)
	})
}

func (cl *coreClient) answered(r *coreRequest, node string, index uint64, value string, ok bool, again func()) {
	c := cl.core
	switch {
	case r.done:
		return
	case !ok:
		c.kernel.after(50*time.Millisecond, again)
		return
	case r.op.Write:
		c.stats.Writes++
		c.violate(c.log.Acknowledged(r.id, index))
	default:
		c.stats.Reads++
		r.op.Value = value
		c.violate(c.log.Read(node, r.before, index))
	}
	r.op.Return = c.kernel.now
	cl.end(r)
}

func (cl *coreClient) end(r *coreRequest) {
	r.done = true
	cl.core.history.Add(r.op)
	cl.run()
}
