package years

import (
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/agent"
	"skerry.dev/agent/identity"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/api"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/sitetime"
)

// Bug is one that is planted to see that it is found.
type Bug int

// The bugs.
const (
	None Bug = iota
	JudgeByWallClock
	RenewOnlyWhenDue
	KeepAuthorities
)

const (
	site     = "reef"
	callTime = 10 * time.Second
	day      = 24 * time.Hour
)

var begun = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a site of three voters, two other nodes and an operator.
type world struct {
	t      testing.TB
	logger *slog.Logger
	bug    Bug
	// clocks guards the true time and what each host makes of it: a connection that
	// has not ended yet may still look.
	clocks   sync.RWMutex
	now      time.Time // the true time
	net      network
	hosts    []*host
	store    *state.Store
	index    uint64
	home     *disk
	notes    []string
	lockOuts int
	// invalid certificates were in use when the truth was asked for.
	invalid int
	// rotations of the CAs that the coordinator began.
	rotations int
}

func newWorld(t testing.TB, bug Bug) *world {
	w := &world{t: t, logger: slog.New(slog.DiscardHandler), bug: bug, now: begun, net: network{hosts: map[string]string{}}, store: state.New()}
	for n := range 5 {
		w.hosts = append(w.hosts, &host{world: w, name: fmt.Sprintf("n%d", n+1), votes: n < 3, disk: &disk{files: map[string][]byte{}}, rate: 1, booted: begun})
	}
	w.home = w.hosts[0].disk
	w.found()
	for _, h := range w.hosts {
		h.boot()
	}
	t.Cleanup(func() {
		for _, h := range w.hosts {
			h.powerOff()
		}
	})
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) notef(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf("%s: ", w.now.Format(time.DateOnly))+fmt.Sprintf(format, args...))
}

func (w *world) apply(entry *sitev1.Entry) *sitev1.Outcome {
	w.t.Helper()
	w.index++
	outcome := w.store.Apply(w.index, entry)
	if outcome.GetErrorKind() != "" {
		w.t.Fatalf("%T: %s", entry.GetChange(), outcome.GetError())
	}
	return outcome
}

// found makes the site as `skerry site init` does, and gives the other hosts
// what a join gives them.
func (w *world) found() {
	first := w.hosts[0]
	init, err := identity.InitSite(first.system(), identity.InitOptions{
		Site: site, Operator: "mara", StateDir: stateDir, Home: "/home",
		Node: &skerryv1.Node{Name: first.name, Address: first.address()},
		Keep: func(init *sitev1.InitSite) error { return agent.KeepInit(first.disk, stateDir, init) },
	})
	w.must(err)
	stamp := timestamppb.New(w.now)
	w.apply(&sitev1.Entry{Time: stamp, Reference: stamp, Change: &sitev1.Entry_InitSite{InitSite: init}})
	founder, err := identity.Load(first.system(), identity.Dir(stateDir))
	w.must(err)
	for _, h := range w.hosts[1:] {
		w.join(h, founder, init)
	}
	for _, h := range w.hosts[1:] {
		w.must(h.disk.WriteFile(filepath.Join(identity.Dir(stateDir), "trust.pb"), w.trust(), 0o600))
	}
}

func (w *world) trust() []byte {
	encoded, err := proto.Marshal(&sitev1.TrustResponse{Versions: w.store.View().Trust()})
	w.must(err)
	return encoded
}

// join writes a node's identity, with a CA of its own for a voter.
func (w *world) join(h *host, founder *identity.Node, init *sitev1.InitSite) {
	random := h.system().Rand
	key := newKey(w, random)
	der, err := founder.Authority().IssueNode(certs.NodeRequest{Name: h.name, PublicKey: key.Public(), Addresses: []string{h.address()}}, w.now)
	w.must(err)
	dir := identity.Dir(stateDir)
	write := func(name, kind string, data []byte) {
		w.must(h.disk.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}), 0o600))
	}
	write("key.pem", "PRIVATE KEY", pkcs8(w, key))
	write("svid.pem", "CERTIFICATE", der)
	record := &skerryv1.Node{Name: h.name, Address: h.address(), KeyFingerprint: certs.Fingerprint(key.Public())}
	if h.votes {
		authority, err := certs.NewAuthority(random, site, h.name, w.now)
		w.must(err)
		write("authority-key.pem", "PRIVATE KEY", pkcs8(w, authority.Key()))
		write("authority.pem", "CERTIFICATE", authority.Certificate().Raw)
		chain := w.store.View().Trust()
		next, err := certs.ExtendTrust(chain[len(chain)-1], founder.Authority(), certs.TrustChange{Add: []*x509.Certificate{authority.Certificate()}})
		w.must(err)
		w.apply(stamped(founderStamp(w), &sitev1.Entry{Change: &sitev1.Entry_ExtendTrust{ExtendTrust: &sitev1.ExtendTrust{Version: next}}}))
	}
	w.must(h.disk.WriteFile(filepath.Join(dir, "gossip.key"), init.GetGossipKey(), 0o600))
	encoded, err := proto.Marshal(record)
	w.must(err)
	w.must(h.disk.WriteFile(filepath.Join(dir, "node.pb"), encoded, 0o600))
	w.must(agent.KeepJoin(h.disk, stateDir, site, init.GetSiteId(), &sitev1.JoinResponse{Clock: founderStamp(w).Message()}))
	secret := certs.Fingerprint(key.Public()) // any 32 bytes do
	w.apply(stamped(founderStamp(w), &sitev1.Entry{Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{
		Token: &skerryv1.Token{Id: h.name, Role: "node", Name: h.name, Expires: timestamppb.New(w.now.Add(time.Hour))}, SecretHash: secret,
	}}}))
	w.apply(stamped(founderStamp(w), &sitev1.Entry{Change: &sitev1.Entry_JoinSite{JoinSite: &sitev1.JoinSite{SecretHash: secret, KeyFingerprint: record.GetKeyFingerprint(), Node: record}}}))
	if h.votes {
		w.index++
		w.store.ApplyVoterChange(w.index, &sitev1.VoterChange{AddNode: h.name, AddRaftId: w.index, Role: skerryv1.VoterRole_VOTER_ROLE_VOTER})
	}
}

