package session

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"pgregory.net/rapid"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func voter(name string) *sitev1.Peer {
	return &sitev1.Peer{Name: name, Address: name + ":7600", Voter: skerryv1.VoterRole_VOTER_ROLE_VOTER}
}

func plain(name string) *sitev1.Peer { return &sitev1.Peer{Name: name, Address: name + ":7600"} }

// nextOf are the next addresses that are tried.
func nextOf(t *Targets, count int, self string, peers ...*sitev1.Peer) []string {
	var tried []string
	for range count {
		tried = append(tried, t.Next(peers, self))
	}
	return tried
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what is tried (-want +got):\n%s", diff)
	}
}

func TestVotersAreTriedInTurn(t *testing.T) {
	want(t, nextOf(&Targets{}, 4, "n9", voter("n1"), plain("n2"), voter("n3")), "n1:7600", "n3:7600", "n1:7600", "n3:7600")
}

func TestVoterTriesItselfToo(t *testing.T) {
	want(t, nextOf(&Targets{}, 2, "n1", voter("n1"), voter("n3")), "n1:7600", "n3:7600")
}

func TestWithoutVotersOtherNodesAreTried(t *testing.T) {
	want(t, nextOf(&Targets{}, 3, "n2", plain("n1"), plain("n2"), plain("n3")), "n1:7600", "n3:7600", "n1:7600")
}

func TestNobodyIsTriedWhenNobodyIsKnown(t *testing.T) {
	want(t, nextOf(&Targets{}, 2, "n1"), "", "")
	want(t, nextOf(&Targets{}, 1, "n1", plain("n1")), "")
}

func TestRedirectIsFollowedAtOnceAndOnce(t *testing.T) {
	targets, peers := &Targets{}, []*sitev1.Peer{voter("n1"), voter("n2"), voter("n3")}
	want(t, nextOf(targets, 1, "n9", peers...), "n1:7600")
	targets.Redirected("n3:7600")
	if pause := targets.Pause(1<<62, 0); pause != 0 {
		t.Errorf("the redirect is followed after %s", pause)
	}
	want(t, nextOf(targets, 2, "n9", peers...), "n3:7600", "n2:7600")
}

// TestVotersThatPointToADeadOneKeepNobodyFromItsTurn: the last one may know more.
func TestVotersThatPointToADeadOneKeepNobodyFromItsTurn(t *testing.T) {
	targets, peers := &Targets{}, []*sitev1.Peer{voter("n1"), voter("n2"), voter("n3")}
	var tried []string
	for range 3 {
		tried = append(tried, nextOf(targets, 1, "n9", peers...)...)
		if tried[len(tried)-1] != "n1:7600" {
			targets.Redirected("n1:7600")
			tried = append(tried, nextOf(targets, 1, "n9", peers...)...)
		}
	}
	want(t, tried, "n1:7600", "n2:7600", "n1:7600", "n3:7600", "n1:7600")
}

func TestRedirectToNowhereIsNotFollowed(t *testing.T) {
	for _, to := range []string{"", "n1:7600"} {
		targets := &Targets{}
		nextOf(targets, 1, "n9", voter("n1"), voter("n2"))
		targets.Redirected(to)
		if to == "" {
			to = "nobody"
		}
		if pause := targets.Pause(0, 0); pause == 0 {
			t.Errorf("a redirect to %s is followed at once", to)
		}
		want(t, nextOf(targets, 1, "n9", voter("n1"), voter("n2")), "n2:7600")
	}
}

func TestVotersThatPointAtEachOtherAreNotRunAfterForEver(t *testing.T) {
	targets := &Targets{}
	at := nextOf(targets, 1, "n9", voter("n1"), voter("n2"))[0]
	follows := 0
	for range 20 {
		other := map[string]string{"n1:7600": "n2:7600", "n2:7600": "n1:7600"}[at]
		targets.Redirected(other)
		if targets.Pause(0, 0) == 0 {
			follows++
		}
		at = targets.Next([]*sitev1.Peer{voter("n1"), voter("n2")}, "n9")
	}
	if follows != maxHops {
		t.Errorf("%d redirects were followed at once, want %d", follows, maxHops)
	}
}

