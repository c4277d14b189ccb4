package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"skerry.dev/agent/config"
	"skerry.dev/agent/identity"
	"skerry.dev/agent/ledger"
	"skerry.dev/certs"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

// fakeVoter keeps a log of one file, and runs until it is told to end, or
// fails.
type fakeVoter struct{ fails error }

func (v fakeVoter) Run(ctx context.Context) error {
	if v.fails != nil {
		return v.fails
	}
	<-ctx.Done()
	return ctx.Err()
}
func (fakeVoter) Operators() http.Handler                         { return nil }
func (fakeVoter) Sync() http.Handler                              { return nil }
func (fakeVoter) ServeStream(context.Context, net.Conn)           {}
func (fakeVoter) Join() http.Handler                              { return nil }
func (fakeVoter) Renewals() http.Handler                          { return nil }
func (fakeVoter) ServeRaft(context.Context, net.Conn, certs.Peer) {}
func (fakeVoter) AuditTrouble() (string, string)                  { return "", "" }
func (fakeVoter) Stuck() time.Duration                            { return 0 }
func (fakeVoter) Votes() bool                                     { return true }
func (fakeVoter) Position(context.Context) (uint64, uint64, bool) { return 0, 0, false }
func (fakeVoter) Lead() (uint64, string, <-chan struct{})         { return 0, "", nil }
func (fakeVoter) OnRecord(certs.Peer) bool                        { return false }
func (fakeVoter) PoolChanged(string, bool)                        {}

// machine is the first node of a site, whose agent starts again and again.
type machine struct {
	t      *testing.T
	state  string
	opened int
	// fails is how a replica ends, spoiled why it cannot be opened.
	fails, spoiled error
	fs             env.FS
}

// noNotes is a disk that takes no note of a replica that has halted.
type noNotes struct{ env.FS }

func (n noNotes) WriteFile(name string, data []byte, perm os.FileMode) error {
	if filepath.Base(name) == haltedFile {
		return errors.New("the disk answers with errors")
	}
	return n.FS.WriteFile(name, data, perm)
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	system := env.NewSystem()
	m := &machine{t: t, state: t.TempDir(), fs: system.FS}
	_, err := identity.InitSite(system, identity.InitOptions{
		Site: "harbour", Operator: "admin", StateDir: m.state, Home: t.TempDir(),
		Node: &skerryv1.Node{Name: "n1", Address: "127.0.0.1:7600"},
		Keep: func(init *sitev1.InitSite) error { return KeepInit(system.FS, m.state, init) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// start the part of an agent that runs replicas; stop returns how it ended.
func (m *machine) start() (r *replicas, stop func() error) {
	m.t.Helper()
	system := env.NewSystem()
	system.FS = m.fs
	a := &Agent{Options: Options{
		Config: config.Config{StateDir: m.state}, Env: system, Logger: slog.New(slog.DiscardHandler), NewVoter: m.open,
	}}
	var err error
	if a.identity, err = identity.Load(system, identity.Dir(m.state)); err != nil {
		m.t.Fatal(err)
	}
	if a.ledger, err = ledger.Open(system.FS, m.state); err != nil {
		m.t.Fatal(err)
	}
	a.room = newRoom(a)
	r = newReplicas(a)
	r.mu.Lock()
	changed := r.changed
	r.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.run(ctx) }()
	var result error
	select {
	case <-changed:
	case result = <-ended:
		ended <- result
	}
	return r, func() error {
		cancel()
		return <-ended
	}
}

func (m *machine) open(options VoterOptions) (Voter, error) {
	m.opened++
	if m.spoiled != nil {
		return nil, m.spoiled
	}
	if err := os.MkdirAll(options.Dir, 0o700); err != nil {
		return nil, err
	}
	return fakeVoter{fails: m.fails}, os.WriteFile(filepath.Join(options.Dir, "log"), nil, 0o600)
}

func (m *machine) wantRunning() {
	m.t.Helper()
	r, stop := m.start()
	if r.active() == nil || r.trouble() != "" {
		m.t.Errorf("the replica does not run: %s", r.trouble())
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		m.t.Errorf("it ended: %v", err)
	}
}

func (m *machine) wantHalted() {
	m.t.Helper()
	opened := m.opened
	r, stop := m.start()
	if r.active() != nil || r.trouble() == "" || m.opened != opened {
		m.t.Errorf("the replica runs, or nothing is said: %q", r.trouble())
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		m.t.Errorf("it ended: %v", err)
	}
}

func TestAReplicaRunsAgainAfterARestart(t *testing.T) {
	m := newMachine(t)
	m.wantRunning()
	m.wantRunning()
}

func TestAReplicaThatMustHaltNeverRunsAgain(t *testing.T) {
	m := newMachine(t)
	m.fails = errors.New("the disk answers with errors")
	if _, stop := m.start(); !errors.Is(stop(), m.fails) {
		t.Error("the process goes on")
	}
	m.fails = nil
	m.wantHalted()
	m.wantHalted()
}

// The log itself is in order, and what the node runs needs the agent.
func TestAReplicaBesideWhichSomethingIsDamagedIsOpenedAgain(t *testing.T) {
	m := newMachine(t)
	m.fails = fmt.Errorf("%w: a bit has flipped", ErrBeside)
	r, stop := m.start()
	m.fails = nil
	for begun := time.Now(); r.active() == nil || r.trouble() != ""; time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatalf("it does not run again: %s", r.trouble())
		}
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("the process ended: %v", err)
	}
	m.wantRunning() // no note was taken that it has halted
}

func TestAReplicaThatCannotBeOpenedIsTriedAgainAndToldOf(t *testing.T) {
	m := newMachine(t)
	m.spoiled = errors.New("the disk answers with errors")
	r, stop := m.start()
	for begun := time.Now(); !strings.Contains(r.trouble(), "the disk answers with errors"); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatalf("what is said is %q", r.trouble())
		}
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("the process ended: %v", err)
	}
	if m.opened != mostUnopened || r.gone() {
		t.Errorf("it was opened %d times, and is gone: %t", m.opened, r.gone())
	}
	r, stop = m.start()
	for begun := time.Now(); r.trouble() == ""; time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatal("nothing is said the next time")
		}
	}
	if err := r.ledger.Accept(&sitev1.Assignments{Order: &sitev1.Order{SiteEpoch: 1, Term: 2}}); err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); r.trouble() != ""; time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > time.Minute {
			t.Fatalf("of a replica that it is not to have any more it says %q", r.trouble())
		}
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("the process ended: %v", err)
	}
	if err := r.ledger.Accept(&sitev1.Assignments{Order: &sitev1.Order{SiteEpoch: 1, Term: 3}, RaftId: 1}); err != nil {
		t.Fatal(err)
	}
	m.spoiled = nil
	m.wantRunning()
}

