package sim

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/state"
)

const (
	// registrars are clients that write and read registers alone.
	registrars = 3
	// registerCount is how many registers there are.
	registerCount = 4
	// valueLabel holds the value of a register, which is a workload that runs nothing.
	valueLabel = "value"
)

// chooseRegister reads a register or writes a value that nobody else writes.
func (c *client) chooseRegister() *request {
	c.sent++
	who := c.world.operators[1+c.number%clients]
	name := fmt.Sprintf("register-%d", 1+c.rng.IntN(registerCount))
	r := &request{
		id: fmt.Sprintf("%s%d-%d", clientPrefix, c.number, c.sent), operator: who.name, key: who.key(),
		register: &check.Operation{Client: c.number, Key: name, Call: c.world.kernel.now},
	}
	if c.rng.IntN(4) > 0 {
		r.read, r.acknowledgedBefore = true, c.world.log.Highest()
		return r
	}
	r.register.Write, r.register.Value = true, r.id
	workload := newWorkload(name)
	workload.Replicas, workload.Labels = proto.Uint32(0), map[string]string{valueLabel: r.id}
	r.entry = applyEntry(workload)
	r.entry.RequestId, r.entry.Principal = r.id, fmt.Sprintf("spiffe://%s/operator/%s", siteName, who.name)
	c.world.asked[r.id] = r.entry
	return r
}

// tellHistory tells the history of registers what became of a request.
func (w *world) tellHistory(r *request, a answer) {
	if r.register == nil {
		return
	}
	done := *r.register
	done.Return = w.kernel.now
	switch {
	case a.unavailable, a.kind == refusedKey && r.tries > 1:
		done.Unknown = true // an earlier try may have got through
	case a.kind != "":
		w.history.Refused(done.Client)
		return
	case !done.Write:
		done.Value = a.value
	}
	w.history.Add(done)
}

// valueOf a register in the state that a process answers from; empty when there
// is none.
func (p *process) valueOf(register *check.Operation) string {
	if register == nil {
		return ""
	}
	view := p.voter.store.View()
	if p.world.has(OldValues) && p.host.earlier != nil {
		view = p.host.earlier
	}
	return value(view, register.Key)
}

func value(view *state.View, register string) string {
	return view.Workload(project, register).GetLabels()[valueLabel]
}
