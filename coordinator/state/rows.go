package state

import (
	"sync"

	"github.com/tidwall/btree"
	"google.golang.org/protobuf/proto"
)

// rows are the objects of all tables at one moment. Those that a Store has
// published never change again: an entry works on a fork, which shares with them
// all that it does not change.
type rows struct {
	// byKey finds an object, byValue the keys of those with a value in an index.
	byKey   [tableCount]*btree.Map[string, *row]
	byValue [tableCount]*btree.BTreeG[*indexed]
	// own are the tables that were copied since the fork and may be changed.
	own [tableCount]bool
	// copying is shared by all forks: a tree is copied by one at a time.
	copying *sync.Mutex
}

// keyDegree bounds what a change copies: at most 31 keys and pointers a node.
const keyDegree = 16

// row is an object in its table, with the hash that it adds to the state's.
type row struct {
	key    string
	object proto.Message
	hash   uint64
}

// indexed is the key of an object that has a value in an index of its table.
type indexed struct{ index, value, key string }

func newRows() *rows {
	r := &rows{copying: &sync.Mutex{}}
	// What is changed belongs to one goroutine, and what is published stays as it is.
	options := btree.Options{NoLocks: true}
	for i := range tableCount {
		r.byKey[i] = btree.NewMap[string, *row](keyDegree)
		r.byValue[i] = btree.NewBTreeGOptions((*indexed).less, options)
	}
	return r
}

func (a *indexed) less(b *indexed) bool {
	if a.index != b.index {
		return a.index < b.index
	}
	if a.value != b.value {
		return a.value < b.value
	}
	return a.key < b.key
}

// fork may be changed, and r stays as it is.
func (r *rows) fork() *rows {
	forked := *r
	forked.own = [tableCount]bool{}
	return &forked
}

// toChange makes the trees of a table ready to be changed.
func (r *rows) toChange(table int) {
	if r.own[table] {
		return
	}
	r.copying.Lock()
	defer r.copying.Unlock()
	r.byKey[table], r.byValue[table] = r.byKey[table].Copy(), r.byValue[table].Copy()
	r.own[table] = true
}

// get returns nil where there is no object of the key.
func (r *rows) get(table int, key string) *row {
	found, _ := r.byKey[table].Get(key)
	return found
}

// ascend through an index of a table, sorted by value and key, from a value on and
// until do says no.
func (r *rows) ascend(table int, index, from string, do func(value string, found *row) bool) {
	r.byValue[table].Ascend(&indexed{index: index, value: from}, func(at *indexed) bool {
		return at.index == index && do(at.value, r.get(table, at.key))
	})
}
