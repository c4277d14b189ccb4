package workloads

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"skerry.dev/agent/identity/retiring"
	"skerry.dev/agent/seal"
	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testSite is a ledger, a voter that issues, and a clock that is set.
type testSite struct {
	t         testing.TB
	authority *certs.Authority
	bundle    *certs.Bundle
	dir       string

	mu           sync.Mutex
	orders       *sitev1.Assignments
	changed      chan struct{}
	trustChanged chan struct{}
	now          time.Time
	lifetime     time.Duration
	fails        error
	bend         func([]*sitev1.IssuedSvid)
	asked        []string
	gate         retiring.Gate
}

func (s *testSite) Gate() *retiring.Gate { return &s.gate }

func newTestSite(t testing.TB) *testSite {
	t.Helper()
	s := &testSite{t: t, dir: t.TempDir(), changed: make(chan struct{}), trustChanged: make(chan struct{}), now: time.Now(), lifetime: time.Hour}
	s.authority, s.bundle = newCA(t, "harbour")
	s.gate.Orders = func() [][]byte { return s.Current().GetRetiring() }
	return s
}

func newCA(t testing.TB, site string) (*certs.Authority, *certs.Bundle) {
	t.Helper()
	authority, err := certs.NewAuthority(rand.Reader, site, "n1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	trust, err := certs.FirstTrust(site, authority)
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := certs.VerifyTrust(certs.SiteID(trust), []*sitev1.TrustVersion{trust})
	if err != nil {
		t.Fatal(err)
	}
	return authority, bundle
}

func placement(name string, identity bool, desired skerryv1.DesiredState) *skerryv1.Placement {
	return &skerryv1.Placement{
		Project: "default", Name: name + "-1", Workload: name, Desired: desired, Spec: &skerryv1.Workload{Identity: identity},
	}
}

const (
	run  = skerryv1.DesiredState_DESIRED_STATE_RUN
	stop = skerryv1.DesiredState_DESIRED_STATE_STOP
)

// order gives new orders.
func (s *testSite) order(placements ...*skerryv1.Placement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.orders = &sitev1.Assignments{Order: &sitev1.Order{SiteEpoch: 1}, Placements: placements}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *testSite) Current() *sitev1.Assignments {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.orders
}

func (s *testSite) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

func (s *testSite) Bundle() *certs.Bundle {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bundle
}

func (s *testSite) TrustChanged() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trustChanged
}

// believe another bundle, whose CA issues from now on.
func (s *testSite) believe(authority *certs.Authority, bundle *certs.Bundle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.authority, s.bundle = authority, bundle
	close(s.trustChanged)
	s.trustChanged = make(chan struct{})
}

// both CAs in one chain of trust; the second one issues.
func (s *testSite) second() (*certs.Authority, *certs.Bundle) {
	s.t.Helper()
	authority, err := certs.NewAuthority(rand.Reader, "harbour", "n2", time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	first, err := certs.FirstTrust("harbour", s.authority)
	if err != nil {
		s.t.Fatal(err)
	}
	next, err := certs.ExtendTrust(first, s.authority, certs.TrustChange{Add: []*x509.Certificate{authority.Certificate()}})
	if err != nil {
		s.t.Fatal(err)
	}
	bundle, err := certs.VerifyTrust(certs.SiteID(first), []*sitev1.TrustVersion{first, next})
	if err != nil {
		s.t.Fatal(err)
	}
	return authority, bundle
}

func (s *testSite) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// Ask is a voter that believes what it is told.
func (s *testSite) Ask(_ context.Context, request *sitev1.IssueSvidsRequest) (*sitev1.IssueSvidsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return nil, s.fails
	}
	response := &sitev1.IssueSvidsResponse{}
	for _, r := range request.GetRequests() {
		s.asked = append(s.asked, r.GetPlacement())
		key, err := certs.CheckJoinRequest(r.GetCsr())
		if err != nil {
			return nil, err
		}
		leaf, err := s.authority.IssueWorkload(r.GetProject(), r.GetPlacement()[:len(r.GetPlacement())-2], nil, key, s.now, s.lifetime)
		if err != nil {
			return nil, err
		}
		response.Svids = append(response.Svids, &sitev1.IssuedSvid{Svid: [][]byte{leaf}})
	}
	if s.bend != nil {
		s.bend(response.GetSvids())
	}
	return response, nil
}

// open a keeper; one that runs is ended with the test, or by the function.
func (s *testSite) open() *Keeper {
	s.t.Helper()
	system := env.NewSystem()
	sealer, err := seal.Open(system.FS, system.Rand, s.dir)
	if err != nil {
		s.t.Fatal(err)
	}
	k, err := Open(Config{
		Dir: s.dir + "/workloads", Seal: sealer, Ledger: s, Site: s, Ask: s.Ask, Env: system, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return k
}

func (s *testSite) run(k *Keeper) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	var once sync.Once
	end = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				s.t.Error(err)
			}
		})
	}
	s.t.Cleanup(end)
	return end
}

// await waits until something is so of what is held.
func (s *testSite) await(k *Keeper, what string, so func() bool) {
	s.t.Helper()
	limit := time.After(time.Minute)
	for {
		changed := k.Changed()
		if so() {
			return
		}
		select {
		case <-changed:
		case <-limit:
			s.t.Fatalf("it did not come to be that %s", what)
		}
	}
}

// once makes one step of a keeper that does not run.
func (s *testSite) once(k *Keeper) plan {
	p := decide(k.look())
	for _, of := range p.drop {
		k.drop(of)
	}
	if len(p.ask) > 0 {
		k.ask(s.t.Context(), p.ask)
	}
	return p
}
