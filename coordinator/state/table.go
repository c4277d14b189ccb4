package state

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
)

// table is one kind of object: how it is found and how many there may be.
type table[T proto.Message] struct {
	name string
	// key is unique.
	key func(T) string
	// indexes give a value to find objects by; empty: the object is not in the
	// index.
	indexes map[string]func(T) string
	// ordinal of the table's count.
	ordinal int
	// access: calls are judged by its objects.
	access bool
}

// Every table has a number for its count.
const (
	nodesOrdinal = iota
	workloadsOrdinal
	retiredOrdinal
	placementsOrdinal
	imagesOrdinal
	operatorsOrdinal
	tokensOrdinal
	policiesOrdinal
	projectsOrdinal
	secretsOrdinal
	secretKeysOrdinal
	recoveryKeysOrdinal
	settingsOrdinal
	revisionsOrdinal
	volumesOrdinal
	tableCount
)

// row is an object in its table, with the hash that it adds to the state's.
type row[T proto.Message] struct {
	object T
	hash   uint64
}

const primary = "id" // the name that go-memdb asks for

func (t table[T]) schema() *memdb.TableSchema {
	s := &memdb.TableSchema{Name: t.name, Indexes: map[string]*memdb.IndexSchema{
		primary: {Name: primary, Unique: true, Indexer: indexer[T]{t.key}},
	}}
	for name, value := range t.indexes {
		s.Indexes[name] = &memdb.IndexSchema{Name: name, AllowMissing: true, Indexer: indexer[T]{value}}
	}
	return s
}

// indexer tells go-memdb the value of an object in an index. The zero byte
// ends the value, so that no value is the beginning of another.
type indexer[T proto.Message] struct{ value func(T) string }

func (i indexer[T]) FromObject(object any) (bool, []byte, error) {
	value := i.value(object.(*row[T]).object)
	return value != "", append([]byte(value), 0), nil
}

func (i indexer[T]) FromArgs(args ...any) ([]byte, error) {
	return append([]byte(args[0].(string)), 0), nil
}

// get returns the object, or nil.
func (t table[T]) get(txn *memdb.Txn, key string) T {
	if r := t.row(txn, key); r != nil {
		return r.object
	}
	var none T
	return none
}

func (t table[T]) row(txn *memdb.Txn, key string) *row[T] {
	found, err := txn.First(t.name, primary, key)
	must(err)
	if found == nil {
		return nil
	}
	return found.(*row[T])
}

// list returns all objects, sorted by key.
func (t table[T]) list(txn *memdb.Txn) []T { return t.collect(txn.Get(t.name, primary)) }

// by returns the objects with a value in an index, sorted by key.
func (t table[T]) by(txn *memdb.Txn, index, value string) []T {
	return t.collect(txn.Get(t.name, index, value))
}

func (t table[T]) collect(rows memdb.ResultIterator, err error) []T {
	must(err)
	var objects []T
	for found := rows.Next(); found != nil; found = rows.Next() {
		objects = append(objects, found.(*row[T]).object)
	}
	return objects
}

// put adds an object or replaces the one of the same key.
func (t table[T]) put(x *tx, object T) {
	if t.access {
		x.accessChanges()
	}
	var before T
	if old := t.row(x.Txn, t.key(object)); old != nil {
		x.sum -= old.hash
		before = old.object
	} else {
		x.counts[t.ordinal]++
	}
	x.notePlacing(t.ordinal, before, object)
	x.noteTouched(t.ordinal, before, object)
	r := &row[T]{object: object, hash: x.hash(t.name, object)}
	x.sum += r.hash
	must(x.Insert(t.name, r))
}

// remove forgets the object of a key, if there is one.
func (t table[T]) remove(x *tx, key string) {
	old := t.row(x.Txn, key)
	if old == nil {
		return
	}
	if t.access {
		x.accessChanges()
	}
	x.sum -= old.hash
	x.counts[t.ordinal]--
	x.notePlacing(t.ordinal, old.object, nil)
	x.noteTouched(t.ordinal, old.object, nil)
	must(x.Delete(t.name, old))
}

// must asserts what only a wrong schema could break.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("state: %v", err))
	}
}

// hasher hashes objects into one number each. The state's hash is the sum of
// them, so that an entry costs what it changes and not what there is. It finds
// mistakes; it is no defence against a voter that lies.
type hasher struct{ buffer []byte }

func (h *hasher) hash(kind string, object proto.Message) uint64 {
	h.buffer = append(append(h.buffer[:0], kind...), 0)
	encoded, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend(h.buffer, object)
	must(err) // only invalid UTF-8 can fail, and that does not parse
	h.buffer = encoded
	return xxhash.Sum64(encoded)
}

// scalars hashes single values.
func (h *hasher) scalars(texts []string, numbers ...uint64) uint64 {
	h.buffer = h.buffer[:0]
	for _, text := range texts {
		h.buffer = append(append(h.buffer, text...), 0)
	}
	for _, number := range numbers {
		h.buffer = binary.LittleEndian.AppendUint64(h.buffer, number)
	}
	return xxhash.Sum64(h.buffer)
}

// shallow copies a message but not what it points to: the way to change an
// object without touching the one that readers hold. It goes through the fields
// of the struct: protobuf's own reflection costs ten times as much.
func shallow[T proto.Message](object T) T {
	from := reflect.ValueOf(object).Elem()
	copied := reflect.New(from.Type())
	to := copied.Elem()
	for _, i := range fieldsOf(from.Type()) {
		to.Field(i).Set(from.Field(i))
	}
	return copied.Interface().(T)
}

// fields of each type of message.
var fields sync.Map

// fieldsOf a message are all that it consists of; what protobuf keeps for itself
// has no exported name.
func fieldsOf(message reflect.Type) []int {
	if known, ok := fields.Load(message); ok {
		return known.([]int)
	}
	var exported []int
	for i := range message.NumField() {
		if message.Field(i).IsExported() {
			exported = append(exported, i)
		}
	}
	fields.Store(message, exported)
	return exported
}
