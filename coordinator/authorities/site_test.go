package authorities

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// bug that is planted.
type bug int

const (
	none bug = iota
	// silent: nodes do not say on which CAs their workloads' SVIDs hang.
	silent
	// forgiving: the CA of an evicted node stays.
	forgiving
	// lazy: nobody renews what hangs on a CA that retires.
	lazy
	// hasty: a node says that it takes nothing more from a CA, and does.
	hasty
)

var siteBegun = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// machine is a node in truth: what it has, and whether anybody reaches it.
type machine struct {
	name         string
	replica, off bool
	// issues: it believes that it has a replica.
	issues bool
	// orders are the CAs that issue no more, as it last heard.
	orders [][]byte
	// raftID of its replica; those before it are never used again.
	raftID         uint64
	newest, before *certs.Authority
	generation     uint64
	// svid and workload are the CAs that issued what it has; nil for none.
	svid, workload *x509.Certificate
}

// site is a real state and chain of trust, with machines that are a model.
type site struct {
	rng      *mathrand.Rand
	bug      bug
	store    *state.Store
	index    uint64
	machines []*machine
	born     time.Time // of new CAs
	raftIDs  uint64
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func print(of string) []byte {
	sum := sha256.Sum256([]byte(of))
	return sum[:]
}

// newSite has three replicas and two more nodes.
func newSite(seed uint64, planted bug) *site {
	s := &site{rng: mathrand.New(mathrand.NewPCG(seed, 1)), bug: planted, store: state.New(), born: siteBegun}
	for n := range 5 {
		s.machines = append(s.machines, &machine{name: fmt.Sprintf("n%d", n+1), replica: n < 3})
	}
	first := s.machines[0]
	first.newest = s.newCA(first)
	trust := must(certs.FirstTrust("reef", first.newest))
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_InitSite{InitSite: &sitev1.InitSite{
		Name: "reef", SiteId: certs.SiteID(trust), Trust: trust, GossipKey: make([]byte, 32),
		Operator: &sitev1.OperatorRecord{Name: "mia", KeyFingerprint: print("mia")},
		Node:     &skerryv1.Node{Name: first.name, KeyFingerprint: print(first.name)},
	}}})
	for n, m := range s.machines[1:] {
		s.join(m)
		if m.replica {
			m.newest = s.newCA(m)
			s.votes(m, uint64(n)+2)
		}
	}
	first.raftID = 1
	for _, m := range s.machines {
		m.issues = m.replica
		m.svid, m.workload = first.newest.Certificate(), first.newest.Certificate()
	}
	return s
}

func (s *site) votes(m *machine, raftID uint64) {
	s.index++
	s.store.ApplyVoterChange(s.index, &sitev1.VoterChange{AddNode: m.name, AddRaftId: raftID, Role: skerryv1.VoterRole_VOTER_ROLE_VOTER})
	m.replica, m.raftID = true, raftID
}

// replace takes the replica from a machine, which does not know it yet, or gives
// it one again.
func (s *site) replace(m *machine) {
	switch {
	case m.newest == nil || s.evicted(m):
	case !m.replica:
		s.raftIDs++
		s.votes(m, 10+s.raftIDs)
	case s.mayLose(m):
		s.index++
		s.store.ApplyVoterChange(s.index, &sitev1.VoterChange{RemoveNode: m.name, RemoveRaftId: m.raftID})
		m.replica = false
	}
}

func (s *site) newCA(m *machine) *certs.Authority {
	return must(certs.NewAuthority(rand.Reader, "reef", m.name, s.born))
}

func (s *site) join(m *machine) {
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token: &skerryv1.Token{Id: m.name, Role: "node", Expires: timestamppb.New(siteBegun.Add(time.Hour))}, SecretHash: print("token " + m.name),
	}}})
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{
		SecretHash: print("token " + m.name), KeyFingerprint: print(m.name), Node: &skerryv1.Node{Name: m.name},
	}}})
}

func (s *site) apply(entry *sitev1.Entry) bool {
	s.index++
	entry.Time = timestamppb.New(siteBegun)
	return s.store.Apply(s.index, entry).GetErrorKind() == ""
}

func (s *site) bundle() *certs.Bundle {
	view := s.store.View()
	return must(certs.VerifyTrust(view.SiteID(), view.Trust()))
}

func (s *site) evicted(m *machine) bool {
	return s.store.View().Node(m.name).GetState() == skerryv1.NodeState_NODE_STATE_REMOVED
}

