package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"time"

	"skerry.dev/chaos/hosts"
)

// nemesis is one way to make things go wrong.
type nemesis struct {
	name, what string
	// serves: a majority of the voters is left all the time, so writes go on.
	serves bool
	begin  begin
}

// fault is what a nemesis has done, and how to end it.
type fault struct {
	// on says to whom.
	on string
	// touched hosts may be taken for lost: what may run elsewhere may be replaced.
	touched []*hosts.Host
	// ended hosts had no power: nothing on them goes on.
	ended []*hosts.Host
	lasts time.Duration
	end   func(ctx context.Context) error
	// sign by which it shows that it was felt; nil where nobody can miss it.
	sign *sign
}

// nemeses are all that there are, in the order of the report.
var nemeses = []nemesis{
	{"isolate-leader", "the coordinator's host is cut off from all others, 1 to 8 s", true, isolate(leader)},
	{"isolate-follower", "another voter's host is cut off from all others", true, isolate(follower)},
	{"split", "two of five hosts are cut off from the rest; they may be most of the voters", true, split},
	{"ring", "each host reaches two neighbours alone: majorities overlap", false, ring},
	{"bridge", "two halves, and one host that both reach", false, bridge},
	{"one-way-in", "a host hears nobody, everybody hears it", true, oneWayIn},
	{"one-way-out", "nobody hears a host, it hears everybody", true, oneWayOut},
	{"loss", "1 to 40 % of all packets between hosts are lost", false, loss},
	{"delay", "the packets of a host come up to half a second late, out of order, some twice", true, delay},
	{"slow-link", "the line of a host carries 10 kB/s", true, thin},
	{"flapping", "a host is cut off and back, three to eight times, for 0.1 to 1.5 s", true, flapping},
	{"zone", "the line of a zone to the two others is cut", true, zone},
	{"sigkill", "the agent of a host, often the coordinator's, is killed, and started up to 3 s later", true, killAgent},
	{"sigkill-all", "all agents are killed at once", false, killAll},
	{"sigstop", "an agent stands still, 1 to 60 s", true, pauseAgent},
	{"power", "the power of one host goes", true, powerOne},
	{"power-all", "the power of all hosts goes at once; they come back in any order", false, powerAll},
	{"cpu", "an agent gets 1 to 8 % of a processor", true, starve},
	{"older-binary", "an agent is updated to an older binary, which its node must tell, and back", true, older},
	{"fsync-eio", "fsync fails on a voter's disk, at times while its agent is started again and again; its replica must halt", true, syncFails},
	{"disk-full", "a voter's disk is full from one write to the next, 4 to 9 s; its agent is started again, and its node must say so", true, diskFull},
	{"slow-disk", "each fsync of a voter takes 20 ms to 1.5 s longer", true, slowDisk},
	{"lost-writes", "the power of one host or of all goes, and with it all that no fsync had brought to the disk", false, lostWrites},
	{"corruption", "bits flip in one to three files of a voter's log while its agent is down; void when its replica did not find it", true, corrupt},
	{"clock-jump", "the wall clock of an agent jumps by a minute to ten years", true, clockJump},
	{"clock-drift", "the wall clock of an agent runs up to twice as fast, or stands still", true, clockDrift},
	{"replace-voter", "a voter is evicted; its machine is made anew and joins again", true, replaceVoter},
	{"move-voter", "the host of a voter gets another address, and its agent is killed and started", true, moveVoter},
	{"expiry", "the SVIDs of all nodes expire while a host is cut off, which comes back with one that counts nowhere", true, expire},
	{"containerd", "containerd of a host is killed", true, killContainerd},
}

// pick is who a nemesis strikes.
type pick func(ctx context.Context, s *site, rng *rand.Rand) (*hosts.Host, error)

func leader(ctx context.Context, s *site, _ *rand.Rand) (h *hosts.Host, err error) {
	err = s.Until(ctx, "a coordinator", writeTime, func(ctx context.Context) (err error) {
		h, _, err = s.Coordinator(ctx)
		return err
	})
	return h, err
}

func follower(ctx context.Context, s *site, _ *rand.Rand) (h *hosts.Host, err error) {
	err = s.Until(ctx, "another voter", writeTime, func(ctx context.Context) (err error) {
		_, h, err = s.Coordinator(ctx)
		if err == nil && h == nil {
			err = errors.New("there is none")
		}
		return err
	})
	return h, err
}

func anyHost(_ context.Context, s *site, rng *rand.Rand) (*hosts.Host, error) {
	return s.Hosts[rng.IntN(len(s.Hosts))], nil
}

// either is the coordinator's host, or any.
func either(ctx context.Context, s *site, rng *rand.Rand) (*hosts.Host, error) {
	if rng.IntN(2) == 0 {
		return leader(ctx, s, rng)
	}
	return anyHost(ctx, s, rng)
}

// seconds from a to b.
func seconds(rng *rand.Rand, a, b float64) time.Duration {
	return time.Duration((a + rng.Float64()*(b-a)) * float64(time.Second))
}

func names(of []*hosts.Host) string {
	var list []string
	for _, h := range of {
		list = append(list, h.Name)
	}
	return strings.Join(list, "+")
}