func founderStamp(w *world) sitetime.Stamp { return sitetime.Stamp{Time: w.now, Reference: w.now} }

// stamped puts site time on an entry.
func stamped(stamp sitetime.Stamp, entry *sitev1.Entry) *sitev1.Entry {
	m := stamp.Message()
	entry.Time, entry.Reference, entry.TimeEra = m.GetTime(), m.GetReference(), m.GetEra()
	return entry
}

// coordinator is the first voter with power when a majority has it.
func (w *world) coordinator() *host {
	var on []*host
	for _, h := range w.hosts {
		if h.votes && h.on {
			on = append(on, h)
		}
	}
	if len(on) < 2 {
		return nil
	}
	return on[0]
}

// clocksOf are the wall clocks of the voters that have power.
func (w *world) clocksOf() []time.Time {
	var clocks []time.Time
	for _, h := range w.hosts {
		if h.votes && h.on {
			clocks = append(clocks, h.Now())
		}
	}
	return clocks
}

// turn the clocks.
func (w *world) turn(how func()) {
	w.clocks.Lock()
	defer w.clocks.Unlock()
	how()
}

// step lets d pass; then everybody does what is due and meets the coordinator.
// Whoever cannot after two tries is locked out.
func (w *world) step(d time.Duration) {
	w.t.Helper()
	w.turn(func() { w.now = w.now.Add(d) })
	for _, h := range w.hosts {
		if h.on {
			h.renew(false)
		}
	}
	lead := w.coordinator()
	if lead == nil {
		return
	}
	view := w.store.View()
	lead.node.SiteTime().Observe(view.Stamp())
	stamp := lead.node.SiteTime().Advance(w.clocksOf(), 3)
	w.apply(stamped(stamp, &sitev1.Entry{Change: &sitev1.Entry_CheckHash{CheckHash: &sitev1.CheckHash{}}}))
	w.tend(lead, stamp)
	for _, h := range w.hosts {
		if h.on {
			w.meet(h, lead)
		}
	}
}

// meet is what the sync stream does for a node.
func (w *world) meet(h, lead *host) {
	var err error
	for range 3 {
		if err = h.reach(lead); err == nil {
			h.node.SiteTime().Observe(lead.node.SiteTime().Read())
			w.must(h.node.UpdateTrust(w.store.View().Trust()))
			h.keep()
			return
		}
		lead.renew(true) // somebody else meets it too, and its own stream is refused
		h.renew(true)
	}
	w.lockOuts++
	w.notef("%s is locked out by %s: %v", h.name, lead.name, err)
}

// set is `skerry site time set`.
func (w *world) set(to time.Time) {
	lead := w.coordinator()
	chain := w.store.View().Trust()
	next, err := certs.ExtendTrust(chain[len(chain)-1], lead.node.Authority(), certs.TrustChange{NextEra: true})
	w.must(err)
	w.apply(stamped(lead.node.SiteTime().Read(), &sitev1.Entry{Change: &sitev1.Entry_SetSiteTime{SetSiteTime: &sitev1.SetSiteTime{Time: timestamppb.New(to), Version: next}}}))
}

// command is any command of the operator, as the command line does it.
func (w *world) command() {
	machine := &host{world: w, name: "desk", disk: w.home, rate: 1, booted: w.now, offset: 5000 * day}
	operator, err := identity.LoadOperator(machine.system(), "/home", site)
	w.must(err)
	to := w.coordinator()
	if operator.Due() {
		w.renewOperator(machine, operator, to)
	}
	dialer := &mtls.Dialer{Net: &w.net, Source: operator}
	for range 2 {
		if err = call(w, dialer, to.address(), mtls.API2); err == nil {
			now := to.node.SiteTime().Read()
			w.must(operator.LearnTime(now.Time, now.Era))
			return
		}
		w.renewOperator(machine, operator, to)
	}
	w.lockOuts++
	w.notef("the operator is locked out: %v", err)
}

func (w *world) renewOperator(machine *host, operator *identity.Operator, at *host) {
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	if _, err := identity.Renew(ctx, machine.system(), operator, []string{at.address()}, operator.Due()); err != nil {
		w.notef("the operator is not renewed: %v", err)
	}
}

// call makes one call on a protocol.
func call(w *world, dialer *mtls.Dialer, to, protocol string) error {
	client := dialer.HTTPClient(protocol, mtls.ExpectNode(""))
	defer client.CloseIdleConnections()
	answer, err := client.Get("https://" + to + "/")
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// model is the replicated log as the renewal sees it: a voter that is asked for
// what it knows.
type model struct{ api.Log }

func (model) Status() consensus.Status { return consensus.Status{} }

// clocks are a voter's.
type clocks struct {
	api.SiteTime
	keeper *sitetime.Keeper
	world  *world
}

func (c clocks) Read() sitetime.Stamp {
	c.keeper.Observe(c.world.store.View().Stamp())
	return c.keeper.Read()
}

func newKey(w *world, random interface{ Read([]byte) (int, error) }) *ecdsa.PrivateKey {
	authority, err := certs.NewAuthority(random, site, "key", w.now) // for its key
	w.must(err)
	return authority.Key()
}

func pkcs8(w *world, key *ecdsa.PrivateKey) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	w.must(err)
	return der
}
