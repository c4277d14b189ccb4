package main

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// report of all results, in Markdown.
func report(all []injection, o options) string {
	var b strings.Builder
	counted, voided, bad := 0, 0, 0
	for _, in := range all {
		switch in.Verdict {
		case void:
			voided++
		case failed:
			bad++
		}
		counted++
	}
	fmt.Fprintf(&b, "# What partitions did\n\nWritten by `make chaos-report`, pairs by `make chaos-night`; not by hand.\n\n%s\n", conditions(all, o))
	fmt.Fprintf(&b, "**%d injections: %d passed, %d failed, %d void.**\n\n", counted, counted-bad-voided, bad, voided)
	b.WriteString(promises)
	b.WriteString("| nemesis | what is done | times | passed | failed | void | without a write: median, max (s) | whole: median, max (s) |\n|---|---|---|---|---|---|---|---|\n")
	for _, n := range nemeses {
		of := slices.DeleteFunc(slices.Clone(all), func(in injection) bool { return in.Nemesis != n.name })
		b.WriteString(row(n, of))
	}
	b.WriteString(row(pairs, slices.DeleteFunc(slices.Clone(all), func(in injection) bool { return !ofPairs(in) })))
	b.WriteString(failures(all))
	b.WriteString(notRun)
	return b.String()
}

const promises = `Promised with each of them: no acknowledged write is lost, the history of every register is linearizable (porcupine; reads that are marked stale do not
count as answers), what is exclusive never runs twice (an outside witness hears every process), no container is restarted and none is ended on a node
that nothing happened to (what belongs to each node on no node that kept its power; what is exclusive as long as its coordinator stays and writes stand still for
no more than 1.5 s), writes stand still for 30 s at most and the site is whole within 2 min: every node ready and answering, as many voters as there should
be, every placement healthy, and stays so for 2 s. No agent crashes. Nothing is left out between two injections: what ran when one was over is what the next is judged by.

"Without a write" is the longest time in which none was acknowledged: from the beginning of the fault on where a majority of the voters is left throughout, from
its end on (†) otherwise. "Whole" counts from its end to the beginning of those 2 s. An injection before which fewer than 100 operations a second were done is void, and so is one that was not felt where that can be told: a disk that is full, an
older binary, bits that have flipped. It counts neither as passed nor as failed.

`

const notRun = `
Nemeses with 0 times have not been run on this code yet.

## Not run, and why

| what | why |
|---|---|
| names of files that no directory fsync has made durable are lost | the disk of these tests keeps names; contents and lengths it does lose |
| drift of the clock that leases run on (CLOCK_BOOTTIME) | no process can be given its own; chaos/sim gives each host one |
| tc netem, dm-flakey | not in every kernel: lines are impaired by a relay (chaos/hosts/relay.go) and nftables, disks by FUSE (chaos/hosts/faultdisk) |

How each is done: docs/decisions/0044. What was found: docs/chaos.md.
`

func row(n nemesis, of []injection) string {
	if len(of) == 0 {
		return fmt.Sprintf("| %s | %s | 0 | | | | | |\n", n.name, n.what)
	}
	count := map[verdict]int{}
	var write, whole []float64
	for _, in := range of {
		count[in.Verdict]++
		if in.Verdict == passed {
			write, whole = append(write, in.Write), append(whole, in.Whole)
		}
	}
	mark := ""
	if !n.serves {
		mark = " †"
	}
	return fmt.Sprintf("| %s | %s | %d | %d | %d | %d | %s%s | %s |\n", n.name, n.what, len(of),
		count[passed], count[failed], count[void], spread(write), mark, spread(whole))
}

// spread is median and maximum.
func spread(samples []float64) string {
	if len(samples) == 0 {
		return ""
	}
	slices.Sort(samples)
	return fmt.Sprintf("%.1f, %.1f", samples[len(samples)/2], samples[len(samples)-1])
}

// conditions under which it was found out.
func conditions(all []injection, o options) string {
	if len(all) == 0 {
		return ""
	}
	var rates []float64
	var commits []string
	for _, in := range all {
		rates = append(rates, in.Rate)
		if !slices.Contains(commits, in.Commit) {
			commits = append(commits, in.Commit)
		}
	}
	slices.Sort(rates)
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease") // empty if it cannot be read
	return fmt.Sprintf(`%s to %s, commits %s, on a machine of %d cores with Linux %s. %d hosts in network namespaces in three zones, each with its own
agent and containerd; %d clients through all nodes, reads, writes and writes of a version that was read. Operations a second before the injections:
%.0f in the middle, %.0f at least.
`, all[0].At.UTC().Format(time.DateTime), all[len(all)-1].At.UTC().Format(time.DateTime), strings.Join(commits, ", "),
		runtime.NumCPU(), strings.TrimSpace(string(kernel)), o.hosts, clients, rates[len(rates)/2], rates[0])
}

func failures(all []injection) string {
	var b strings.Builder
	for _, in := range all {
		if in.Verdict == failed {
			if b.Len() == 0 {
				b.WriteString("\n## Failures\n\n| nemesis | on | seed, number | commit | what |\n|---|---|---|---|---|\n")
			}
			fmt.Fprintf(&b, "| %s | %s | %d, %d | %s | %s |\n", in.Nemesis, in.On, in.Seed, in.Number, in.Commit, strings.Join(in.Why, "<br>"))
		}
	}
	return b.String()
}
