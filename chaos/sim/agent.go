package sim

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/agent"
	"skerry.dev/agent/reconcile"
	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/ticket"
)

const (
	stateDir = "/state"
	// lookEvery is how often the truth is looked at when nothing hints at a
	// change.
	lookEvery = 5 * time.Second
	// keepEvery is how often a copy is tried again that could not be fetched.
	keepEvery = 5 * time.Second
)

// node is what every node does: the shells around ledger, reconcile and the
// session, as agent/supervisor and agent/session are in production.
type node struct {
	*process
	core    *reconcile.Core
	session *session
	// alarm counts the timers that were set; only the last one counts.
	alarm int
	// looking: a list is on its way; again: look once more after it.
	looking, again bool
	// looked: what was there before this process is known.
	looked bool
	// trouble: the runtime did not answer the last look.
	trouble bool
	// keeping are the copies on their way.
	keeping map[string]bool
	leases  *leases
	mover   *mover
	// deleting are the volumes that are being deleted.
	deleting map[string]bool
}

func newNode(p *process) *node {
	a := &node{process: p, core: reconcile.New(), keeping: map[string]bool{}, deleting: map[string]bool{}}
	if p.world.has(StopAll) {
		for _, id := range slices.Sorted(maps.Keys(p.host.machine.running)) {
			_ = p.host.machine.stop(id, 0) // planted: whether it works does not matter
		}
	}
	p.host.machine.changed = func() {
		if !p.dead {
			p.awake(a.look)
		}
	}
	p.agent = a
	a.leases, a.mover = newLeases(a), newMover(a)
	a.obey()
	a.look()
	p.every(lookEvery, a.look)
	if !p.self.Evicted() {
		a.session = newSession(a)
	}
	p.every(keepEvery, a.keepCopies)
	p.every(deleteEvery, a.deleteVolumes)
	p.every(identityEvery, a.askForIdentities)
	return a
}

// accept takes over new orders from a coordinator.
func (a *node) accept(orders *sitev1.Assignments) error {
	if err := a.ledger.Accept(orders); err != nil {
		return err
	}
	a.gossip(orders)
	a.updateTrust(orders.GetTrust())
	a.followAuthorities(orders)
	a.obey()
	a.keepCopies()
	a.deleteVolumes()
	a.mover.next()
	return nil
}

// obey makes the ledger's orders what the node works towards.
func (a *node) obey() {
	orders := a.ledger.Current()
	if orders.GetOrder() == nil {
		return
	}
	a.world.violate(a.world.orders.Acts(a.host.name, orders.GetOrder()))
	a.judgeSecrets(orders)
	a.core.Locate(orders.GetRecord())
	a.core.Desire(orders.GetPlacements())
	a.leases.want()
	a.runReplica(orders.GetRaftId())
	a.step()
}

// look asks the runtime what is there. The answer may be old when it comes.
func (a *node) look() {
	if a.looking {
		a.again = true
		return
	}
	a.looking = true
	a.core.Looking()
	instances, err := a.host.machine.driver.List(context.Background())
	a.after(a.takes(30*time.Millisecond), func() {
		a.looking = false
		a.trouble = err != nil
		if err == nil {
			a.leases.permit()
			a.core.Observe(instances, a.host.elapsed())
			a.looked = true
			a.leases.drop(instances)
		}
		a.step()
		if a.again {
			a.again = false
			a.look()
		}
	})
}

// takes is how long some work takes.
func (a *node) takes(limit time.Duration) time.Duration {
	return limit/10 + time.Duration(a.rng.Int64N(int64(limit)))
}

func (a *node) step() {
	if !a.looked || a.trouble {
		return
	}
	ends := a.leases.permit()
	actions, wake := a.core.Step(a.host.elapsed())
	if wake == 0 || (ends != 0 && ends < wake) {
		wake = ends
	}
	for _, action := range actions {
		a.perform(action)
	}
	if wake > 0 {
		a.alarm++
		alarm := a.alarm
		a.after(wake, func() {
			if alarm == a.alarm {
				a.step()
			}
		})
	}
	if a.session != nil {
		a.session.changed()
	}
}

// durations of actions, at most.
var durations = map[reconcile.Kind]time.Duration{
	reconcile.Fetch: 400 * time.Millisecond, reconcile.Prepare: 150 * time.Millisecond, reconcile.Start: 150 * time.Millisecond,
	reconcile.Resume: 150 * time.Millisecond, reconcile.Stop: 2 * time.Second, reconcile.Remove: 100 * time.Millisecond, reconcile.Check: 20 * time.Millisecond,
}

// perform carries out one action. When the process dies before it is done,
// the runtime may or may not finish it.
func (a *node) perform(action reconcile.Action) {
	if action.Kind != reconcile.Check {
		a.world.trace.fold('x', uint64(a.host.index), uint64(action.Kind), digest([]byte(action.ID)))
	}
	refused := action.Kind == reconcile.Start && !a.leases.begin(action.ID)
	finishes := a.rng.IntN(2) == 0
	powered := a.host.boots
	a.world.kernel.after(a.takes(durations[action.Kind]), func() {
		if a.dead && (!finishes || a.host.unpowered > 0 || a.host.boots != powered) {
			if action.Kind == reconcile.Prepare {
				a.host.machine.prepareHalf(action.ID)
			}
			return
		}
		err := errNoLease
		if !refused {
			err = a.act(action)
		}
		a.awake(func() { a.performed(action, err) })
	})
}

