package workloads

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

func TestAPlacementThatAsksGetsAnIdentityAndLosesItAtItsEnd(t *testing.T) {
	s := newTestSite(t)
	k := s.open()
	s.run(k)
	s.order(placement("web", true, run), placement("plain", false, run))
	s.await(k, "web has an SVID", func() bool { return k.SVID("default", "web-1") != nil })
	got := k.SVID("default", "web-1")
	if got.ID != "spiffe://harbour/workload/default/web" {
		t.Errorf("it is %s", got.ID)
	}
	if _, err := x509.ParsePKCS8PrivateKey(got.Key); err != nil {
		t.Error(err)
	}
	if k.SVID("default", "plain-1") != nil {
		t.Error("one that does not ask has one")
	}
	s.order(placement("web", true, stop))
	s.order(placement("plain", false, run))
	s.await(k, "it is dropped", func() bool { return k.SVID("default", "web-1") == nil })
	if left, err := filepath.Glob(s.dir + "/workloads/*"); err != nil || len(left) != 0 {
		t.Errorf("on the disk there is still %v, %v", left, err)
	}
}

func TestAfterAPowerCutWithNobodyInReachTheIdentityIsThere(t *testing.T) {
	s := newTestSite(t)
	s.order(placement("web", true, run))
	k := s.open()
	s.once(k)
	before := k.SVID("default", "web-1")
	if before == nil {
		t.Fatal("there is none")
	}
	s.fails = errors.New("nobody answers")
	k = s.open()
	after := k.SVID("default", "web-1")
	if after == nil || after.ID != before.ID || !slices.Equal(after.Key, before.Key) || !after.Leaf.Equal(before.Leaf) {
		t.Fatalf("it is %v, was %v", after, before)
	}
	if p := s.once(k); len(p.ask)+len(p.drop) != 0 {
		t.Errorf("it asks for %v, drops %v", p.ask, p.drop)
	}
	// Past its end it is still given: who is called judges it, by site time.
	s.now = s.now.Add(48 * time.Hour)
	s.once(k)
	if k.SVID("default", "web-1") == nil {
		t.Error("it was dropped because it could not be renewed")
	}
}

func TestWhatIsDamagedOnDiskIsAskedForAnew(t *testing.T) {
	for name, damage := range map[string]func(path string, content []byte) error{
		"a bit":                     func(p string, c []byte) error { c[len(c)/2] ^= 4; return os.WriteFile(p, c, 0o600) },
		"cut short":                 func(p string, c []byte) error { return os.WriteFile(p, c[:len(c)/2], 0o600) },
		"empty":                     func(p string, _ []byte) error { return os.WriteFile(p, nil, 0o600) },
		"that of another placement": func(p string, _ []byte) error { return os.Rename(filepath.Dir(p)+"/default.shop-1.svid", p) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestSite(t)
			s.order(placement("web", true, run), placement("shop", true, run))
			s.once(s.open())
			path := s.dir + "/workloads/default.web-1.svid"
			content, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(path, content); err != nil {
				t.Fatal(err)
			}
			k := s.open()
			if k.SVID("default", "web-1") != nil {
				t.Fatal("it was taken")
			}
			s.asked = nil
			s.once(k)
			if got := k.SVID("default", "web-1"); got == nil || got.ID != "spiffe://harbour/workload/default/web" || !slices.Contains(s.asked, "web-1") {
				t.Errorf("asked was for %v, it is %v", s.asked, got)
			}
		})
	}
}

func TestItIsRenewedHalfWayWithANewKey(t *testing.T) {
	s := newTestSite(t)
	s.order(placement("web", true, run))
	k := s.open()
	s.once(k)
	first := k.SVID("default", "web-1")
	begun := s.now
	s.now = begun.Add(24 * time.Minute)
	if p := s.once(k); len(p.ask) != 0 {
		t.Error("it asked before")
	}
	s.now = begun.Add(36 * time.Minute)
	s.once(k)
	second := k.SVID("default", "web-1")
	if slices.Equal(first.Key, second.Key) || !second.Leaf.NotAfter.After(first.Leaf.NotAfter) {
		t.Errorf("until %s it is the same, was until %s", second.Leaf.NotAfter, first.Leaf.NotAfter)
	}
}

