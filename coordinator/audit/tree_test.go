package audit

import (
	"fmt"
	"testing"

	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

// memory keeps leaves for tests.
type memory struct {
	leaves []Leaf
	first  uint64
	edge   Frontier
}

func (m *memory) Subtree(level int, end uint64) (tlog.Hash, error) {
	if end <= m.first {
		return m.edge.Subtree(level, end)
	}
	return m.leaves[end-1].Hashes[level], nil
}

func grow(n int) (*memory, *Frontier) {
	m, f := &memory{}, &Frontier{}
	for i := range n {
		m.leaves = append(m.leaves, f.Append(fmt.Appendf(nil, "leaf %d", i)))
		if m.leaves[i].Number != uint64(i) {
			panic(fmt.Sprintf("leaf %d has number %d", i, m.leaves[i].Number))
		}
	}
	return m, f
}

func TestTheFrontierHasTheRootOfTheWholeTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 300).Draw(t, "leaves")
		m, f := grow(n)
		root, err := RootAt(m, uint64(n))
		if err != nil || root != f.Root() {
			t.Fatalf("root of %d: %v, %v", n, root, err)
		}
		again, err := FrontierOf(f.Size(), f.Edge())
		if err != nil || again != *f {
			t.Fatalf("the edge does not give the frontier back: %v", err)
		}
		older := rapid.IntRange(0, n).Draw(t, "older")
		at, err := FrontierAt(m, uint64(older))
		if _, short := grow(older); err != nil || at != *short {
			t.Fatalf("frontier at %d of %d: %v", older, n, err)
		}
	})
}

func TestProofsHoldForWhatTheyProveAndNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 300).Draw(t, "leaves")
		m, f := grow(n)
		number := rapid.IntRange(0, n-1).Draw(t, "number")
		proof, err := ProveLeaf(m, uint64(n), uint64(number))
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckLeaf(proof, uint64(n), f.Root(), uint64(number), m.leaves[number].Data); err != nil {
			t.Fatal(err)
		}
		if CheckLeaf(proof, uint64(n), f.Root(), uint64(number), []byte("another leaf")) == nil {
			t.Fatal("another leaf was proved")
		}
		older := rapid.IntRange(1, n).Draw(t, "older")
		_, short := grow(older)
		tree, err := ProveTree(m, uint64(n), uint64(older))
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckTree(tree, uint64(n), f.Root(), uint64(older), short.Root()); err != nil {
			t.Fatal(err)
		}
		forked := tlog.RecordHash([]byte("forked"))
		if CheckTree(tree, uint64(n), f.Root(), uint64(older), forked) == nil {
			t.Fatal("a fork was proved")
		}
	})
}

func TestWhatIsLeftAfterAnArchiveIsStillProvable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 300).Draw(t, "leaves")
		m, f := grow(n)
		m.first = uint64(rapid.IntRange(0, n-1).Draw(t, "archived"))
		edge, err := FrontierAt(&memory{leaves: m.leaves}, m.first)
		if err != nil {
			t.Fatal(err)
		}
		m.edge = edge
		number := rapid.IntRange(int(m.first), n-1).Draw(t, "number")
		proof, err := ProveLeaf(m, uint64(n), uint64(number))
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckLeaf(proof, uint64(n), f.Root(), uint64(number), m.leaves[number].Data); err != nil {
			t.Fatal(err)
		}
		older := rapid.IntRange(int(m.first), n).Draw(t, "older")
		if _, err := ProveTree(m, uint64(n), uint64(older)); err != nil {
			t.Fatal(err)
		}
	})
}
