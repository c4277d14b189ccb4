package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"skerry.dev/chaos/nemesis"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// blackoutStagger is the longest time between the first and the last host that
// comes back after a blackout.
const blackoutStagger = 20 * time.Second

// injector carries faults out and takes them back.
type injector struct {
	world *world
	// active counts the faults that last.
	active int
	// waiting are those that strike in the middle of the next move.
	waiting []nemesis.Fault
}

// plan schedules all faults of a run.
func (in *injector) plan(faults []nemesis.Fault) {
	for _, f := range faults {
		in.world.kernel.after(f.At-in.world.kernel.now, func() { in.begin(f) })
	}
}

func (in *injector) begin(f nemesis.Fault) {
	w := in.world
	if f.Moving {
		in.await(f)
		return
	}
	hosts := slices.Clone(f.Hosts)
	if leader := w.coordinatorHost(); f.Leader && leader >= 0 && !slices.Contains(hosts, leader) {
		hosts = append(hosts, leader)
		slices.Sort(hosts)
	}
	if lone := w.loneHost(); f.Exclusive && lone >= 0 && !slices.Contains(hosts, lone) {
		hosts = append(hosts, lone)
		slices.Sort(hosts)
	}
	if len(hosts) == 0 {
		return // it was for the coordinator, or what is exclusive, and there is none
	}
	w.trace.note("site", "FAULT %s", nemesis.Fault{Kind: f.Kind, Hosts: hosts, For: f.For})
	w.stats.Faults++
	rng := rand.New(rand.NewPCG(f.Seed, 1))
	end := in.inject(f.Kind, hosts, rng)
	if end == nil {
		return
	}
	in.active++
	w.kernel.after(f.For, func() {
		in.active--
		w.trace.note("site", "HEALED %s of %s", f.Kind, hostNames(hosts))
		end()
	})
}

// inject does it and returns what ends it; nil when there is nothing to end.
func (in *injector) inject(kind nemesis.Kind, hosts []int, rng *rand.Rand) func() {
	w := in.world
	switch kind {
	case nemesis.Crash:
		hold := func(h *host) {
			switch rng.IntN(5) {
			case 0:
				h.holdInWrite(true)
			case 1:
				h.holdInWrite(false)
			case 2:
				h.holdOrderly()
			default:
				h.hold()
			}
		}
		return in.down(hosts, hold, (*host).release, func() time.Duration { return 0 })
	case nemesis.PowerOff:
		return in.down(hosts, (*host).powerOff, (*host).powerOn, func() time.Duration { return 0 })
	case nemesis.Blackout:
		return in.down(hosts, (*host).powerOff, (*host).powerOn, func() time.Duration {
			return time.Duration(rng.Int64N(int64(blackoutStagger)))
		})
	case nemesis.Split:
		return in.count(w.net.cuts, func(a, b int) bool { return slices.Contains(hosts, a) != slices.Contains(hosts, b) })
	case nemesis.Deaf:
		return in.count(w.net.cuts, func(a, b int) bool { return !slices.Contains(hosts, a) && slices.Contains(hosts, b) })
	case nemesis.Mute:
		return in.count(w.net.cuts, func(a, b int) bool { return slices.Contains(hosts, a) && !slices.Contains(hosts, b) })
	case nemesis.Unmesh:
		return in.unmesh(hosts, rng)
	case nemesis.Poor:
		return in.count(w.net.bad, func(a, b int) bool { return slices.Contains(hosts, a) || slices.Contains(hosts, b) })
	case nemesis.Pause, nemesis.PauseInAsk:
		var resume []func()
		for _, h := range hosts {
			pause := w.hosts[h].pause
			if kind == nemesis.PauseInAsk {
				pause = w.hosts[h].pauseInAsk
			}
			resume = append(resume, pause())
		}
		return func() {
			for _, do := range resume {
				do()
			}
		}
	case nemesis.ClockJump:
		return in.jump(hosts, rng)
	case nemesis.Evict:
		return in.evict(w.hosts[hosts[0]], rng)
	case nemesis.RevokeOperator:
		return in.revokeOperator(rng)
	case nemesis.RotateAuthorities:
		return in.rotate("rotate-cas", &sitev1.Entry{Change: &sitev1.Entry_RotateAuthorities{RotateAuthorities: &sitev1.RotateAuthorities{}}})
	case nemesis.RotateGossip:
		return in.rotate("rotate-gossip", w.rotateGossip())
	case nemesis.Drain:
		return in.takeOut(w.hosts[hosts[0]], []skerryv1.Duty{
			skerryv1.Duty_DUTY_CORDONED, skerryv1.Duty_DUTY_DRAINED, skerryv1.Duty_DUTY_DRAINED, skerryv1.Duty_DUTY_MAINTENANCE,
		}[rng.IntN(4)])
	case nemesis.StopSite:
		return in.stopSite(rng)
	case nemesis.Rebalance:
		return in.rebalance(rng)
	case nemesis.DiskFull:
		return in.fillDisks(hosts)
	case nemesis.Exit:
		for _, h := range hosts {
			w.hosts[h].machine.exitOne(rng)
		}
		return nil
	case nemesis.BadDisk:
		for _, h := range hosts {
			if w.canLoseReplica(h) {
				w.hosts[h].raft.fails = true
			}
		}
		return nil
	}
	panic(fmt.Sprintf("no injector for %v", kind))
}