func TestWhatIsNotWhatWasAskedForIsNotTaken(t *testing.T) {
	stranger, _ := newCA(t, "harbour")
	for name, bend := range map[string]func(s *testSite, issued []*sitev1.IssuedSvid){
		"refused":             func(_ *testSite, i []*sitev1.IssuedSvid) { i[0].Refused = "it is not bound to this node" },
		"nothing":             func(_ *testSite, i []*sitev1.IssuedSvid) { i[0].Svid = nil },
		"no certificate":      func(_ *testSite, i []*sitev1.IssuedSvid) { i[0].Svid = [][]byte{[]byte("x")} },
		"that of another":     func(_ *testSite, i []*sitev1.IssuedSvid) { i[0].Svid, i[1].Svid = i[1].Svid, i[0].Svid },
		"one of a strange CA": func(s *testSite, i []*sitev1.IssuedSvid) { i[0].Svid = s.reissue(stranger.IssueWorkload, i[0], "web") },
		"another ID, same key": func(s *testSite, i []*sitev1.IssuedSvid) {
			i[0].Svid = s.reissue(s.authority.IssueWorkload, i[0], "admin")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestSite(t)
			s.bend = func(i []*sitev1.IssuedSvid) { bend(s, i) }
			s.order(placement("web", true, run), placement("shop", true, run))
			k := s.open()
			s.once(k)
			if got := k.SVID("default", "web-1"); got != nil {
				t.Errorf("it was taken: %v", got)
			}
			if left, err := filepath.Glob(s.dir + "/workloads/default.web*"); err != nil || len(left) != 0 {
				t.Errorf("on the disk there is %v, %v", left, err)
			}
		})
	}
}

// reissue gives another certificate for the same key.
func (s *testSite) reissue(issue func(string, string, []byte, any, time.Time, time.Duration) ([]byte, error), of *sitev1.IssuedSvid, workload string) [][]byte {
	s.t.Helper()
	leaf, err := x509.ParseCertificate(of.GetSvid()[0])
	if err != nil {
		s.t.Fatal(err)
	}
	der, err := issue("default", workload, nil, leaf.PublicKey, s.now, time.Hour)
	if err != nil {
		s.t.Fatal(err)
	}
	return [][]byte{der}
}

func TestAFailureIsNotRepeatedAtOnceAndNeverGivenUp(t *testing.T) {
	s := newTestSite(t)
	s.order(placement("web", true, run))
	s.fails = errors.New("nobody answers")
	k := s.open()
	s.once(k)
	p := s.once(k)
	if len(p.ask) != 0 || p.wait <= 0 || p.wait > 2*firstPause {
		t.Errorf("right after a failure it asks for %v, waits %s", p.ask, p.wait)
	}
	pause := firstPause
	a := attempt{}
	for range 30 {
		a = a.failed(0, 1<<63)
		if a.next < pause || a.next > 2*lastPause {
			t.Fatalf("it waits %s after %s", a.next, pause)
		}
		pause = a.pause
	}
	if pause != lastPause {
		t.Errorf("the longest pause is %s", pause)
	}
}

func TestAClockFarAheadDoesNotMakeItAskWithoutEnd(t *testing.T) {
	s := newTestSite(t)
	s.order(placement("web", true, run))
	s.lifetime = -time.Minute // as it looks from ten years later
	k := s.open()
	s.once(k)
	if k.SVID("default", "web-1") == nil {
		t.Fatal("it was not taken")
	}
	if p := s.once(k); len(p.ask) != 0 {
		t.Error("it asks again at once")
	}
}

func TestWithoutOrdersNothingIsTouched(t *testing.T) {
	s := newTestSite(t)
	s.order(placement("web", true, run))
	s.once(s.open())
	s.orders = &sitev1.Assignments{}
	k := s.open()
	if p := s.once(k); len(p.ask)+len(p.drop) != 0 || k.SVID("default", "web-1") == nil {
		t.Errorf("it dropped %v, asked %v", p.drop, p.ask)
	}
}

