package coordinator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"

	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/audit"
	"skerry.dev/coordinator/audit/leafstore"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

// What a voter keeps in place of archived leaves proves all that come after: a
// wrong one could never be mended.
func TestArchivedLeavesGoOnlyWhenWhatStaysIsRight(t *testing.T) {
	for name, damaged := range map[string]bool{"whole": false, "with a wrong hash": true} {
		v := openVoter(t, nil)
		t.Cleanup(func() { _ = v.log.Close() })
		v.store.OnLeaf(func(leaf audit.Leaf) {
			if err := v.leaves.Append([]audit.Leaf{leaf}); err != nil {
				t.Fatal(err)
			}
		})
		index := uint64(1)
		apply := func(entry *sitev1.Entry) {
			index++
			v.store.Apply(index, entry)
		}
		for range 11 {
			apply(&sitev1.Entry{Change: &sitev1.Entry_RecordRefusals{RecordRefusals: &sitev1.RecordRefusals{Principal: "p"}}})
		}
		if damaged {
			leaf, err := v.leaves.Leaf(7)
			if err != nil {
				t.Fatal(err)
			}
			leaf.Hashes[len(leaf.Hashes)-1] = tlog.RecordHash([]byte("another"))
			if err := v.leaves.Append([]audit.Leaf{leaf}); err != nil {
				t.Fatal(err)
			}
		}
		v.store.OnLeaf(nil)
		if err := v.deleteUpTo(8, v.store.Frontier()); (err != nil) != damaged {
			t.Errorf("%s: %v", name, err)
		}
		if first, _ := v.leaves.Range(); (first == 0) != damaged {
			t.Errorf("%s: the leaves begin at %d", name, first)
		}
		if kind, _ := v.AuditTrouble(); (kind == auditDamaged) != damaged || v.refetch != damaged {
			t.Errorf("%s: the condition is %q", name, kind)
		}
	}
}

// stopped is a clock that somebody moves.
type stopped struct {
	env.Clock
	elapsed time.Duration
}

func (s *stopped) Elapsed() time.Duration { return s.elapsed }

// gone is a network on which nobody answers.
type gone struct {
	env.Net
	dials int
	says  string
}

func (g *gone) Dial(context.Context, string, string) (net.Conn, error) {
	g.dials++
	return nil, errors.New(g.says)
}