// jumps of clocks: to 1970, ten years ahead, an hour or some hours off.
func jump(now time.Time, rng *rand.Rand) time.Duration {
	switch rng.IntN(5) {
	case 0:
		return -now.Sub(time.Unix(0, 0))
	case 1:
		return 10 * 365 * 24 * time.Hour
	case 2:
		return time.Hour
	case 3:
		return -time.Hour
	default:
		return time.Duration(rng.Int64N(int64(48*time.Hour))) - 24*time.Hour
	}
}

// jump sets clocks wrong; at the end somebody sets them right. In most seeds one
// clock at a time is wrong, so that most are right.
func (in *injector) jump(hosts []int, rng *rand.Rand) func() {
	w := in.world
	wild := w.options.Seed%4 == 0
	if wild {
		w.time.Doubt()
	} else {
		hosts = hosts[:1]
		if w.wrongClocks > 0 {
			return nil
		}
	}
	w.wrongClocks++
	for _, h := range hosts {
		host := w.hosts[h]
		by := jump(host.now(), rng)
		w.trace.note(host.name, "its clock jumps by %v", by)
		host.wall, host.wrong = host.wall+by, host.wrong+1
	}
	return func() {
		w.wrongClocks--
		for _, h := range hosts {
			if host := w.hosts[h]; host.wrong == 1 {
				host.wall, host.wrong = 0, 0
			} else {
				host.wrong--
			}
		}
	}
}

// fillDisks leaves less than the floor on the disks.
func (in *injector) fillDisks(hosts []int) func() {
	for _, h := range hosts {
		if in.world.hosts[h].low++; in.world.hosts[h].low == 1 {
			in.world.hosts[h].lowSince = in.world.kernel.now
		}
	}
	return func() {
		for _, h := range hosts {
			in.world.hosts[h].low--
		}
	}
}

func (in *injector) down(hosts []int, down, up func(*host), wait func() time.Duration) func() {
	for _, h := range hosts {
		down(in.world.hosts[h])
	}
	return func() {
		for _, h := range hosts {
			in.active++
			in.world.kernel.after(wait(), func() { in.active--; up(in.world.hosts[h]) })
		}
	}
}

// count raises a counter on the chosen directions, and lowers it at the end.
func (in *injector) count(counters [][]int, chosen func(a, b int) bool) func() {
	change := func(by int) {
		for a := range counters {
			for b := range counters {
				if a != b && chosen(a, b) {
					counters[a][b] += by
				}
			}
		}
	}
	change(1)
	return func() { change(-1) }
}

// unmesh cuts each of the hosts from one other.
func (in *injector) unmesh(hosts []int, rng *rand.Rand) func() {
	type pair struct{ a, b int }
	cut := map[pair]bool{}
	for _, h := range hosts {
		other := (h + 1 + rng.IntN(len(in.world.hosts)-1)) % len(in.world.hosts)
		cut[pair{h, other}], cut[pair{other, h}] = true, true
	}
	return in.count(in.world.net.cuts, func(a, b int) bool { return cut[pair{a, b}] })
}

func hostNames(hosts []int) string {
	text := ""
	for i, h := range hosts {
		if i > 0 {
			text += ", "
		}
		text += hostName(h)
	}
	return text
}

// canLoseReplica: the site has a majority without the replica on this host, no
// other replica is lost, and nothing else is wrong: a long cut on top of it would
// only stop everything for as long as it lasts.
func (w *world) canLoseReplica(host int) bool {
	if w.injector.active > 0 || w.evicting > 0 {
		return false
	}
	voters := 0
	for _, n := range w.newest.Nodes() {
		h := w.hosts[w.hostByName(n.GetName())]
		if h.low > 0 || n.GetState() == skerryv1.NodeState_NODE_STATE_REMOVED && n.GetRaftId() != 0 {
			return false
		}
		if h.raft.fails || (h.raft.halted != 0 && h.raft.halted == n.GetRaftId()) {
			return false
		}
		if n.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER {
			voters++
		}
	}
	return w.hosts[host].raft.id != 0 && voters >= 3
}
