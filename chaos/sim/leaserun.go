package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// leaseRun is leases alone: lease.Holder, guard.Core, leases.Table and state.Store
// as they are, without the rest of a site. What raft promises is assumed: one log,
// one leader after the other, and no round of a majority for one that was followed.
// So an episode costs a thousandth of what it does in a whole site, and when to call
// a lease ended is drawn, rather than decided by the controllers: at any moment.
type leaseRun struct {
	kernel *kernel
	rng    *rand.Rand
	bug    Bug
	store  *state.Store
	index  uint64
	nodes  []*leaseNode
	// lead has the highest term; retired are those before it, which may not know.
	lead    *leaseLead
	retired []*leaseLead
	// starts of what is exclusive, and lapses: that its lease was said to have ended
	// while its node may have run it.
	starts, lapses int
	// ran is when it last ran, or when all was last not well.
	ran       time.Duration
	violation *check.Violation
	at        time.Duration
}

const (
	// leaseHosts are all voters and nodes.
	leaseHosts = 3
	// idle is exclusive too, and never begins: what it needs is missing.
	idle = "idle"
	// calmEvery so many episodes nothing happens for a calm, and what is exclusive must
	// not be idle for longer than calmIdle when all is well.
	calmEvery = 20
	calm      = 80 * time.Second
	calmIdle  = 45 * time.Second
)

// newLeaseRun is a site whose exclusive workload has no placement yet.
func newLeaseRun(seed uint64, bug Bug) *leaseRun {
	r := &leaseRun{kernel: &kernel{}, rng: rand.New(rand.NewPCG(seed, 57)), bug: bug, store: state.New()}
	r.openLog()
	for i := range leaseHosts {
		r.nodes = append(r.nodes, newLeaseNode(r, i))
	}
	r.elect()
	for _, n := range r.nodes {
		n.look()
	}
	r.watch()
	return r
}

// watch that it runs again when all is well.
func (r *leaseRun) watch() {
	r.kernel.after(500*time.Millisecond, r.watch)
	if r.holder() != nil || !r.isCalm() {
		r.ran = r.kernel.now
	}
	if v := check.RunsAgain(lone, r.kernel.now-r.ran, calmIdle); v != nil && r.violation == nil {
		r.violation, r.at = v, r.kernel.now
	}
}

func (r *leaseRun) isCalm() bool {
	for _, n := range r.nodes {
		if n.cut > 0 || n.off > 0 || n.pauses > 0 || n.down {
			return false
		}
	}
	return true
}

func (r *leaseRun) stopped() bool { return r.violation != nil }

// between two durations.
func (r *leaseRun) between(least, most time.Duration) time.Duration {
	return least + time.Duration(r.rng.Int64N(int64(most-least)))
}

// commit an entry; it is in the log of all.
func (r *leaseRun) commit(entry *sitev1.Entry) *sitev1.Outcome {
	r.index++
	entry.RequestId, entry.Principal = fmt.Sprintf("%d", r.index), "coordinator"
	entry.Time = timestamppb.New(simulationStart.Add(r.kernel.now))
	return r.store.Apply(r.index, entry)
}

// must be taken by the state.
func (r *leaseRun) must(entry *sitev1.Entry) {
	if outcome := r.commit(entry); outcome.GetErrorKind() != "" {
		panic("the log of a run of leases: " + outcome.GetError())
	}
}

// openLog makes a site of three nodes with an image and what is exclusive.
func (r *leaseRun) openLog() {
	sum := func(text string) []byte { s := sha256.Sum256([]byte(text)); return s[:] }
	body, err := proto.Marshal(&sitev1.TrustBody{Site: siteName, Version: 1})
	if err != nil {
		panic("a chain of trust cannot be encoded: " + err.Error())
	}
	node := func() *skerryv1.Node {
		return &skerryv1.Node{Capacity: &skerryv1.Capacity{CpuMilli: 4000, MemoryBytes: 4 << 30}}
	}
	first := node()
	first.Name, first.KeyFingerprint = hostName(0), sum(hostName(0))
	id := sha256.Sum256(body)
	r.must(&sitev1.Entry{Change: &sitev1.Entry_InitSite{InitSite: &sitev1.InitSite{
		Name: siteName, SiteId: hex.EncodeToString(id[:]), Trust: &sitev1.TrustVersion{Body: body}, Node: first, GossipKey: make([]byte, 32),
		Operator: &sitev1.OperatorRecord{Name: "op", KeyFingerprint: sum("op")},
	}}})
	for i := 1; i < leaseHosts; i++ {
		name := hostName(i)
		r.must(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
			Token:      &skerryv1.Token{Id: name, Role: "node", Name: name, Expires: timestamppb.New(simulationStart.Add(time.Hour))},
			SecretHash: sum("secret of " + name),
		}}})
		r.must(&sitev1.Entry{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{
			SecretHash: sum("secret of " + name), KeyFingerprint: sum(name), Node: node(),
		}}})
	}
	r.must(&sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{
		Image: &skerryv1.Image{Kind: "Image", Name: images[0], Digest: imageDigest(images[0]), Size: 1, Nodes: []string{hostName(0)}},
	}}})
	w := exclusive(lone)
	w.Partition.Lease, w.Identity = "5s", false
	waits := exclusive(idle)
	waits.Partition.Lease, waits.Identity = "5s", false
	r.must(applyEntry(w, waits))
}

// judge how often it runs, now, on all machines.
func (r *leaseRun) judge() {
	var running []string
	for _, n := range r.nodes {
		if n.running != "" {
			running = append(running, n.running+" on "+n.name)
		}
	}
	if v := check.RunsOnce(lone, running); v != nil && r.violation == nil {
		r.violation, r.at = v, r.kernel.now
	}
}

// run so many episodes: each strikes where it runs, and lets all be well again.
func (r *leaseRun) run(episodes int) {
	for episode := range episodes {
		if episode%calmEvery == calmEvery-1 {
			r.kernel.runUntil(r.kernel.now+calm, r.stopped)
		}
		for range 60 { // until it runs somewhere, 15 seconds at most
			if r.holder() != nil {
				break
			}
			r.kernel.runUntil(r.kernel.now+250*time.Millisecond, r.stopped)
		}
		n := r.holder()
		if n == nil {
			n = r.nodes[r.rng.IntN(leaseHosts)]
		}
		r.strike(n)
		r.kernel.runUntil(r.kernel.now+r.between(8*time.Second, 20*time.Second), r.stopped)
		if r.stopped() {
			return
		}
	}
}

// holder is the node that runs it; nil for none.
func (r *leaseRun) holder() *leaseNode {
	for _, n := range r.nodes {
		if n.running != "" {
			return n
		}
	}
	return nil
}
