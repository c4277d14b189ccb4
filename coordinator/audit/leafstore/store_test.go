package leafstore

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"skerry.dev/coordinator/audit"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func open(t rapid.TB, fs vfs.FS) *Store {
	s, err := Open(fs, "/state/audit", slog.New(slog.DiscardHandler), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// grow gives n leaves and the frontier after them.
func grow(t rapid.TB, n int) ([]audit.Leaf, audit.Frontier) {
	var leaves []audit.Leaf
	var f audit.Frontier
	for i := range n {
		data, err := audit.Encode(&skerryv1.AuditEntry{Number: uint64(i), Verb: fmt.Sprintf("do %d", i)})
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, f.Append(data))
	}
	return leaves, f
}

func must(t rapid.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// After a crash at any moment the leaves up to the last sync are there, those
// after it come again, and the tree is the same.
func TestLeavesThatComeAgainAfterACrashMakeTheSameTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewCrashableMem()
		n := rapid.IntRange(1, 200).Draw(t, "leaves")
		leaves, frontier := grow(t, n)
		synced := rapid.IntRange(0, n).Draw(t, "synced")
		s := open(t, fs)
		must(t, s.Append(leaves[:synced]))
		must(t, s.Sync())
		must(t, s.Append(leaves[synced:]))
		crashed := fs.CrashClone(vfs.CrashCloneCfg{})
		must(t, s.Close())
		s = open(t, crashed)
		if _, through := s.Range(); through < uint64(synced) {
			t.Fatalf("%d leaves were synced, %d are there", synced, through)
		}
		again := rapid.IntRange(0, synced).Draw(t, "again")
		must(t, s.Append(leaves[again:]))
		at, err := audit.FrontierAt(s, uint64(n))
		if err != nil || at != frontier || s.Differed() != "" {
			t.Fatalf("the tree is another one: %v %s", err, s.Differed())
		}
		must(t, s.Close())
	})
}

func TestAnArchiveDeletesLeavesAndKeepsTheProofs(t *testing.T) {
	leaves, frontier := grow(t, 100)
	fs := vfs.NewMem()
	s := open(t, fs)
	must(t, s.Append(leaves))
	must(t, s.Archive(37))
	must(t, s.Close())
	s = open(t, fs)
	defer func() { must(t, s.Close()) }()
	if first, through := s.Range(); first != 37 || through != 100 {
		t.Errorf("leaves from %d to %d", first, through)
	}
	if _, err := s.Leaf(36); err == nil {
		t.Error("an archived leaf is still there")
	}
	proof, err := audit.ProveLeaf(s, 100, 40)
	must(t, err)
	must(t, audit.CheckLeaf(proof, 100, frontier.Root(), 40, leaves[40].Data))
}

func TestALeafThatWasChangedOnTheDiskIsNotGivenOut(t *testing.T) {
	leaves, _ := grow(t, 10)
	s := open(t, vfs.NewMem())
	defer func() { must(t, s.Close()) }()
	forged := append([]audit.Leaf(nil), leaves...)
	forged[4].Data = []byte("something else")
	must(t, s.Append(forged))
	if _, err := s.Leaf(4); err == nil {
		t.Error("it was given out")
	}
	must(t, s.Append(leaves))
	if s.Differed() == "" {
		t.Error("nobody is told that it was another one")
	}
	if _, err := s.Leaf(4); err != nil {
		t.Error(err)
	}
}

// A new voter has what came after its snapshot, and fetches what came before.
func TestAGapIsFilledWithLeavesThatProveThemselves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 150).Draw(t, "leaves")
		leaves, _ := grow(t, n)
		from := open(t, vfs.NewMem())
		to := open(t, vfs.NewMem())
		defer func() { must(t, from.Close()); must(t, to.Close()) }()
		must(t, from.Append(leaves))
		archived := uint64(rapid.IntRange(0, n-1).Draw(t, "archived"))
		must(t, from.Archive(archived))
		snapshot := rapid.IntRange(1, n).Draw(t, "snapshot")
		must(t, to.Append(leaves[snapshot:]))
		_, whole := grow(t, n)
		for range n + 1 {
			_, through := to.Range()
			if through >= uint64(n) {
				break
			}
			answer := answerOf(t, from, through, uint64(n), rapid.IntRange(1, 40).Draw(t, "batch"))
			before, err := audit.FrontierAt(to, through)
			must(t, err)
			before, got, err := audit.CheckFetched(answer, before, archived, uint64(n), whole.Root())
			must(t, err)
			if before.Size() > through {
				must(t, to.Begin(before))
			}
			must(t, to.Append(got))
		}
		at, err := audit.FrontierAt(to, uint64(n))
		if err != nil || at != whole {
			t.Fatalf("the gap is not filled: %v", err)
		}
	})
}

func answerOf(t rapid.TB, s *Store, first, target uint64, limit int) *sitev1.FetchLeavesResponse {
	begin, _ := s.Range()
	edge := s.Edge()
	answer := &sitev1.FetchLeavesResponse{First: max(first, begin)}
	if answer.First != first {
		answer.Edge = edge.Edge()
	}
	must(t, s.Each(answer.First, target, func(leaf audit.Leaf) (bool, error) {
		answer.Leaves = append(answer.Leaves, leaf.Data)
		return len(answer.GetLeaves()) < limit, nil
	}))
	var err error
	answer.Proof, err = audit.ProveTree(s, target, answer.First+uint64(len(answer.GetLeaves())))
	must(t, err)
	return answer
}

func TestForgedLeavesAreNotTaken(t *testing.T) {
	leaves, whole := grow(t, 30)
	s := open(t, vfs.NewMem())
	defer func() { must(t, s.Close()) }()
	must(t, s.Append(leaves))
	for name, forge := range map[string]func(*sitev1.FetchLeavesResponse){
		"another leaf":   func(a *sitev1.FetchLeavesResponse) { a.Leaves[3], _ = audit.Encode(&skerryv1.AuditEntry{Number: 3}) },
		"one is missing": func(a *sitev1.FetchLeavesResponse) { a.Leaves = a.Leaves[1:] },
		"no proof":       func(a *sitev1.FetchLeavesResponse) { a.Proof = nil },
		"it begins late": func(a *sitev1.FetchLeavesResponse) { a.First = 5 },
		"nothing at all": func(a *sitev1.FetchLeavesResponse) { a.Leaves = nil },
	} {
		answer := answerOf(t, s, 0, 30, 10)
		forge(answer)
		if _, _, err := audit.CheckFetched(answer, audit.Frontier{}, 0, 30, whole.Root()); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