func TestOneOfACAThatLeftIsAskedForAnew(t *testing.T) {
	s := newTestSite(t)
	s.order(placement("web", true, run))
	k := s.open()
	s.once(k)
	s.authority, s.bundle = newCA(t, "harbour")
	first := k.SVID("default", "web-1")
	s.once(k)
	if got := k.SVID("default", "web-1"); got.Leaf.Equal(first.Leaf) {
		t.Error("it is still that of the CA that left")
	}
}

func TestWhatHangsOnACAThatLeftIsRenewedAtOnceWithoutNewOrders(t *testing.T) {
	s := newTestSite(t)
	k := s.open()
	s.run(k)
	s.order(placement("web", true, run))
	s.await(k, "web has an SVID", func() bool { return k.SVID("default", "web-1") != nil })
	first := k.SVID("default", "web-1")
	begun := time.Now()
	s.believe(newCA(t, "harbour"))
	s.await(k, "it has a new one", func() bool { return !k.SVID("default", "web-1").Leaf.Equal(first.Leaf) })
	if took := time.Since(begun); took > longestWait/2 {
		t.Errorf("it took %s", took)
	}
}

func TestWhatHangsOnACAThatRetiresIsRenewedAndToldOf(t *testing.T) {
	s := newTestSite(t)
	s.order(placement("web", true, run), placement("api", true, stop))
	k := s.open()
	if got := k.Issuers(); len(got) != 0 {
		t.Errorf("nothing hangs on %x", got)
	}
	s.once(k)
	old := fingerprint(s.authority.Certificate())
	authority, bundle := s.second()
	s.bundle = bundle
	if p := s.once(k); len(p.ask) != 0 || !slices.Equal(k.Issuers()[0], old) {
		t.Fatalf("it asks for %v; its SVIDs hang on %x", p.ask, k.Issuers())
	}
	s.orders.Retiring = [][]byte{old}
	first := k.SVID("default", "web-1")
	if p := s.once(k); len(p.ask) != 1 {
		t.Fatalf("it asks for %v", p.ask)
	}
	if !k.SVID("default", "web-1").Leaf.Equal(first.Leaf) {
		t.Error("it took another one from the CA that retires")
	}
	// The voter that was asked still issues with the old CA: not again at once.
	if p := s.once(k); len(p.ask) != 0 || p.wait < firstPause/2 {
		t.Fatalf("it asks for %v, and again after %s", p.ask, p.wait)
	}
	s.authority = authority
	k.attempts = map[string]attempt{}
	s.once(k)
	if k.SVID("default", "web-1").Leaf.Equal(first.Leaf) || len(k.Issuers()) != 1 || slices.Equal(k.Issuers()[0], old) {
		t.Errorf("its SVIDs hang on %x", k.Issuers())
	}
	if p := s.once(k); len(p.ask) != 0 {
		t.Errorf("it asks for %v", p.ask)
	}
	s.now = s.now.Add(2 * time.Hour)
	if got := k.Issuers(); len(got) != 0 {
		t.Errorf("an SVID that has expired holds %x", got)
	}
}

func TestManyAreAskedForInParts(t *testing.T) {
	s := newTestSite(t)
	var all []string
	for i := range 3*maxAsked - 10 {
		all = append(all, string(rune('a'+i%26))+string(rune('a'+i/26)))
	}
	s.orders = &sitev1.Assignments{Order: &sitev1.Order{}}
	for _, name := range all {
		s.orders.Placements = append(s.orders.Placements, placement(name, true, run))
	}
	k := s.open()
	calls := 0
	for len(s.once(k).ask) > 0 {
		calls++
	}
	if calls != 3 || len(s.asked) != len(all) {
		t.Errorf("%d calls for %d placements", calls, len(s.asked))
	}
}

func TestOneThatBeginsLaterIsAskedForAnewWhenTimeIsSetBack(t *testing.T) {
	s := newTestSite(t)
	s.order(placement("web", true, run))
	right := s.now
	s.now = right.AddDate(24, 0, 0)
	k := s.open()
	s.once(k)
	s.now = right
	s.once(k)
	if leaf := k.SVID("default", "web-1").Leaf; leaf.NotBefore.After(right) {
		t.Errorf("it begins on %s", leaf.NotBefore)
	}
	if p := s.once(k); len(p.ask) != 0 {
		t.Error("it is asked for again and again")
	}
}
