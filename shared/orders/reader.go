package orders

import (
	"bytes"
	"compress/gzip"
	"io"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

// maxPeers bounds a peer book in bytes, unpacked.
const maxPeers = 32 << 20

// Reader puts the orders of one stream together. Its zero value has read
// nothing.
type Reader struct {
	common *sitev1.Assignments
	begun  bool
	peers  []*sitev1.Peer
}

// Read returns the orders of a message, whole: the node's own, which name nothing
// of what is common, and that. All orders of a stream share what is common while it
// stays as it is, so it must not be changed.
func (r *Reader) Read(response *sitev1.SyncResponse) (*sitev1.Assignments, error) {
	common := response.GetCommon()
	if common == nil && !r.begun {
		return nil, problem.New(problem.Invalid, "orders", "they lack what all nodes have in common")
	}
	r.begun = true
	if len(common.GetOrders()) > 0 {
		r.common = &sitev1.Assignments{}
		if err := proto.Unmarshal(common.GetOrders(), r.common); err != nil {
			return nil, problem.New(problem.Invalid, "orders", "what all nodes have in common does not parse: %w", err)
		}
	}
	if err := r.turn(common); err != nil {
		return nil, problem.New(problem.Invalid, "orders", "the peers do not parse: %w", err)
	}
	orders := &sitev1.Assignments{}
	Share(orders, r.common)
	Share(orders, response.GetAssignments())
	orders.Peers = r.peers
	return orders, nil
}

// Share sets the fields of orders that others have. What is behind them is shared.
func Share(orders, others *sitev1.Assignments) {
	to := orders.ProtoReflect()
	others.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		to.Set(field, value)
		return true
	})
}

// turn the pages of the book. The slice of before is left alone: others hold it.
func (r *Reader) turn(common *sitev1.CommonOrders) error {
	encoded := common.GetPeers()
	if len(encoded) == 0 {
		return nil
	}
	if common.GetPacked() {
		var err error
		if encoded, err = unpack(encoded); err != nil {
			return err
		}
	}
	book := &sitev1.PeerBook{}
	if err := proto.Unmarshal(encoded, book); err != nil {
		return err
	}
	if book.GetWhole() {
		r.peers = book.GetPeers()
		return nil
	}
	next := make(map[string]*sitev1.Peer, len(r.peers)+len(book.GetPeers()))
	for _, peer := range r.peers {
		next[peer.GetName()] = peer
	}
	for _, peer := range book.GetPeers() {
		next[peer.GetName()] = peer
	}
	for _, name := range book.GetRemoved() {
		delete(next, name)
	}
	r.peers = make([]*sitev1.Peer, 0, len(next))
	for _, peer := range next {
		r.peers = append(r.peers, peer)
	}
	slices.SortFunc(r.peers, func(a, b *sitev1.Peer) int { return strings.Compare(a.GetName(), b.GetName()) })
	return nil
}

func unpack(packed []byte) ([]byte, error) {
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	encoded, err := io.ReadAll(io.LimitReader(reader, maxPeers+1))
	if err == nil && len(encoded) > maxPeers {
		return nil, problem.New(problem.Invalid, "peers", "they are more than %d bytes", maxPeers)
	}
	return encoded, err
}
