package coordinator

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"skerry.dev/coordinator/audit/leafstore"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/consensus/pebblelog"
	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// A survivor may be the only one that has what was acknowledged a moment before
// the quorum was lost: it does not know that it was.
func TestASurvivorGoesOnWithAllThatItsLogHolds(t *testing.T) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	dir, auditDir := t.TempDir(), t.TempDir()
	log, err := pebblelog.Open(vfs.Default, dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if err := consensus.Bootstrap(log, 1, state.New()); err != nil {
		t.Fatal(err)
	}
	var entries []*raftpb.Entry
	for i, name := range []string{"", "red", "blue"} {
		entry := &sitev1.Entry{RequestId: name, Principal: "spiffe://harbour/operator/op", Change: &sitev1.Entry_RotateGossip{RotateGossip: &sitev1.RotateGossip{}}}
		encoded, err := proto.Marshal(entry)
		if err != nil {
			t.Fatal(err)
		}
		if name == "" {
			encoded = nil // as a leader begins its term
		}
		entries = append(entries, &raftpb.Entry{Term: new(uint64(2)), Index: new(uint64(2 + i)), Data: encoded})
	}
	hard := &raftpb.HardState{Term: new(uint64(2)), Vote: new(uint64(1)), Commit: new(uint64(3))}
	if err := log.Append(nil, entries, hard, true); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it changes nothing
		s, err := Salvage(dir, 1, quiet)
		if err != nil {
			t.Fatal(err)
		}
		if s.View.Index() != 4 || s.Last != (consensus.Last{Term: 2, Index: 4}) || s.View.Audit().Size != 2 {
			t.Errorf("index %d, last %+v, %d entries in the audit log", s.View.Index(), s.Last, s.View.Audit().Size)
		}
		if damaged, err := CheckAudit(auditDir, quiet); err != nil || damaged {
			t.Errorf("damaged: %t, %v", damaged, err)
		}
		if aside, err := s.KeepAudit(auditDir, quiet); err != nil || aside != "" {
			t.Errorf("set aside in %q: %v", aside, err)
		}
	}
	manifests, err := filepath.Glob(filepath.Join(auditDir, "MANIFEST-*"))
	if err != nil || len(manifests) == 0 {
		t.Fatalf("manifests %q: %v", manifests, err)
	}
	for _, manifest := range manifests {
		if err := os.Remove(manifest); err != nil {
			t.Fatal(err)
		}
	}
	s, err := Salvage(dir, 1, quiet)
	if err != nil {
		t.Fatal(err)
	}
	if damaged, err := CheckAudit(auditDir, quiet); err != nil || !damaged {
		t.Errorf("damaged: %t, %v", damaged, err)
	}
	if aside, err := s.KeepAudit(auditDir, quiet); err != nil || aside != auditDir+"-damaged-1" {
		t.Errorf("what was damaged is in %q: %v", aside, err)
	}
	leaves, err := leafstore.Open(vfs.Default, auditDir, quiet, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	if _, through := leaves.Range(); through != 2 {
		t.Errorf("%d entries are kept", through)
	}
	if err := leaves.Close(); err != nil {
		t.Error(err)
	}
	if log, err = pebblelog.Open(vfs.Default, dir, quiet); err != nil {
		t.Fatal(err)
	}
	kept, _, err := log.InitialState()
	if err != nil || kept.GetCommit() != 3 {
		t.Errorf("the log commits up to %d, %v", kept.GetCommit(), err)
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
}
