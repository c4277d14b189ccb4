package sim

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"skerry.dev/agent"
	"skerry.dev/agent/identity"
	"skerry.dev/chaos/check"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// images that the site has from the beginning.
var images = []string{"site.local/app:1", "site.local/app:2", "site.local/app:3"}

func newWorld(options Options) *world {
	w := &world{
		options: options, kernel: &kernel{},
		log: check.NewLog(), history: check.NewHistory(), leaders: check.NewLeaders(), orders: check.NewOrders(), decisions: check.NewDecisions(), leaves: check.NewLeaves(), truth: check.NewHosts(),
		asked: map[string]*sitev1.Entry{}, wishes: map[string]*skerryv1.Workload{}, rollouts: check.NewRollouts(), runs: check.NewRuns(),
		prints: map[*x509.Certificate][]byte{}, needs: map[*skerryv1.Workload]check.Needs{},
		turns: check.NewInTurn(after), exits: map[string]int32{}, volumes: map[string]*data{}, tidying: map[string]bool{},
		proven: map[string]uint64{}, awayAt: map[string]uint64{}, besides: map[[2]string]bool{}, wrong: map[string]string{},
		logger: slog.New(slog.DiscardHandler), operators: map[int]*operator{}, outOfService: map[string]bool{}, busy: map[string]bool{}, time: &check.SiteTime{},
	}
	w.revoked = &revocations{world: w, keys: map[string]time.Duration{}}
	if options.Log != nil {
		w.logger = slog.New(slog.NewTextHandler(options.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	w.trace = newTrace(w.kernel)
	w.hostRng, w.netRng, w.faultRng, w.clientRng = w.rngFor(1), w.rngFor(2), w.rngFor(3), w.rngFor(4)
	w.secretRng, w.keyRng, w.peopleRng, w.wanderRng = w.rngFor(5), w.rngFor(6), w.rngFor(7), w.rngFor(9)
	count := 3 + w.hostRng.IntN(5)
	w.stats.Hosts = count
	w.net = newNetwork(w.kernel, w.trace, w.netRng, count)
	w.net.hostUp = func(h int) bool { return w.hosts[h].unpowered == 0 }
	w.net.processUp = func(h int) bool { return w.hosts[h].process != nil }
	w.net.paused = func(h int) bool { return w.hosts[h].process.isPaused() }
	w.net.awake = func(h int, do func()) { w.hosts[h].process.awake(do) }
	for i := range count {
		w.hosts = append(w.hosts, newHost(w, i))
	}
	for range w.hosts {
		w.revoked.inReach = append(w.revoked.inReach, notGood)
		w.late = append(w.late, notGood)
	}
	w.real = w.capacities()
	return w
}

func newHost(w *world, index int) *host {
	h := &host{
		world: w, index: index, name: hostName(index), zone: fmt.Sprintf("zone-%d", index%3), disk: newDisk(),
		fixed:      time.Duration(w.hostRng.Int64N(int64(1000 * time.Hour))),
		rate:       1 + (w.hostRng.Float64()-0.5)/100,
		wall:       time.Duration(w.hostRng.Int64N(int64(2*time.Second))) - time.Second,
		drift:      (w.hostRng.Float64() - 0.5) / 1000, // at most 500 ppm
		identities: map[string][sha256.Size]byte{}, opened: map[string]string{},
	}
	h.told = h.record()
	h.recipient = newRecipient(w.rngFor(700 + uint64(index)))
	h.raft.bug = w.options.Bug
	h.leaves = newLeafDisk(w, h.name)
	h.machine = newMachine(h)
	h.guard = newGuardian(h)
	return h
}

// hostByAddress is the number of the host at host:port; -1 for none.
func (w *world) hostByAddress(address string) int {
	name, _, _ := strings.Cut(address, ":")
	return w.hostByName(name)
}

// record is what a host says of itself when it joins.
func (h *host) record() *skerryv1.Node {
	return &skerryv1.Node{
		Name: h.name, Id: "id-" + h.name, Address: h.name + ":7600", GossipAddress: h.name + ":7601", Version: "1",
		Zone:     h.zone,
		Capacity: &skerryv1.Capacity{CpuMilli: 2000, MemoryBytes: 2 << 30},
	}
}

// tokenHash of the token for a name's life of this number.
func tokenHash(name string, life int) []byte {
	sum := sha256.Sum256([]byte(fmt.Sprintf("token %d of %s", life, name)))
	return sum[:]
}

// hostByName is the number of a host; -1 for none.
func (w *world) hostByName(name string) int {
	for _, h := range w.hosts {
		if h.name == name {
			return h.index
		}
	}
	return -1
}

// coordinatorHost is the host that serves the highest term; -1 when none does.
func (w *world) coordinatorHost() int {
	found, term := -1, uint64(0)
	for _, h := range w.hosts {
		if p := h.process; p != nil && p.voter != nil && p.voter.lead != nil && p.voter.lead.term > term {
			found, term = h.index, p.voter.lead.term
		}
	}
	return found
}

// found makes the site on the first host.
func (w *world) found() error {
	h := w.hosts[0]
	h.raft.id, h.raft.memLog = 1, newMemLog()
	if err := consensus.Bootstrap(&h.raft, 1, state.New()); err != nil {
		return err
	}
	var err error
	w.init, err = identity.InitSite(h.system(), identity.InitOptions{
		Site: siteName, Operator: "op", Node: h.record(), StateDir: stateDir, Home: "/home",
		Keep: func(init *sitev1.InitSite) error { return agent.KeepInit(h.disk, stateDir, init) },
	})
	if err != nil {
		return err
	}
	h.member = true
	for _, name := range images {
		h.machine.addImage(imageDigest(name))
	}
	h.machine.addImage(imageDigest(guest))
	for _, h := range w.hosts {
		h.start(startTime)
	}
	return nil
}

// opening are the entries that make the site what it is before clients come.
func (w *world) opening() []*sitev1.Entry {
	entries := []*sitev1.Entry{{Change: &sitev1.Entry_InitSite{InitSite: w.init}}}
	for _, name := range images {
		entries = append(entries, &sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{
			Image: &skerryv1.Image{Kind: "Image", Name: name, Digest: imageDigest(name), Size: 1 << 20, Nodes: []string{w.hosts[0].name}},
		}}})
	}
	entries = append(entries, &sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{
		Image: &skerryv1.Image{Kind: "Image", Name: guest, Digest: imageDigest(guest), Size: 1 << 20, DiskBytes: guestBytes, Nodes: []string{w.hosts[0].name}},
	}}})
	for _, h := range w.hosts[1:] {
		entries = append(entries, h.token())
	}
	for n := range clients {
		entries = append(entries, w.letIn(n+1)...)
	}
	entries = append(entries, w.quota())
	for _, name := range staying {
		entries = append(entries, applyEntry(stay(name, 1)))
	}
	entries = append(entries, applyEntry(exclusive(lone)), applyEntry(vm(scada)))
	for i, entry := range entries {
		entry.RequestId, entry.Principal = fmt.Sprintf("opening-%d", i), "init"
	}
	return entries
}

