package sim

import (
	"fmt"
	"math/rand/v2"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/chaos/check"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const (
	// requestTimeout is when a client tries again, through another node.
	requestTimeout = 3 * time.Second
	// maxTries is when it gives up: the outcome is unknown.
	maxTries = 6
	// clientThink is the mean pause between two requests of one client.
	clientThink = 800 * time.Millisecond
	project     = "default"
	// refusedKey is how a node answers somebody whose key was revoked.
	refusedKey = "refused"
	// clientPrefix begins the request IDs of people.
	clientPrefix = "client-"
)

// client is one person or program that uses the site: one request at a time,
// each repeated with the same request ID until it is answered.
type client struct {
	world  *world
	rng    *rand.Rand
	number int
	sent   int
	// registers alone are what it writes and reads.
	registers bool
}

// request is one call. Exactly one of entry and read is set.
type request struct {
	id    string
	entry *sitev1.Entry
	read  bool
	// operator who asks, and the key that this person shows.
	operator string
	key      []byte
	// acknowledgedBefore is the highest acknowledged index when a read began.
	acknowledgedBefore uint64
	// register that is written or read; nil for other requests.
	register *check.Operation
	tries    int
	done     bool
}

// answer to a request.
type answer struct {
	// unavailable: nothing was done, or the outcome is not known; try again.
	unavailable bool
	// index of the outcome, or of the state that was read.
	index uint64
	kind  string
	node  string
	// value of a register.
	value string
}

func (c *client) run() {
	if c.world.quiet {
		return
	}
	think := c.world.options.Tide.think(c.registers, c.world.kernel.now-openTime)
	pause := think/4 + time.Duration(c.rng.Int64N(int64(think)*3/2))
	c.world.kernel.after(pause, func() {
		switch {
		case c.world.quiet:
		case c.registers:
			c.begin(c.chooseRegister())
		default:
			c.begin(c.choose())
		}
	})
}

func (c *client) choose() *request {
	c.sent++
	r := &request{id: fmt.Sprintf("%s%d-%d", clientPrefix, c.number, c.sent), operator: operatorName(c.number), key: c.world.operators[c.number].key()}
	switch pick := c.rng.IntN(10); {
	case pick < 3:
		r.read = true
		r.acknowledgedBefore = c.world.log.Highest()
	case pick < 4:
		r.entry = c.remove()
	case pick < 5 && c.rng.IntN(4) > 0:
		r.entry = c.steer()
	case c.rng.IntN(20) == 0:
		r.entry = c.wrong(r.id)
	default:
		r.entry = c.apply()
	}
	if r.entry != nil {
		r.entry.RequestId = r.id
		r.entry.Principal = fmt.Sprintf("spiffe://%s/operator/%s", siteName, r.operator)
		c.world.asked[r.id] = r.entry
	}
	return r
}

// begin a request, unless the script of the run leaves it out.
func (c *client) begin(r *request) {
	if only := c.world.options.People; only != nil && !only[r.id] {
		c.run()
		return
	}
	c.world.acts = append(c.world.acts, r.id)
	if r.register != nil {
		c.world.history.Begin(*r.register)
	}
	c.try(r)
}

// try sends the request through any node.
func (c *client) try(r *request) {
	if r.done {
		return
	}
	if r.tries++; r.tries > maxTries {
		c.world.stats.Unknown++
		c.world.tellHistory(r, answer{unavailable: true})
		r.done = true
		c.run()
		return
	}
	attempt := r.tries
	retry := func() {
		if !r.done && r.tries == attempt {
			c.try(r)
		}
	}
	c.world.kernel.after(requestTimeout, retry)
	entry := c.rng.IntN(len(c.world.hosts))
	p := c.world.hosts[entry].process
	if p.isPaused() {
		return // nobody answers
	}
	if p == nil {
		c.world.kernel.after(100*time.Millisecond, retry)
		return
	}
	p.serveClient(r, func(a answer) {
		if r.done {
			return
		}
		if a.unavailable {
			c.world.kernel.after(time.Duration(c.rng.Int64N(int64(300*time.Millisecond))), retry)
			return
		}
		r.done = true
		c.answered(r, a)
		c.run()
	})
}

