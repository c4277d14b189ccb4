package orders

import (
	"bytes"
	"compress/gzip"
	"slices"
	"sync"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

const (
	// maxChanges of the book are remembered; a stream that is further behind gets
	// all of it.
	maxChanges = 4096
	// packFrom this many bytes on it is packed.
	packFrom = 4 << 10
	// maxEncoded encodings are kept: those of streams that are equally far behind.
	maxEncoded = 64
)

// Book is the site's peers and how they changed. It is safe for concurrent use;
// its zero value is an empty book of version 0.
type Book struct {
	mu      sync.Mutex
	version uint64
	// peers as they are, by name, and sorted.
	peers map[string]*sitev1.Peer
	// changes are the names that changed, by the versions that changed them.
	changes []change
	// forgotten is the last version of which changes are missing.
	forgotten uint64
	// encoded changes from a version to the present one.
	encoded map[uint64]*sitev1.CommonOrders
}

type change struct {
	version uint64
	name    string
}

// Set takes over how peers are now: nil for those that are gone. It tells whether
// anything has changed.
func (b *Book) Set(peers map[string]*sitev1.Peer) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.peers == nil {
		b.peers = map[string]*sitev1.Peer{}
	}
	next := b.version + 1
	for name, peer := range peers {
		before := b.peers[name]
		if (peer == nil && before == nil) || (peer != nil && before != nil && proto.Equal(peer, before)) {
			continue
		}
		b.changes = append(b.changes, change{version: next, name: name})
		if peer == nil {
			delete(b.peers, name)
		} else {
			b.peers[name] = peer
		}
		b.version = next
	}
	if b.version != next {
		return false
	}
	b.encoded = nil
	if excess := len(b.changes) - maxChanges; excess > 0 {
		b.forgotten = b.changes[excess-1].version
		b.changes = slices.DeleteFunc(b.changes, func(c change) bool { return c.version <= b.forgotten })
	}
	return true
}

// Names of all peers, sorted.
func (b *Book) Names() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.names()
}

func (b *Book) names() []string {
	names := make([]string, 0, len(b.peers))
	for name := range b.peers {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Version counts changes.
func (b *Book) Version() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.version
}

// Since returns the way from a version to the present one, encoded. The first
// version of a stream is 0, before everything. What is returned must not be
// changed: all streams share it.
func (b *Book) Since(version uint64) (*sitev1.CommonOrders, uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if encoded := b.encoded[version]; encoded != nil {
		return encoded, b.version
	}
	encoded := encode(b.since(version))
	if b.encoded == nil || len(b.encoded) == maxEncoded {
		b.encoded = map[uint64]*sitev1.CommonOrders{}
	}
	b.encoded[version] = encoded
	return encoded, b.version
}

func (b *Book) since(version uint64) *sitev1.PeerBook {
	book := &sitev1.PeerBook{}
	var names []string
	if version == 0 || version < b.forgotten {
		book.Whole, names = true, b.names()
	} else {
		for _, c := range b.changes {
			if c.version > version {
				names = append(names, c.name)
			}
		}
		slices.Sort(names)
		names = slices.Compact(names)
	}
	for _, name := range names {
		if peer := b.peers[name]; peer != nil {
			book.Peers = append(book.Peers, peer)
		} else {
			book.Removed = append(book.Removed, name)
		}
	}
	return book
}

func encode(book *sitev1.PeerBook) *sitev1.CommonOrders {
	encoded, err := proto.Marshal(book)
	if err != nil {
		// Only invalid UTF-8 can do this, and that is refused on the way in.
		panic("the peers cannot be encoded: " + err.Error())
	}
	if len(encoded) < packFrom {
		return &sitev1.CommonOrders{Peers: encoded}
	}
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err = w.Write(encoded)
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic("a buffer in memory cannot be written: " + err.Error())
	}
	return &sitev1.CommonOrders{Peers: packed.Bytes(), Packed: true}
}
