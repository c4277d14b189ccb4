package agent

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"skerry.dev/agent/ledger"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
)

// giveReplica has orders name a replica for this node.
func (m *machine) giveReplica(epoch, id uint64) {
	m.t.Helper()
	l, err := ledger.Open(env.NewSystem().FS, m.state)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := l.Accept(&sitev1.Assignments{Order: &sitev1.Order{SiteEpoch: epoch, Term: 2, Index: id}, RaftId: id}); err != nil {
		m.t.Fatal(err)
	}
}

// runReplica gives this node another replica, and runs it.
func (m *machine) runReplica(id uint64) {
	m.t.Helper()
	m.giveReplica(1, id)
	m.wantRunning()
}

// wantUnopened gives this node a replica that cannot be opened.
func (m *machine) wantUnopened(id uint64) {
	m.t.Helper()
	m.giveReplica(1, id)
	m.spoiled = os.ErrPermission
	_, stop := m.start()
	if err := stop(); err == nil {
		m.t.Error("a replica that cannot be opened runs")
	}
}

// wasOfAnEarlierEpoch: what is on its disk is of a site epoch before the present one.
func (m *machine) wasOfAnEarlierEpoch() {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.state, "ledger", epochFile), []byte("0"), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) wantLeft(want ...string) {
	m.t.Helper()
	entries, err := os.ReadDir(filepath.Join(m.state, replicaDir))
	if err != nil {
		m.t.Fatal(err)
	}
	var left []string
	for _, entry := range entries {
		left = append(left, entry.Name())
	}
	if !slices.Equal(left, want) {
		m.t.Errorf("left are %q, want %q", left, want)
	}
}

// A node that loses its replica again and again must not fill its disk.
func TestOfFormerReplicasTheLastIsKept(t *testing.T) {
	m := newMachine(t)
	m.wantRunning()
	m.wantLeft("1", initFile)
	m.runReplica(7)
	m.wantLeft("1", "7", initFile)
	m.runReplica(11)
	// Without its log the first one must not find what the site began with.
	m.wantLeft("11", "7")
	m.runReplica(12)
	m.wantLeft("11", "12")
	m.wantRunning()
	m.wantLeft("11", "12")
}

// What a replica that does not run could still tell is all there is.
func TestFormerReplicasAreKeptWhileTheNextCannotBeOpened(t *testing.T) {
	m := newMachine(t)
	m.wantRunning()
	m.runReplica(7)
	m.wantUnopened(8)
	m.wantLeft("1", "7", initFile)
}

// Without its log and its ledger the first replica would begin the site anew.
func TestWhatAReplicaBeganWithGoesBeforeItsLogIsSetAside(t *testing.T) {
	m := newMachine(t)
	m.wantRunning()
	m.wasOfAnEarlierEpoch()
	m.wantUnopened(8)
	m.wantLeft("1-of-epoch-0")
}

func TestTheLastReplicaOfAnEarlierSiteEpochIsKept(t *testing.T) {
	m := newMachine(t)
	m.wantRunning()
	m.wasOfAnEarlierEpoch()
	for _, id := range []uint64{7, 8, 9} {
		m.runReplica(id)
	}
	m.wantLeft("1-of-epoch-0", "8", "9")
}

// Else the first replica of the new epoch would be taken for the last one of the old.
func TestOrdersOfANewSiteEpochMayComeBeforeItsTrust(t *testing.T) {
	m := newMachine(t)
	m.wantRunning()
	m.giveReplica(2, 1009)
	m.wantRunning()
	m.wantLeft("1-of-epoch-1", "1009")
}
