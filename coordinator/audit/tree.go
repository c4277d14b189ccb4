package audit

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Hashes gives the hash of the complete subtree of 2^level leaves that ends
// before leaf end. It is kept with leaf end-1, or, when that was archived, apart.
type Hashes interface {
	Subtree(level int, end uint64) (tlog.Hash, error)
}

// reader lets tlog read the hashes.
type reader struct{ hashes Hashes }

func (r reader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	found := make([]tlog.Hash, 0, len(indexes))
	for _, index := range indexes {
		level, n := tlog.SplitStoredHashIndex(index)
		h, err := r.hashes.Subtree(level, uint64(n+1)<<level)
		if err != nil {
			return nil, err
		}
		found = append(found, h)
	}
	return found, nil
}

// RootAt is the root of the tree's first size leaves.
func RootAt(hashes Hashes, size uint64) (tlog.Hash, error) {
	return tlog.TreeHash(int64(size), reader{hashes})
}

// FrontierAt is the frontier of the tree's first size leaves.
func FrontierAt(hashes Hashes, size uint64) (Frontier, error) {
	f := Frontier{size: size}
	for level, end := maxLevels-1, uint64(0); level >= 0; level-- {
		if size>>level&1 == 0 {
			continue
		}
		end += 1 << level
		h, err := hashes.Subtree(level, end)
		if err != nil {
			return Frontier{}, err
		}
		f.levels[level] = h
	}
	return f, nil
}

// ProveLeaf proves that a leaf is in the tree of the first size leaves.
func ProveLeaf(hashes Hashes, size, number uint64) ([][]byte, error) {
	if number >= size {
		return nil, fmt.Errorf("leaf %d is not in a tree of %d", number, size)
	}
	proof, err := tlog.ProveRecord(int64(size), int64(number), reader{hashes})
	return pack(proof), err
}

// CheckLeaf checks such a proof.
func CheckLeaf(proof [][]byte, size uint64, root tlog.Hash, number uint64, data []byte) error {
	hashes, err := unpack(proof)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(hashes, int64(size), root, int64(number), tlog.RecordHash(data))
}

// ProveTree proves that the tree of the first older leaves is the beginning of
// that of size.
func ProveTree(hashes Hashes, size, older uint64) ([][]byte, error) {
	if older > size {
		return nil, fmt.Errorf("a tree of %d is not the beginning of one of %d", older, size)
	}
	if older == 0 || older == size {
		return nil, nil
	}
	proof, err := tlog.ProveTree(int64(size), int64(older), reader{hashes})
	return pack(proof), err
}

// CheckTree checks such a proof.
func CheckTree(proof [][]byte, size uint64, root tlog.Hash, older uint64, olderRoot tlog.Hash) error {
	if older == size {
		if root != olderRoot {
			return fmt.Errorf("the trees of %d leaves differ", size)
		}
		return nil
	}
	if older == 0 || older > size {
		return fmt.Errorf("a tree of %d leaves proves nothing about one of %d", older, size)
	}
	hashes, err := unpack(proof)
	if err != nil {
		return err
	}
	return tlog.CheckTree(hashes, int64(size), root, int64(older), olderRoot)
}

func pack(hashes []tlog.Hash) [][]byte {
	packed := make([][]byte, 0, len(hashes))
	for _, h := range hashes {
		packed = append(packed, h[:])
	}
	return packed
}

func unpack(packed [][]byte) ([]tlog.Hash, error) {
	if len(packed) > 2*maxLevels {
		return nil, fmt.Errorf("a proof of %d hashes is too long", len(packed))
	}
	hashes := make([]tlog.Hash, 0, len(packed))
	for _, p := range packed {
		if len(p) != tlog.HashSize {
			return nil, fmt.Errorf("a hash has %d bytes", len(p))
		}
		hashes = append(hashes, tlog.Hash(p))
	}
	return hashes, nil
}