// answered holds the site to what it said.
func (c *client) answered(r *request, a answer) {
	w := c.world
	w.tellHistory(r, a)
	if a.kind == refusedKey {
		return
	}
	if r.read {
		w.stats.Reads++
		w.violate(w.log.Read(a.node, r.acknowledgedBefore, a.index))
		return
	}
	w.stats.Writes++
	w.trace.note("user", "%s is answered: %s at %d %s", r.id, describe(r.entry), a.index, a.kind)
	w.violate(w.log.Acknowledged(r.id, a.index))
}

// names of the workloads that clients change. Those that stay are applied once,
// at the beginning.
var (
	changing = []string{"web", "api", "cache", "port", "big", vault}
	staying  = []string{"edge-a", "edge-b"}
	// lone is exclusive.
	lone = "lone"
)

// some workload: those of other forms are changed more rarely, so that updates can
// come to their end.
func (c *client) some() string {
	if c.rng.IntN(4) == 0 {
		return formed[c.rng.IntN(len(formed))]
	}
	return changing[c.rng.IntN(len(changing))]
}

func (c *client) remove() *sitev1.Entry {
	name := c.some()
	return &sitev1.Entry{Change: &sitev1.Entry_DeleteResource{DeleteResource: &sitev1.DeleteResource{
		Kind: "Workload", Project: project, Name: name,
	}}}
}

func (c *client) apply() *sitev1.Entry {
	return applyEntry(c.workload(c.some()))
}

func (c *client) workload(name string) *skerryv1.Workload {
	w := newWorkload(name)
	w.Replicas = proto.Uint32(uint32(c.rng.IntN(len(c.world.hosts) + 1)))
	w.Container.Image = images[c.rng.IntN(len(images))]
	c.world.promised(w)
	switch name {
	case "port":
		w.Container.Ports = []*skerryv1.Port{{Name: "http", Port: 80, HostPort: 8080, Protocol: "tcp"}}
	case "big":
		w.Container.Resources.Memory, w.Container.Resources.Cpu = "700Mi", "1200m"
	case "cache":
		w.Update.MaxUnavailable = 2
	case "api":
		w.Container.Resources.Cpu = "400m"
	}
	c.form(w)
	return w
}

func applyEntry(workloads ...*skerryv1.Workload) *sitev1.Entry {
	apply := &sitev1.ApplyResources{}
	for _, w := range workloads {
		apply.Resources = append(apply.Resources, &skerryv1.Resource{Kind: &skerryv1.Resource_Workload{Workload: w}})
	}
	return &sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: apply}}
}

// newWorkload has every default written out, as the API does before it
// proposes.
func newWorkload(name string) *skerryv1.Workload {
	return &skerryv1.Workload{
		Identity: asking(name),
		Kind:     "Workload", Name: name, Project: project, Replicas: proto.Uint32(1),
		Container: &skerryv1.Container{
			Image:     images[0],
			Network:   "bridge",
			Resources: &skerryv1.Resources{Cpu: "100m", Memory: "64Mi"},
		},
		Health: &skerryv1.Health{
			Exec: &skerryv1.ExecCheck{Command: []string{"true"}}, Interval: "2s", Timeout: "2s", Failures: 3, StartPeriod: "10s",
		},
		Update:    &skerryv1.Update{Strategy: "rolling", MaxUnavailable: 1},
		Place:     &skerryv1.Place{Spread: "zone"},
		Partition: &skerryv1.Partition{Mode: "replicate", ReplaceAfter: "0s"},
		Restart:   &skerryv1.Restart{Policy: "always", Backoff: "500ms", MaxBackoff: "1m"},
		StopGrace: "10s",
	}
}

// exclusive is a workload that runs once at most.
func exclusive(name string) *skerryv1.Workload {
	w := newWorkload(name)
	w.Partition.Mode, w.Partition.Lease, w.StopGrace = "exclusive", "10s", "1s"
	return w
}

// stay is a workload that is bound to its nodes.
func stay(name string, replicas uint32) *skerryv1.Workload {
	w := newWorkload(name)
	w.Replicas = proto.Uint32(replicas)
	w.Partition.Mode = "stay"
	return w
}
