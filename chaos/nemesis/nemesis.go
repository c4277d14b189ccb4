// Package nemesis decides what goes wrong in a run, and when: a schedule of
// faults made from a seed. It is pure; whoever runs a site carries the faults
// out and ends each one when its time is over.
package nemesis

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Kind of a fault.
type Kind int

// The kinds.
const (
	// Crash kills the process of each target; it is started again at the end.
	// What runs on the host goes on.
	Crash Kind = iota + 1
	// PowerOff takes the power from each target.
	PowerOff
	// Blackout takes the power from the whole site; the hosts come back one
	// by one, in any order.
	Blackout
	// Split cuts both directions between the targets and all others.
	Split
	// Deaf cuts what others send to the targets.
	Deaf
	// Mute cuts what the targets send to others.
	Mute
	// Unmesh cuts single links between pairs of hosts, so that majorities
	// overlap.
	Unmesh
	// Poor makes the links of the targets late, lossy, reordering and doubling.
	Poor
	// ClockJump sets the wall clocks of the targets to something else, until the
	// end.
	ClockJump
	// Exit ends a running workload instance on each target by itself.
	Exit
	// BadDisk makes the next write to the log of each target's replica fail, after
	// which that replica must never run again. Whoever carries it out leaves
	// enough replicas for a majority.
	BadDisk
	// Evict the first target from the site. Whoever carries it out lets the machine
	// join again at the end, made anew.
	Evict
	// RevokeOperator takes the key of a person who uses the site back; at the end
	// the person gets another.
	RevokeOperator
	// RotateAuthorities and RotateGossip are what operators do now and then.
	RotateAuthorities
	RotateGossip
	// DiskFull leaves less room than the floor on the disk of each target.
	DiskFull
	// Drain takes the first target out of service, by a drain or otherwise, until the
	// end.
	Drain
	// StopSite ends all that runs, in order; at the end people or the power start it
	// again.
	StopSite
	// Pause lets the process of each target stand still, as SIGSTOP does; PauseInAsk
	// from when it has asked for a lease.
	Pause
	PauseInAsk
	// Rebalance moves what would be placed elsewhere now.
	Rebalance
)

var names = map[Kind]string{
	Crash: "crash", PowerOff: "power-off", Blackout: "blackout", Split: "split", Deaf: "deaf", Mute: "mute",
	Unmesh: "unmesh", Poor: "poor-links", ClockJump: "clock-jump", Exit: "exit",
	BadDisk: "bad-disk", Evict: "evict", RevokeOperator: "revoke-operator", RotateAuthorities: "rotate-cas",
	RotateGossip: "rotate-gossip", DiskFull: "disk-full", Drain: "drain", StopSite: "stop-site", Pause: "pause", PauseInAsk: "pause-in-ask",
	Rebalance: "rebalance",
}

func (k Kind) String() string { return names[k] }

// KindOf a name.
func KindOf(name string) (Kind, error) {
	for kind, known := range names {
		if known == name {
			return kind, nil
		}
	}
	return 0, fmt.Errorf("no such fault: %q", name)
}

// Fault is one thing that goes wrong.
type Fault struct {
	// At is when it begins, For how long it lasts.
	At, For time.Duration
	Kind    Kind
	// Hosts that it strikes, by number, ascending.
	Hosts []int
	// Leader also strikes the host that is coordinator when it begins.
	Leader bool
	// Exclusive also strikes the host on which what is exclusive runs when it begins.
	Exclusive bool
	// Moving strikes one of the two hosts between which a virtual machine moves, the next
	// time that one gets to some point of it.
	Moving bool
	// Seed for what is chosen when it is carried out.
	Seed uint64
}

func (f Fault) String() string {
	targets := make([]string, 0, len(f.Hosts)+1)
	for _, h := range f.Hosts {
		targets = append(targets, fmt.Sprintf("n%d", h+1))
	}
	if f.Leader {
		targets = append(targets, "the coordinator")
	}
	if f.Exclusive {
		targets = append(targets, "what is exclusive")
	}
	if f.Moving {
		targets = append(targets, "a machine that moves")
	}
	return fmt.Sprintf("%s of %s for %s", f.Kind, strings.Join(targets, ", "), f.For.Round(time.Millisecond))
}

// Site is what a schedule is made for.
type Site struct {
	// Zones of the hosts.
	Zones []int
}

// LongCut is longer than any membership protocol remembers its dead.
const LongCut = 10 * time.Minute