// TestSomebodyNewIsFollowedAtOnce, however often voters that knew no better pointed to one
// that was gone.
func TestSomebodyNewIsFollowedAtOnce(t *testing.T) {
	targets, peers := &Targets{}, []*sitev1.Peer{voter("n1"), voter("n2"), voter("n3"), voter("n4")}
	for range 2 * maxHops {
		nextOf(targets, 1, "n9", peers...)
		targets.Redirected("n8:7600")
		nextOf(targets, 1, "n9", peers...)
	}
	if targets.Redirected("n8:7600"); targets.Pause(0, 0) == 0 {
		t.Error("one that is gone is tried again at once")
	}
	if targets.Redirected("n3:7600"); targets.Pause(0, 0) != 0 {
		t.Error("somebody new is not followed at once")
	}
	for i := range 2 * maxHints {
		targets.Redirected(fmt.Sprintf("n%d:7600", 10+i))
	}
	if targets.Pause(0, 0) == 0 {
		t.Error("ever new addresses are followed without a pause")
	}
}

// TestWhereAStreamEndedIsTriedLast: what coordinated there may be gone, which nobody
// finds out quickly.
func TestWhereAStreamEndedIsTriedLast(t *testing.T) {
	targets, peers := &Targets{}, []*sitev1.Peer{voter("n1"), voter("n2"), voter("n3")}
	nextOf(targets, 5, "n9", peers...)
	targets.Worked("n3:7600")
	want(t, nextOf(targets, 4, "n9", peers...), "n1:7600", "n2:7600", "n3:7600", "n1:7600")
}

func TestTheOnlyVoterIsTriedAgain(t *testing.T) {
	targets := &Targets{}
	targets.Worked("n1:7600")
	want(t, nextOf(targets, 2, "n9", voter("n1")), "n1:7600", "n1:7600")
}

func TestWhatTheReplicaHereKnowsIsTriedFirst(t *testing.T) {
	targets, peers := &Targets{}, []*sitev1.Peer{voter("n1"), voter("n2"), voter("n3")}
	targets.Worked("n1:7600")
	targets.Told("n3:7600")
	want(t, nextOf(targets, 2, "n9", peers...), "n3:7600", "n2:7600")
}

// TestOneVoterAloneSendsNobodyBack: the first to point to where a stream has just ended
// may not know yet; a second one is believed.
func TestOneVoterAloneSendsNobodyBack(t *testing.T) {
	targets, peers := &Targets{}, []*sitev1.Peer{voter("n1"), voter("n2"), voter("n3")}
	targets.Worked("n1:7600")
	want(t, nextOf(targets, 1, "n9", peers...), "n2:7600")
	targets.Redirected("n1:7600")
	if targets.Pause(0, 0) == 0 {
		t.Error("it goes back at once")
	}
	want(t, nextOf(targets, 1, "n9", peers...), "n3:7600")
	targets.Redirected("n1:7600")
	want(t, nextOf(targets, 1, "n9", peers...), "n1:7600")
	targets.Redirected("n2:7600") // it was tried: whoever points to it is believed
	want(t, nextOf(targets, 1, "n9", peers...), "n2:7600")
	targets.Redirected("n1:7600")
	want(t, nextOf(targets, 1, "n9", peers...), "n1:7600")
}

func TestOthersAreVotersThatAreNeitherHereNorInDoubt(t *testing.T) {
	want(t, Others([]*sitev1.Peer{voter("n1"), plain("n2"), voter("n3"), voter("n4")}, "n4", "n1:7600"), "n3:7600")
}

// TestPausesAreBounded: never so short that a node that is alone spins, never
// so long that a new coordinator waits for its nodes.
func TestPausesAreBounded(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		targets := &Targets{}
		for range rapid.IntRange(1, 40).Draw(r, "attempts") {
			targets.Next([]*sitev1.Peer{voter("n1")}, "n9")
			pause := targets.Pause(rapid.Uint64().Draw(r, "random"), 0)
			if pause < firstPause/2 || pause > lastPause+lastPause/2 {
				r.Fatalf("the pause is %s", pause)
			}
		}
	})
	targets := &Targets{}
	nextOf(targets, 40, "n9", voter("n1"))
	if got := targets.Pause(0, 0); got != lastPause/2 {
		t.Errorf("after many attempts the shortest pause is %s", got)
	}
	targets.Worked("n1:7600")
	targets.Next(nil, "n9")
	if got := targets.Pause(0, 0); got > 100*time.Millisecond {
		t.Errorf("after it worked the shortest pause is %s", got)
	}
}