// counts is the CA with which a machine issues, nil for none that counts: as
// identity.Node.Authority.
func (s *site) counts(m *machine) *certs.Authority {
	bundle := s.bundle()
	for _, authority := range []*certs.Authority{m.newest, m.before} {
		if authority != nil && bundle.Has(authority.Certificate()) {
			return authority
		}
	}
	return nil
}

// issuer is a voter that is up and whose CA counts.
func (s *site) issuer() *certs.Authority {
	for _, n := range s.rng.Perm(len(s.machines)) {
		if m := s.machines[n]; m.issues && !m.off && !s.evicted(m) && s.counts(m) != nil {
			return s.counts(m)
		}
	}
	return nil
}

// tick lets a machine that is up do what its agent does with the orders it has.
func (s *site) tick(m *machine) {
	view := s.store.View()
	if m.off || s.evicted(m) {
		return
	}
	m.orders = view.Retiring()
	m.issues = m.replica || m.issues && s.rng.IntN(4) > 0 // others may reach it while the coordinator does not
	if generation := view.AuthorityGeneration(); m.replica && m.generation < generation {
		if m.before == nil || s.bundle().Has(m.newest.Certificate()) {
			m.before = m.newest
		}
		m.newest, m.generation = s.newCA(m), generation
	}
	s.renew(m)
	s.report(m)
}

// renew what hangs on a CA that retires, or has run for half of its life. Any voter
// issues, so this works while the machine does not reach the coordinator.
func (s *site) renew(m *machine) {
	authority := s.issuer()
	if m.off || s.evicted(m) || authority == nil || s.bug == lazy || m.retires(authority.Certificate()) && s.bug != hasty {
		return
	}
	for _, held := range []**x509.Certificate{&m.svid, &m.workload} {
		if m.retires(*held) || !s.bundle().Has(*held) || s.rng.IntN(3) == 0 {
			*held = authority.Certificate()
			return
		}
	}
}

// retires: as far as it has heard.
func (m *machine) retires(ca *x509.Certificate) bool {
	sum := sha256.Sum256(ca.Raw)
	return slices.ContainsFunc(m.orders, func(r []byte) bool { return bytes.Equal(r, sum[:]) })
}

func (s *site) report(m *machine) {
	svid, workload := sha256.Sum256(m.svid.Raw), sha256.Sum256(m.workload.Raw)
	facts := &sitev1.NodeFacts{
		SvidIssuer: svid[:], WorkloadIssuers: [][]byte{workload[:]}, RefusedIssuers: m.orders, AuthorityGeneration: m.generation,
	}
	if s.bug == silent {
		facts.WorkloadIssuers = nil
	}
	if m.replica {
		facts.Authority = m.newest.Certificate().Raw
	}
	s.apply(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{
		Reports: []*sitev1.NodeReport{{Node: m.name, Facts: facts}},
	}}})
}

// extend is the coordinator's part. It returns what the new version breaks.
func (s *site) extend() error {
	view, bundle := s.store.View(), s.bundle()
	due := Next(view, bundle)
	if s.bug == forgiving {
		due.Change.Drop = slices.DeleteFunc(due.Change.Drop, func(ca *x509.Certificate) bool { return s.ofEvicted(ca) })
	}
	if due.Empty() {
		return nil
	}
	for _, m := range s.machines {
		signer := s.counts(m)
		if !m.replica || m.off || s.evicted(m) || signer == nil || !due.MaySign(bundle, signer.Certificate()) {
			continue
		}
		chain := view.Trust()
		next := must(certs.ExtendTrust(chain[len(chain)-1], signer, due.Change))
		s.apply(&sitev1.Entry{Change: &sitev1.Entry_ExtendTrust{ExtendTrust: &sitev1.ExtendTrust{Version: next}}})
		return s.orphans(due.Change.Drop)
	}
	return nil // nobody who may sign is up
}

func (s *site) ofEvicted(ca *x509.Certificate) bool {
	return slices.ContainsFunc(s.machines, func(m *machine) bool {
		return s.evicted(m) && (m.newest != nil && m.newest.Certificate().Equal(ca) || m.before != nil && m.before.Certificate().Equal(ca))
	})
}

// orphans hang on a CA that was retired: only those of an evicted node may, for
// the moment that it takes to renew them.
func (s *site) orphans(dropped []*x509.Certificate) error {
	for _, m := range s.machines {
		for _, ca := range dropped {
			if !s.evicted(m) && !s.ofEvicted(ca) && (m.svid.Equal(ca) || m.workload.Equal(ca)) {
				return errors.New("a CA was retired while an SVID on " + m.name + " hung on it")
			}
		}
	}
	return nil
}
