package sim

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/coordinator/consensus"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// askAgain is when an operator who got no answer repeats a request.
const askAgain = time.Second

// operator is what a person has to show: the key of this life.
type operator struct {
	name string
	life int
	// away: the key was taken back, and there is no other yet.
	away bool
}

func operatorName(number int) string { return fmt.Sprintf("client-%d", number) }

func (o *operator) key() []byte {
	sum := sha256.Sum256([]byte(fmt.Sprintf("key %d of %s", o.life, o.name)))
	return sum[:]
}

// letIn are the entries that give a person a key, a new one each time.
func (w *world) letIn(number int) []*sitev1.Entry {
	o := w.operators[number]
	if o == nil {
		o = &operator{name: operatorName(number)}
		w.operators[number] = o
	}
	o.life++
	expires := timestamppb.New(simulationStart.Add(10 * 365 * 24 * time.Hour))
	return []*sitev1.Entry{
		{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
			Token:      &skerryv1.Token{Id: fmt.Sprintf("token-%s-%d", o.name, o.life), Role: "operator", Name: o.name, Expires: expires},
			SecretHash: tokenHash(o.name, o.life), Grants: []*skerryv1.Grant{{Role: "operator"}},
		}}},
		{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{SecretHash: tokenHash(o.name, o.life), KeyFingerprint: o.key()}}},
	}
}

// ask brings an operator's entry into the log, again and again until there is an
// outcome. It goes to whoever coordinates.
func (w *world) ask(id string, entry *sitev1.Entry, done func(*sitev1.Outcome)) {
	entry.RequestId, entry.Principal = id, "spiffe://"+siteName+"/operator/op"
	w.asked[id] = entry
	entry = w.onTheWay(entry)
	answered := false
	var try func()
	try = func() {
		if answered {
			return
		}
		w.kernel.after(askAgain, try)
		at := w.coordinatorHost()
		if at < 0 {
			return
		}
		voter := w.hosts[at].process.voter
		if stop := entry.GetStopSite(); stop != nil {
			if stop.Known = voter.lead.reported(); !w.mostVoters(stop.GetKnown()) {
				return
			}
		}
		voter.propose(entry, func(c consensus.Completion) {
			if c.Err == nil && !answered {
				answered = true
				w.trace.note("user", "%s is answered: %s %s", id, describe(entry), c.Outcome.GetError())
				done(c.Outcome)
			}
		})
	}
	try()
}

// askAll asks for one entry after the other; done when the last one is through.
func (w *world) askAll(id string, entries []*sitev1.Entry, done func()) {
	if len(entries) == 0 {
		done()
		return
	}
	w.ask(fmt.Sprintf("%s-%d", id, len(entries)), entries[0], func(*sitev1.Outcome) { w.askAll(id, entries[1:], done) })
}

// mayEvict: the site goes on without the node. With it no image is lost.
func (w *world) mayEvict(h *host) bool {
	up, votes, members := 0, 0, 0
	for _, n := range w.newest.Nodes() {
		removed := n.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED
		if n.GetName() == h.name && removed || removed && n.GetRaftId() != 0 {
			return false
		}
		if !removed {
			members++
		}
		if n.GetVoter() != skerryv1.VoterRole_VOTER_ROLE_VOTER || removed {
			continue
		}
		votes++
		if n.GetName() != h.name && n.GetState() == skerryv1.NodeState_NODE_STATE_READY && w.hosts[w.hostByName(n.GetName())].raft.halted != n.GetRaftId() {
			up++
		}
	}
	for _, image := range w.newest.Images() {
		elsewhere := false
		for _, holder := range image.GetNodes() {
			elsewhere = elsewhere || holder != h.name
		}
		if !elsewhere {
			return false
		}
	}
	return !w.stopping && h.joined() && members > 3 && 2*up > votes
}

// evict a node. At the end its machine is switched off, made anew, and joins
// again.
func (in *injector) evict(h *host, rng *rand.Rand) func() {
	w := in.world
	if w.busy[h.name] || w.evicting > 0 || !w.mayEvict(h) {
		return nil
	}
	w.evicting++
	w.busy[h.name] = true
	id := fmt.Sprintf("evict-%s-%d", h.name, w.kernel.now)
	evicted := false
	refused := false
	w.emptied(h, id, func(empty bool) {
		if refused = !empty || !w.mayEvict(h); refused {
			return
		}
		w.ask(id, &sitev1.Entry{Change: &sitev1.Entry_EvictNode{EvictNode: &sitev1.EvictNode{Node: h.name}}}, func(outcome *sitev1.Outcome) {
			evicted, refused = outcome.GetErrorKind() == "", outcome.GetErrorKind() != ""
		})
	})
	in.active++
	var rejoin func()
	rejoin = func() {
		switch {
		case refused:
			in.active--
			w.evicting--
			delete(w.busy, h.name)
		case !evicted || w.newest.Node(h.name).GetRaftId() != 0:
			w.kernel.after(time.Second, rejoin)
		default:
			in.remake(h, id)
		}
	}
	return rejoin
}

// remake a machine that was evicted: off, without anything of before, and back.
func (in *injector) remake(h *host, id string) {
	w := in.world
	h.powerOff()
	w.ask(id+"-off", &sitev1.Entry{Change: &sitev1.Entry_EvictNode{EvictNode: &sitev1.EvictNode{Node: h.name, Off: true, Weighed: true}}}, func(*sitev1.Outcome) {
		w.giveUp(h)
		h.wipe()
		w.ask(id+"-token", h.token(), func(*sitev1.Outcome) {
			h.powerOn()
			w.trace.note(h.name, "is made anew")
			var wait func()
			wait = func() {
				if !h.joined() {
					w.kernel.after(time.Second, wait)
					return
				}
				w.renewVolumes(id, func() {
					in.active--
					w.evicting--
					delete(w.busy, h.name)
				})
			}
			wait()
		})
	})
}

// wipe the machine: nothing of its life before is left.
func (h *host) wipe() {
	h.lives++
	h.member = false
	h.disk, h.raft, h.leaves = newDisk(), raftDisk{bug: h.world.options.Bug}, newLeafDisk(h.world, h.name)
	h.recipient = newRecipient(h.world.keyRng)
	h.identities = map[string][sha256.Size]byte{}
	h.machine = newMachine(h)
}

// revokeOperator takes a person's key back; at the end the person gets another.
func (in *injector) revokeOperator(rng *rand.Rand) func() {
	w, number := in.world, 1+rng.IntN(clients)
	if w.operators[number].away {
		return nil
	}
	w.operators[number].away = true
	id := fmt.Sprintf("revoke-%d-%d", number, w.kernel.now)
	revoked := false
	w.ask(id, &sitev1.Entry{Change: &sitev1.Entry_RevokeOperator{RevokeOperator: &sitev1.RevokeOperator{Name: operatorName(number)}}},
		func(*sitev1.Outcome) { revoked = true })
	in.active++
	var back func()
	back = func() {
		if !revoked {
			w.kernel.after(time.Second, back)
			return
		}
		w.askAll(id, w.letIn(number), func() { in.active--; w.operators[number].away = false })
	}
	return back
}

// rotate the CAs, or the key of gossip.
func (in *injector) rotate(name string, entry *sitev1.Entry) func() {
	w := in.world
	in.active++
	w.ask(fmt.Sprintf("%s-%d", name, w.kernel.now), entry, func(*sitev1.Outcome) { in.active-- })
	return nil
}
