package audit

import (
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// maxLevels of a tree: more leaves than can ever be written.
const maxLevels = 62

// Frontier is the right edge of a tree: all that is needed to add leaves and to
// know its root. The zero value is the empty tree.
type Frontier struct {
	size uint64
	// levels holds the complete subtree of 2^level leaves where size has that
	// bit.
	levels [maxLevels]tlog.Hash
}

// Leaf is one leaf on its way to where leaves are kept.
type Leaf struct {
	Number uint64
	// Data is what was hashed: an encoded AuditEntry.
	Data []byte
	// Hashes of the subtrees that this leaf completes, the leaf's own first.
	Hashes []tlog.Hash
}

// Size is how many leaves there are.
func (f *Frontier) Size() uint64 { return f.size }

// Append adds a leaf; the data is the leaf's afterwards.
func (f *Frontier) Append(data []byte) Leaf {
	number := f.size
	return Leaf{Number: number, Data: data, Hashes: f.add(make([]tlog.Hash, 0, 1+bits.TrailingZeros64(^number)), data)}
}

// add appends the completed hashes to into.
func (f *Frontier) add(into []tlog.Hash, data []byte) []tlog.Hash {
	h := tlog.RecordHash(data)
	into = append(into, h)
	level := 0
	for ; f.size>>level&1 == 1; level++ {
		h = tlog.NodeHash(f.levels[level], h)
		f.levels[level] = tlog.Hash{}
		into = append(into, h)
	}
	f.levels[level] = h
	f.size++
	return into
}

// Root of the tree: that of RFC 6962, of the empty tree the hash of nothing.
func (f *Frontier) Root() tlog.Hash {
	if f.size == 0 {
		return emptyRoot
	}
	level := bits.TrailingZeros64(f.size)
	h := f.levels[level]
	for level++; level < maxLevels; level++ {
		if f.size>>level&1 == 1 {
			h = tlog.NodeHash(f.levels[level], h)
		}
	}
	return h
}

// emptyRoot is SHA-256 of no bytes.
var emptyRoot = func() tlog.Hash {
	h, err := tlog.TreeHash(0, nil)
	if err != nil {
		panic("tlog: the empty tree has no hash: " + err.Error())
	}
	return h
}()

// Edge is the hashes of the complete subtrees, largest first.
func (f *Frontier) Edge() [][]byte {
	var edge [][]byte
	for level := maxLevels - 1; level >= 0; level-- {
		if f.size>>level&1 == 1 {
			edge = append(edge, append([]byte(nil), f.levels[level][:]...))
		}
	}
	return edge
}

// AppendEdge appends the bytes of the edge, for hashing.
func (f *Frontier) AppendEdge(into []byte) []byte {
	for left := f.size; left != 0; left &= left - 1 {
		into = append(into, f.levels[bits.TrailingZeros64(left)][:]...)
	}
	return into
}

// FrontierOf puts a frontier together from its size and edge.
func FrontierOf(size uint64, edge [][]byte) (Frontier, error) {
	f := Frontier{size: size}
	if size>>maxLevels != 0 || bits.OnesCount64(size) != len(edge) {
		return Frontier{}, fmt.Errorf("a tree of %d leaves cannot have an edge of %d subtrees", size, len(edge))
	}
	for level := maxLevels - 1; level >= 0; level-- {
		if size>>level&1 == 0 {
			continue
		}
		if len(edge[0]) != tlog.HashSize {
			return Frontier{}, fmt.Errorf("a hash has %d bytes", len(edge[0]))
		}
		f.levels[level] = tlog.Hash(edge[0])
		edge = edge[1:]
	}
	return f, nil
}

// Subtree implements Hashes for the complete subtrees at the edge.
func (f *Frontier) Subtree(level int, end uint64) (tlog.Hash, error) {
	if level >= maxLevels || f.size>>level&1 == 0 || f.size>>level<<level != end {
		return tlog.Hash{}, fmt.Errorf("the subtree of level %d before leaf %d is not at the edge of a tree of %d", level, end, f.size)
	}
	return f.levels[level], nil
}

// grow adds a leaf and gives nothing out.
func (f *Frontier) grow(data []byte) {
	var room [maxLevels]tlog.Hash
	f.add(room[:0], data)
}