// Schedule makes faults for the time from begin to end, sorted by time. About
// one begins in each interval; several may last at once. With long, one of
// them is a split of LongCut.
func Schedule(rng *rand.Rand, site Site, begin, end, interval time.Duration, long bool) []Fault {
	var faults []Fault
	for at := begin + spread(rng, interval); at < end; at += spread(rng, interval) {
		faults = append(faults, single(rng, site, at))
	}
	if long && end-begin > LongCut {
		at := begin + time.Duration(rng.Int64N(int64(end-begin-LongCut)))
		faults = append(faults, Fault{At: at, For: LongCut, Kind: Split, Hosts: zone(rng, site), Seed: rng.Uint64()})
	}
	slices.SortStableFunc(faults, func(a, b Fault) int { return int(a.At - b.At) })
	return faults
}

// Moves are faults in the middle of moves of virtual machines, from begin to end, about
// one in each interval, sorted by time.
func Moves(rng *rand.Rand, begin, end, interval time.Duration) []Fault {
	kinds := []Kind{Crash, PowerOff, Split, Deaf, Mute, Pause}
	var faults []Fault
	for at := begin + spread(rng, interval); at < end; at += spread(rng, interval) {
		faults = append(faults, Fault{At: at, For: lasting(rng), Kind: kinds[rng.IntN(len(kinds))], Moving: true, Seed: rng.Uint64()})
	}
	return faults
}

// spread is a time around mean, from a quarter to seven quarters of it.
func spread(rng *rand.Rand, mean time.Duration) time.Duration {
	return mean/4 + time.Duration(rng.Int64N(int64(mean)*3/2))
}

// weights say how often each kind is drawn.
var weights = []struct {
	kind   Kind
	weight int
}{
	{Crash, 20}, {PowerOff, 12}, {Blackout, 3}, {Split, 16}, {Deaf, 7}, {Mute, 7},
	{Unmesh, 7}, {Poor, 10}, {ClockJump, 6}, {Exit, 12}, {BadDisk, 6},
	{Evict, 7}, {RevokeOperator, 3}, {RotateAuthorities, 5}, {RotateGossip, 3}, {DiskFull, 6}, {Drain, 8}, {StopSite, 5},
	{Pause, 7}, {PauseInAsk, 4}, {Rebalance, 8},
}

func single(rng *rand.Rand, site Site, at time.Duration) Fault {
	f := Fault{At: at, Kind: draw(rng), Seed: rng.Uint64()}
	switch f.Kind {
	case Blackout, StopSite, Rebalance:
		f.Hosts = all(site)
	case PauseInAsk:
		f.Exclusive = true
	case Evict, Drain:
		f.Hosts = some(rng, site, 1)
	case Unmesh, Exit:
		f.Hosts = some(rng, site, len(site.Zones))
	case Split:
		if rng.IntN(3) == 0 {
			f.Hosts = zone(rng, site)
			break
		}
		fallthrough
	default:
		f.Leader = rng.IntN(3) == 0
		if !f.Leader || rng.IntN(3) == 0 {
			f.Hosts = some(rng, site, max(1, len(site.Zones)/2))
		}
	}
	if rng.IntN(6) == 0 && slices.Contains([]Kind{Crash, PowerOff, Split, Deaf, Mute, ClockJump, Pause}, f.Kind) {
		f.Exclusive = true
	}
	f.For = lasting(rng)
	return f
}

// lasting is mostly seconds, now and then a minute, sometimes a moment.
func lasting(rng *rand.Rand) time.Duration {
	switch rng.IntN(10) {
	case 0, 1, 2:
		return 50*time.Millisecond + time.Duration(rng.Int64N(int64(time.Second)))
	case 9:
		return 30*time.Second + time.Duration(rng.Int64N(int64(time.Minute)))
	default:
		return time.Second + time.Duration(rng.Int64N(int64(15*time.Second)))
	}
}

func draw(rng *rand.Rand) Kind {
	total := 0
	for _, w := range weights {
		total += w.weight
	}
	pick := rng.IntN(total)
	for _, w := range weights {
		if pick < w.weight {
			return w.kind
		}
		pick -= w.weight
	}
	panic("unreachable: pick is below the total")
}

func all(site Site) []int {
	hosts := make([]int, len(site.Zones))
	for i := range hosts {
		hosts[i] = i
	}
	return hosts
}

// some is one host or more, at most limit.
func some(rng *rand.Rand, site Site, limit int) []int {
	hosts := rng.Perm(len(site.Zones))[:1+rng.IntN(limit)]
	slices.Sort(hosts)
	return hosts
}

func zone(rng *rand.Rand, site Site) []int {
	wanted := site.Zones[rng.IntN(len(site.Zones))]
	var hosts []int
	for host, zone := range site.Zones {
		if zone == wanted {
			hosts = append(hosts, host)
		}
	}
	return hosts
}
