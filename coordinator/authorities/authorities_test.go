package authorities

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// step does one thing by chance: a fault, an operator's command, or what nodes
// and the coordinator do all the time.
func (s *site) step() error {
	m := s.machines[s.rng.IntN(len(s.machines))]
	switch pick := s.rng.IntN(20); {
	case pick == 0:
		s.apply(&sitev1.Entry{Change: &sitev1.Entry_RotateAuthorities{RotateAuthorities: &sitev1.RotateAuthorities{}}})
	case pick == 1 && s.mayLose(m):
		s.apply(&sitev1.Entry{Change: &sitev1.Entry_EvictNode{EvictNode: &sitev1.EvictNode{Node: m.name}}})
	case pick == 2:
		s.replace(m)
	case pick < 4:
		m.off = !m.off
	case pick < 6:
		s.renew(m)
	case pick < 14:
		s.tick(m)
	case pick < 15:
		return s.claims(m)
	default:
		return s.extend()
	}
	return nil
}

// claims lets a machine say what it has, also one that was evicted, as whoever has
// it could: that changes nothing.
func (s *site) claims(m *machine) error {
	before := s.store.View().Node(m.name)
	s.report(m)
	if s.evicted(m) && !proto.Equal(before, s.store.View().Node(m.name)) {
		return errors.New("what " + m.name + " said after its eviction was believed")
	}
	return nil
}

// mayLose: one more replica would be left, and it is up.
func (s *site) mayLose(m *machine) bool {
	left := 0
	for _, other := range s.machines {
		if other != m && other.replica && !other.off && !s.evicted(other) && s.counts(other) != nil {
			left++
		}
	}
	return left > 0
}

// live through faults, then through quiet; what is wrong is returned.
func (s *site) live() error {
	for range 150 {
		if err := s.step(); err != nil {
			return err
		}
	}
	for _, m := range s.machines {
		m.off = false
	}
	for range 8 {
		for _, m := range s.machines {
			s.tick(m)
		}
		if err := s.extend(); err != nil {
			return err
		}
	}
	return s.settled()
}

// settled: no rotation is under way, and all hangs on CAs that issue.
func (s *site) settled() error {
	view, bundle := s.store.View(), s.bundle()
	if due := Next(view, bundle); !due.Empty() || len(view.Retiring()) > 0 {
		return fmt.Errorf("after the last fault: %+v is due, %d CAs retire", due, len(view.Retiring()))
	}
	for _, m := range s.machines {
		if s.evicted(m) {
			if m.newest != nil && bundle.Has(m.newest.Certificate()) {
				return errors.New("the CA of " + m.name + ", which was evicted, counts")
			}
			continue
		}
		if !bundle.Has(m.svid) || !bundle.Has(m.workload) || m.generation != view.AuthorityGeneration() && m.replica {
			return errors.New(m.name + " hangs on a CA that has left, or has not made its own")
		}
	}
	return nil
}

// lives of a site, each by another chance.
const lives = 20

func TestRotationsEndAndNothingHangsOnACAThatIsRetired(t *testing.T) {
	for seed := range uint64(lives) {
		if err := newSite(seed, none).live(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
}

func TestPlantedBugsAreFound(t *testing.T) {
	for name, planted := range map[string]bug{
		"nodes are silent about their workloads": silent,
		"the CA of an evicted node stays":        forgiving,
		"nobody renews what hangs on a retiree":  lazy,
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(lives) {
				if err := newSite(seed, planted).live(); err != nil {
					t.Logf("seed %d: %v", seed, err)
					return
				}
			}
			t.Errorf("nobody noticed it in %d lives", lives)
		})
	}
}

// A voter that was replaced and does not know it issues to a node that has said
// already that it takes nothing more from it.
func TestNothingHangsOnACAWhoseReplacedVoterIssuesOn(t *testing.T) {
	for planted, found := range map[bug]bool{none: false, hasty: true} {
		s := newSite(1, planted)
		deposed, node := s.machines[2], s.machines[4]
		settle := func() {
			for range 12 {
				for _, m := range s.machines {
					s.tick(m)
				}
			}
		}
		settle()
		if err := s.extend(); err != nil {
			t.Fatal(err)
		}
		s.replace(deposed)
		deposed.issues = false
		settle()
		s.machines[0].off, s.machines[1].off, deposed.issues = true, true, true
		for range 12 {
			s.renew(node)
		}
		s.machines[0].off, s.machines[1].off = false, false
		err := s.extend()
		if (err != nil) != found || s.bundle().Has(deposed.newest.Certificate()) {
			t.Errorf("bug %d: %v; it counts: %t", planted, err, s.bundle().Has(deposed.newest.Certificate()))
		}
	}
}

func TestARotationIsDueAfterHalfOfALifeAndNotDuringAnother(t *testing.T) {
	s := newSite(1, none)
	for range 3 {
		for _, m := range s.machines {
			s.tick(m)
		}
		if err := s.extend(); err != nil {
			t.Fatal(err)
		}
	}
	young, old := siteBegun.Add(certs.AuthorityLifetime*2/5), siteBegun.Add(certs.AuthorityLifetime*3/5)
	if RotationDue(s.store.View(), young) || !RotationDue(s.store.View(), old) {
		t.Error("it is not due in the middle")
	}
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_RotateAuthorities{RotateAuthorities: &sitev1.RotateAuthorities{}}})
	s.tick(s.machines[0])
	if RotationDue(s.store.View(), old.Add(time.Hour)) {
		t.Error("another one is due before this one has ended")
	}
}

func TestARotationIsDueWhenTimeWasSetBackAlsoWhileAReplicaIsAway(t *testing.T) {
	s := newSite(1, none)
	settle := func() {
		for range 3 {
			for _, m := range s.machines {
				s.tick(m)
			}
			if err := s.extend(); err != nil {
				t.Fatal(err)
			}
		}
	}
	rotate := func() bool {
		return s.apply(&sitev1.Entry{Change: &sitev1.Entry_RotateAuthorities{RotateAuthorities: &sitev1.RotateAuthorities{}}})
	}
	settle()
	s.machines[2].off = true
	s.born = siteBegun.AddDate(24, 0, 0)
	if !rotate() {
		t.Fatal("the first rotation was refused")
	}
	settle()
	s.born = siteBegun
	if !RotationDue(s.store.View(), siteBegun) || !rotate() {
		t.Error("it waits for the replica that is away")
	}
	settle()
	if RotationDue(s.store.View(), siteBegun) || rotate() {
		t.Error("there is no end of rotations")
	}
}

// TestANodeThatIsAwayFillsNoChainOfTrust: what it must renew holds the CAs of many
// rotations, but not more than there is room for.
func TestANodeThatIsAwayFillsNoChainOfTrust(t *testing.T) {
	s := newSite(1, none)
	away, most := s.machines[4], 0
	s.report(away)
	away.off = true
	for range 20 {
		if !s.apply(&sitev1.Entry{Change: &sitev1.Entry_RotateAuthorities{RotateAuthorities: &sitev1.RotateAuthorities{}}}) {
			t.Fatal("a rotation was refused")
		}
		for range 3 {
			for _, m := range s.machines {
				s.tick(m)
			}
			if err := s.extend(); err != nil {
				t.Fatal(err)
			}
			most = max(most, len(s.bundle().Authorities()))
		}
	}
	if most < 30 || most > 60 { // 32 is where they stop waiting, 64 what there is room for
		t.Errorf("the chain named up to %d CAs", most)
	}
	if !s.bundle().Has(away.svid) {
		t.Error("the CA on which it hangs was retired")
	}
}