// openSite proposes the opening entries one after the other, through the first
// host, again and again until they are in the log.
func (w *world) openSite(entries []*sitev1.Entry) {
	if len(entries) == 0 {
		return
	}
	again := func(d time.Duration, rest []*sitev1.Entry) { w.kernel.after(d, func() { w.openSite(rest) }) }
	p := w.hosts[0].process
	if p == nil || p.voter == nil || p.voter.lead == nil {
		again(100*time.Millisecond, entries)
		return
	}
	p.voter.propose(w.onTheWay(entries[0]), func(c consensus.Completion) {
		if c.Err != nil {
			again(100*time.Millisecond, entries)
			return
		}
		if c.Outcome.GetErrorKind() != "" {
			panic("the site cannot be opened: " + c.Outcome.GetError())
		}
		again(0, entries[1:])
	})
}

func imageDigest(name string) string {
	sum := sha256.Sum256([]byte(name))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// imageName of a digest of one of the images.
func imageName(digest string) string {
	all := append(slices.Clone(images), guest)
	return all[slices.IndexFunc(all, func(name string) bool { return imageDigest(name) == digest })]
}

// capacities are what the hosts really have, whatever they say.
func (w *world) capacities() map[string]*skerryv1.Capacity {
	all := make(map[string]*skerryv1.Capacity, len(w.hosts))
	for _, h := range w.hosts {
		all[h.name] = h.record().GetCapacity()
	}
	return all
}

// bound are the placements that have a node.
func (w *world) bound(placements []*skerryv1.Placement) []check.Bound {
	all := make([]check.Bound, 0, len(placements))
	for _, p := range placements {
		if p.GetNode() != "" && p.GetEnded() == nil {
			all = append(all, check.Bound{Node: p.GetNode(), Name: p.GetName(), Needs: w.needsOf(p)})
		}
	}
	return all
}

// mostNeeds are remembered.
const mostNeeds = 4096

// needsOf a placement, found out once for a template that the state holds.
func (w *world) needsOf(p *skerryv1.Placement) check.Needs {
	needs, known := w.needs[p.GetSpec()]
	if !known {
		if len(w.needs) == mostNeeds {
			clear(w.needs)
		}
		needs = needsOf(p)
		w.needs[p.GetSpec()] = needs
	}
	return needs
}

func needsOf(p *skerryv1.Placement) check.Needs {
	needs, err := state.NeedsOf(p.GetSpec())
	if err != nil {
		panic("the state holds a placement without sensible needs: " + err.Error())
	}
	bound := check.Needs{CPUMilli: needs.CPUMilli, MemoryBytes: needs.MemoryBytes}
	for _, port := range needs.HostPorts {
		bound.HostPorts = append(bound.HostPorts, port.String())
	}
	return bound
}

// Run simulates one site.
func Run(options Options) Result {
	w := newWorld(options)
	w.runGuarded()
	w.stats.Simulated = w.kernel.now
	return Result{Hash: w.trace.hash, Violation: w.violation, At: w.violationAt, Stats: w.stats, trace: w.trace, plan: w.plannedFaults, acts: w.acts}
}