func report(name string, revision uint64) *sitev1.PlacementReport {
	return &sitev1.PlacementReport{Project: "p", Placement: name, Status: &skerryv1.PlacementStatus{Revision: revision}}
}

func TestOnlyChangesAreSent(t *testing.T) {
	facts := func(version string) *sitev1.NodeFacts { return &sitev1.NodeFacts{Version: version} }
	sent := NewSent(&sitev1.NodeReport{Facts: facts("1"), Placements: []*sitev1.PlacementReport{report("a", 1), report("b", 1)}})
	for _, test := range []struct {
		name  string
		now   []*sitev1.PlacementReport
		facts *sitev1.NodeFacts
		want  *sitev1.NodeReport
	}{
		{"nothing has changed", []*sitev1.PlacementReport{report("a", 1), report("b", 1)}, facts("1"), nil},
		{"one has changed", []*sitev1.PlacementReport{report("a", 2), report("b", 1)}, facts("1"), &sitev1.NodeReport{Placements: []*sitev1.PlacementReport{report("a", 2)}}},
		{"it was told", []*sitev1.PlacementReport{report("a", 2), report("b", 1)}, facts("1"), nil},
		{"the node has changed", []*sitev1.PlacementReport{report("a", 2), report("b", 1)}, facts("2"), &sitev1.NodeReport{Facts: facts("2")}},
		{"one is new", []*sitev1.PlacementReport{report("a", 2), report("b", 1), report("c", 1)}, facts("2"), &sitev1.NodeReport{Placements: []*sitev1.PlacementReport{report("c", 1)}}},
		{"one is not reported any more", []*sitev1.PlacementReport{report("a", 2), report("c", 1)}, facts("2"), nil},
		{"it is reported again, as before", []*sitev1.PlacementReport{report("a", 2), report("b", 1), report("c", 1)}, facts("2"), &sitev1.NodeReport{Placements: []*sitev1.PlacementReport{report("b", 1)}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, sent.Difference(test.now, test.facts), protocmp.Transform()); diff != "" {
				t.Errorf("what is sent (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDifferencesAddUp: who takes in all differences knows the last state.
func TestDifferencesAddUp(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		names := []string{"a", "b", "c"}
		random := func() []*sitev1.PlacementReport {
			var all []*sitev1.PlacementReport
			for _, name := range names {
				if rapid.Bool().Draw(r, "there") {
					all = append(all, report(name, rapid.Uint64Range(1, 3).Draw(r, "revision")))
				}
			}
			return all
		}
		first := &sitev1.NodeReport{Placements: random()}
		known := map[placement]*sitev1.PlacementReport{}
		learn := func(report *sitev1.NodeReport) {
			for _, p := range report.GetPlacements() {
				known[key(p)] = p
			}
		}
		learn(first)
		sent := NewSent(first)
		for range rapid.IntRange(1, 10).Draw(r, "changes") {
			now := random()
			learn(sent.Difference(now, nil))
			for _, p := range now {
				if !proto.Equal(known[key(p)], p) {
					r.Fatalf("%v is %v, and known as %v", key(p), p, known[key(p)])
				}
			}
		}
	})
}

// TestWaitingInVainIsAPause: voters without power do not answer, and each of them
// takes a second to find that out.
func TestWaitingInVainIsAPause(t *testing.T) {
	targets := &Targets{}
	nextOf(targets, 9, "n9", voter("n1"), voter("n2"), voter("n3"))
	if got := targets.Pause(0, 300*time.Millisecond); got != lastPause/2-300*time.Millisecond {
		t.Errorf("after an attempt of 300 ms the pause is %v", got)
	}
	if got := targets.Pause(0, time.Second); got != 0 {
		t.Errorf("after an attempt of a second the pause is %v, want none", got)
	}
	targets.Worked("n1:7600")
	if got := targets.Pause(0, time.Hour); got != firstPause/2 {
		t.Errorf("after a stream of an hour the pause is %v: all nodes would come back at once", got)
	}
}