// performed takes in what came of an action.
func (a *node) performed(action reconcile.Action, err error) {
	if a.dead {
		return
	}
	a.core.Done(action, err, a.host.elapsed())
	if err != nil && action.Kind != reconcile.Check {
		a.world.trace.note(a.host.name, "could not %s %s: %v", action.Kind, action.ID, err)
	}
	if action.Kind != reconcile.Check {
		a.look()
	}
	a.step()
}

func (a *node) act(action reconcile.Action) error {
	m := a.host.machine
	switch action.Kind {
	case reconcile.Fetch:
		return a.fetch(action.Spec.ImageDigest)
	case reconcile.Prepare:
		action.Spec.Volumes = reconcile.VolumesOf(action.Spec, a.ledger.Current().GetVolumes())
		return m.prepare(action.Spec)
	case reconcile.Start:
		return m.start(action.ID)
	case reconcile.Resume:
		return m.driver.Resume(context.Background(), action.ID)
	case reconcile.Stop:
		return m.stop(action.ID, action.Grace)
	case reconcile.Remove:
		return m.remove(action.ID)
	case reconcile.Check:
		if !m.runs(action.ID) || m.sick[action.ID] {
			return errors.New("it does not answer")
		}
		return nil
	}
	panic(fmt.Sprintf("no way to %v", action.Kind))
}

// fetch gets an image from a node that holds it and finds the ticket good.
func (a *node) fetch(digest string) error {
	if a.host.machine.holds(digest) {
		return nil
	}
	for _, source := range a.ledger.Current().GetImages() {
		for i, node := range source.GetNodes() {
			from := a.world.hostByName(node)
			if from < 0 || source.GetDigest() != digest || i >= len(source.GetTickets()) || !a.world.net.reachable(a.host.index, from) {
				continue
			}
			other := a.world.hosts[from]
			if a.connects(other.process) && other.machine.holds(digest) && other.process.gives(a.leaf(), digest, source.GetTickets()[i]) {
				a.host.machine.addImage(digest)
				return nil
			}
		}
	}
	return fmt.Errorf("nobody in reach holds %s", digest)
}

// gives tells whether the node gives an image to whoever has this certificate and
// shows this ticket: what agent/image does in production.
func (p *process) gives(leaf *x509.Certificate, image string, shown []byte) bool {
	return ticket.Valid(p.ledger.Current().GetImageKeys(), certs.Fingerprint(leaf.PublicKey), image, shown)
}

// keepCopies fetches the images of which this node keeps a copy for the site.
func (a *node) keepCopies() {
	for _, image := range a.ledger.Current().GetImages() {
		digest := image.GetDigest()
		if !image.GetKeep() || a.host.machine.holds(digest) || a.keeping[digest] {
			continue
		}
		a.keeping[digest] = true
		a.after(a.takes(durations[reconcile.Fetch]), func() {
			delete(a.keeping, digest)
			if a.fetch(digest) == nil && a.session != nil {
				a.session.changed()
			}
		})
	}
}

// facts are what the node says of itself.
func (a *node) facts() *sitev1.NodeFacts {
	record := a.host.told
	facts := &sitev1.NodeFacts{
		Address: record.GetAddress(), GossipAddress: record.GetGossipAddress(), Capacity: record.GetCapacity(), Version: record.GetVersion(),
	}
	facts.Run = a.host.run()
	facts.GossipVersion = a.members.version
	if a.full {
		facts.Conditions = append(facts.Conditions, &skerryv1.Condition{Type: "DiskFull", Message: "there is no room for a log"})
	}
	if authority, generation := a.self.NewestAuthority(); authority != nil {
		facts.Authority, facts.AuthorityGeneration = authority.Certificate().Raw, generation
	}
	facts.RefusedIssuers = a.self.Gate().Refused(func() { facts.SvidIssuer, facts.WorkloadIssuers = a.issuer(), a.issuers() })
	facts.SvidExpires = a.expires()
	if raft := &a.host.raft; raft.id != 0 && raft.id == raft.halted {
		facts.Conditions = append(facts.Conditions, &skerryv1.Condition{Type: "VoterHalted", Message: errDisk.Error()})
	}
	if a.world.has(Boast) {
		facts.Capacity = proto.CloneOf(facts.Capacity)
		facts.Capacity.CpuMilli *= 4
		facts.Capacity.MemoryBytes *= 4
	}
	facts.Images, facts.Vms = a.host.machine.digests(), vmFacts
	held, err := a.host.machine.driver.HeldVolumes()
	if err != nil {
		panic("the driver in memory cannot list its volumes: " + err.Error())
	}
	facts.Volumes = agent.ToldVolumes(held, a.ledger.Current().GetVolumes())
	facts.SealingKey = a.host.recipient.Public()
	return facts
}

// coordinator is the host that the session has contact with; -1 for none.
func (a *node) coordinator() int {
	if a == nil || a.session == nil || a.session.stream == nil {
		return -1
	}
	return a.session.stream.ends[1].host
}