// Whoever has them may be down for long, or for good.
func TestLeavesThatNobodyGivesAreToldOnce(t *testing.T) {
	var log bytes.Buffer
	clock, network := &stopped{Clock: env.NewSystem().Clock}, &gone{Net: env.NewSystem().Net, says: "it is off"}
	v := openVoter(t, func(c *Config) {
		c.Logger, c.Env.Clock, c.Dialer = slog.New(slog.NewTextHandler(&log, nil)), clock, &mtls.Dialer{Net: network}
	})
	t.Cleanup(func() { _ = v.log.Close() })
	hash := make([]byte, tlog.HashSize)
	snapshot, err := proto.Marshal(&sitev1.Snapshot{
		Index: 900, SiteEpoch: 2, Site: "harbour", Audit: &sitev1.AuditState{Size: 200, Edge: [][]byte{hash, hash, hash}},
		Nodes: []*skerryv1.Node{{Name: "n1"}, {Name: "n2", Address: "n2:7600", Voter: skerryv1.VoterRole_VOTER_ROLE_VOTER}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.store.RestoreOlder(snapshot); err != nil {
		t.Fatal(err)
	}
	look := func(long time.Duration) {
		for end := clock.elapsed + long; clock.elapsed < end; clock.elapsed += auditEvery {
			v.fillLeaves(t.Context())
		}
	}
	told := func() int { return strings.Count(log.String(), "level=WARN") }
	look(10 * time.Minute)
	if told() != 1 || !strings.Contains(log.String(), "n2: ") || network.dials < 10 || network.dials > 60 {
		t.Errorf("in ten minutes it asked %d times, and said %d times\n%.1000s", network.dials, told(), log.String())
	}
	network.says = "it is elsewhere"
	look(time.Minute)
	if told() != 2 {
		t.Errorf("of something else it said\n%s", log.String())
	}
}

// On the only voter nobody can give what is gone: what is done from now on must not lie
// beyond a gap for ever.
func TestWithoutAnyOtherTheAuditLogGoesOnFromTheState(t *testing.T) {
	for _, test := range []struct {
		other   skerryv1.VoterRole
		through uint64
	}{
		{skerryv1.VoterRole_VOTER_ROLE_UNSPECIFIED, 201},
		{skerryv1.VoterRole_VOTER_ROLE_LEARNER, 0},
		{skerryv1.VoterRole_VOTER_ROLE_VOTER, 0},
	} {
		v := openVoter(t, nil)
		t.Cleanup(func() { _ = v.log.Close() })
		hash := make([]byte, tlog.HashSize)
		snapshot, err := proto.Marshal(&sitev1.Snapshot{
			Index: 900, SiteEpoch: 1, Site: "harbour", Audit: &sitev1.AuditState{Size: 200, Edge: [][]byte{hash, hash, hash}},
			Nodes: []*skerryv1.Node{{Name: "n1", Voter: skerryv1.VoterRole_VOTER_ROLE_VOTER}, {Name: "n2", Voter: test.other}},
		})
		if err != nil {
			t.Fatal(err)
		}
		kept := &keptLeaves{store: v.leaves}
		v.store.OnLeaf(kept.take)
		if err := v.store.RestoreOlder(snapshot); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the next start changes nothing
			if err := v.beginLeaves(); err != nil {
				t.Fatal(err)
			}
		}
		v.store.Apply(901, &sitev1.Entry{Change: &sitev1.Entry_RecordRefusals{RecordRefusals: &sitev1.RecordRefusals{Principal: "p"}}})
		if err := kept.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, through := v.leaves.Range(); through != test.through {
			t.Errorf("beside %v entries up to %d are shown", test.other, through)
		}
	}
}

// Whoever opens the leaves does not read all that is beside them.
func TestADamagedCheckpointIsSetAsideWhenTheReplicaOpensAgain(t *testing.T) {
	var config Config
	v := openVoter(t, func(c *Config) { config = *c })
	random := rand.NewChaCha8([32]byte{})
	var encoded []byte
	for n := range 30 {
		checkpoint := &sitev1.AuditCheckpoint{Root: make([]byte, 300)}
		_, _ = random.Read(checkpoint.GetRoot())
		var err error
		if encoded, err = proto.Marshal(checkpoint); err != nil {
			t.Fatal(err)
		}
		if err := v.leaves.KeepCheckpoint(fmt.Sprintf("n%d", n), encoded); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(v.leaves.Close(), v.log.Close()); err != nil {
		t.Fatal(err)
	}
	again := func() error {
		v, err := New(config)
		if err != nil {
			return err
		}
		return errors.Join(v.leaves.Close(), v.log.Close())
	}
	if err := again(); err != nil { // what was in the write-ahead log is in a table now
		t.Fatal(err)
	}
	tables, err := filepath.Glob(filepath.Join(config.AuditDir, "*.sst"))
	if err != nil || len(tables) != 1 {
		t.Fatalf("tables %q: %v", tables, err)
	}
	table, err := os.ReadFile(tables[0])
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(table, encoded)
	if at < 0 {
		t.Fatal("the checkpoint is not in the table")
	}
	table[at+100] ^= 1
	if err := os.WriteFile(tables[0], table, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := again(); !errors.Is(err, leafstore.ErrDamaged) {
		t.Errorf("it opened: %v", err)
	}
	if err := again(); err != nil {
		t.Errorf("the next time it does not open: %v", err)
	}
}