// Without a note of it the next process would use it again.
func TestAReplicaThatIsGivenUpWithoutANoteStaysAwayInThisProcess(t *testing.T) {
	m := newMachine(t)
	m.wantRunning()
	m.fs, m.spoiled = noNotes{m.fs}, fmt.Errorf("%w: a bit has flipped", ErrUntrusted)
	opened := m.opened
	r, stop := m.start()
	if r.active() != nil || !strings.Contains(r.trouble(), "a bit has flipped") || m.opened != opened+1 {
		t.Errorf("it was opened %d times, and what is said is %q", m.opened-opened, r.trouble())
	}
	m.spoiled = nil
	r.mu.Lock()
	changed := r.changed
	r.mu.Unlock()
	if err := r.ledger.Accept(&sitev1.Assignments{Order: &sitev1.Order{SiteEpoch: 1, Term: 2}, RaftId: 7}); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	case <-time.After(time.Minute):
		t.Fatal("another replica that the orders name does not run")
	}
	if r.active() == nil || r.trouble() != "" {
		t.Errorf("another replica does not run: %s", r.trouble())
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("the process ended: %v", err)
	}
}

// The first voter would begin the site anew, with nothing in it, and every
// other one could vote twice.
func TestAReplicaWhoseLogIsGoneNeverRunsAgain(t *testing.T) {
	for _, gone := range []string{"raft/1", "raft"} {
		t.Run(gone, func(t *testing.T) {
			m := newMachine(t)
			m.wantRunning()
			if err := os.RemoveAll(filepath.Join(m.state, gone)); err != nil {
				t.Fatal(err)
			}
			m.giveReplica(1, 1)
			opened := m.opened
			if _, stop := m.start(); !errors.Is(stop(), ErrUntrusted) || m.opened != opened {
				t.Error("a replica that has forgotten everything runs under its old ID")
			}
			m.wantHalted()
			// Another one may.
			m.runReplica(7)
			if gone == "raft" {
				return
			}
			// Without its ledger the node believes that it holds the first one.
			if err := os.Remove(filepath.Join(m.state, "ledger", "assignments.pb")); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(filepath.Join(m.state, "raft", "1")); err != nil {
				t.Fatal(err)
			}
			opened = m.opened
			if _, stop := m.start(); !errors.Is(stop(), ErrUntrusted) || m.opened != opened {
				t.Error("a replica that was given up runs again")
			}
		})
	}
}
