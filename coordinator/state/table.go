package state

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"sync"

	"github.com/cespare/xxhash/v2"
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

// get returns the object, or nil.
func (t table[T]) get(from *rows, key string) T { return t.objectOf(from.get(t.ordinal, key)) }

// objectOf no row is nil.
func (t table[T]) objectOf(r *row) T {
	if r == nil {
		var none T
		return none
	}
	return r.object.(T)
}

// list returns all objects, sorted by key.
func (t table[T]) list(from *rows) []T {
	all := from.byKey[t.ordinal]
	if all.Len() == 0 {
		return nil
	}
	objects := make([]T, 0, all.Len())
	all.Scan(func(_ string, r *row) bool {
		objects = append(objects, r.object.(T))
		return true
	})
	return objects
}

// by returns the objects with a value in an index, sorted by key.
func (t table[T]) by(from *rows, index, value string) []T {
	var objects []T
	from.ascend(t.ordinal, index, value, func(at string, r *row) bool {
		if at != value {
			return false
		}
		objects = append(objects, r.object.(T))
		return true
	})
	return objects
}

// has tells whether any object has a value in an index.
func (t table[T]) has(from *rows, index, value string) bool {
	found := false
	from.ascend(t.ordinal, index, value, func(at string, _ *row) bool {
		found = at == value
		return false
	})
	return found
}

// sortedBy returns the objects that are in an index, sorted by value and key.
func (t table[T]) sortedBy(from *rows, index string) []T {
	var objects []T
	from.ascend(t.ordinal, index, "", func(_ string, r *row) bool {
		objects = append(objects, r.object.(T))
		return true
	})
	return objects
}

// put adds an object or replaces the one of the same key.
func (t table[T]) put(x *tx, object T) {
	t.changes(x)
	r := &row{key: t.key(object), object: object, hash: x.hash(t.name, object)}
	before, replaced := x.byKey[t.ordinal].Set(r.key, r)
	if replaced {
		x.sum -= before.hash
	} else {
		x.counts[t.ordinal]++
	}
	x.sum += r.hash
	t.follow(x, r.key, before, r)
}

// remove forgets the object of a key, if there is one.
func (t table[T]) remove(x *tx, key string) {
	before := x.rows.get(t.ordinal, key)
	if before == nil {
		return
	}
	t.changes(x)
	x.byKey[t.ordinal].Delete(key)
	x.sum -= before.hash
	x.counts[t.ordinal]--
	t.follow(x, key, before, nil)
}

// changes is said before the table does.
func (t table[T]) changes(x *tx) {
	if t.access {
		x.accessChanges()
	}
	x.toChange(t.ordinal)
}

// follow the change of an object: before or after may be nil.
func (t table[T]) follow(x *tx, key string, before, after *row) {
	x.notePlacing(t.ordinal, t.objectOf(before), t.objectOf(after))
	x.noteTouched(t.ordinal, t.objectOf(before), t.objectOf(after))
	for index := range t.indexes {
		was, is := t.valueOf(before, index), t.valueOf(after, index)
		if was == is {
			continue
		}
		if was != "" {
			x.byValue[t.ordinal].Delete(&indexed{index, was, key})
		}
		if is != "" {
			x.byValue[t.ordinal].Set(&indexed{index, is, key})
		}
	}
}

// valueOf an object in an index; empty when it is not in it.
func (t table[T]) valueOf(r *row, index string) string {
	if r == nil {
		return ""
	}
	return t.indexes[index](r.object.(T))
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
