package orders

import (
	"fmt"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// However the peers change and however often a stream is told: what it puts
// together is what there is.
func TestAStreamEndsUpWithTheWholeBook(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var book Book
		var reader Reader
		truth := map[string]*sitev1.Peer{}
		version := uint64(0)
		for range rapid.IntRange(1, 20).Draw(t, "rounds") {
			change := map[string]*sitev1.Peer{}
			for range rapid.IntRange(0, 30).Draw(t, "changes") {
				name := fmt.Sprintf("n%d", rapid.IntRange(0, 40).Draw(t, "node"))
				if rapid.Bool().Draw(t, "gone") {
					change[name] = nil
					delete(truth, name)
				} else {
					change[name] = &sitev1.Peer{Name: name, Address: fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "address"), "-long-enough-to-be-packed-when-there-are-many-of-them-in-the-book")}
					truth[name] = change[name]
				}
			}
			book.Set(change)
			if rapid.Bool().Draw(t, "busy") {
				continue
			}
			common, now := book.Since(version)
			version = now
			common = proto.CloneOf(common)
			common.Orders = []byte{}
			got, err := reader.Read(&sitev1.SyncResponse{Common: common, Message: &sitev1.SyncResponse_Assignments{
				Assignments: &sitev1.Assignments{RaftId: 7},
			}})
			if err != nil || got.GetRaftId() != 7 {
				t.Fatal(err, got)
			}
			if len(got.GetPeers()) != len(truth) {
				t.Fatalf("%d peers, there are %d", len(got.GetPeers()), len(truth))
			}
			for i, peer := range got.GetPeers() {
				if !proto.Equal(peer, truth[peer.GetName()]) || i > 0 && got.GetPeers()[i-1].GetName() >= peer.GetName() {
					t.Fatalf("peer %d is %v, not %v", i, peer, truth[peer.GetName()])
				}
			}
		}
	})
}

func TestAStreamThatIsTooFarBehindGetsTheWholeBook(t *testing.T) {
	var book Book
	set := func(i int) {
		name := fmt.Sprint("n", i%100)
		book.Set(map[string]*sitev1.Peer{name: {Name: name, Address: fmt.Sprint(i)}})
	}
	set(0)
	_, early := book.Since(0)
	for i := range 2 * maxChanges {
		set(i + 1)
	}
	if got := book.since(early); !got.GetWhole() || len(got.GetPeers()) != 100 {
		t.Errorf("whole is %v, with %d peers", got.GetWhole(), len(got.GetPeers()))
	}
	if got := book.since(book.Version() - 1); got.GetWhole() || len(got.GetPeers()) != 1 {
		t.Errorf("a stream that lacks one change: whole is %v, with %d peers", got.GetWhole(), len(got.GetPeers()))
	}
}

func TestOrdersWithoutWhatIsCommonAreRefused(t *testing.T) {
	var reader Reader
	message := &sitev1.SyncResponse{Message: &sitev1.SyncResponse_Assignments{Assignments: &sitev1.Assignments{}}}
	if _, err := reader.Read(message); err == nil {
		t.Error("a stream that begins without it was read")
	}
	message.Common = &sitev1.CommonOrders{Peers: []byte("no gzip"), Packed: true}
	if _, err := reader.Read(message); err == nil {
		t.Error("peers that do not unpack were read")
	}
	encoded, err := proto.Marshal(&sitev1.Assignments{Site: "harbour", GossipKey: []byte{1}})
	if err != nil {
		t.Fatal(err)
	}
	message.Common = &sitev1.CommonOrders{Orders: encoded}
	for range 2 { // the second time it is left out
		if got, err := reader.Read(message); err != nil || got.GetSite() != "harbour" || len(got.GetGossipKey()) != 1 {
			t.Errorf("%v, %v", got, err)
		}
		message.Common = nil
	}
}

func FuzzRead(f *testing.F) {
	var book Book
	book.Set(map[string]*sitev1.Peer{"n1": {Name: "n1", Address: "n1:7600"}})
	whole, _ := book.Since(0)
	common, err := proto.Marshal(&sitev1.Assignments{Site: "reef"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(common, whole.GetPeers(), whole.GetPacked())
	f.Add([]byte{0xff}, []byte{0x1f, 0x8b, 0}, true)
	f.Fuzz(func(t *testing.T, common, peers []byte, packed bool) {
		var r Reader
		orders, err := r.Read(&sitev1.SyncResponse{Common: &sitev1.CommonOrders{Orders: common, Peers: peers, Packed: packed}})
		if err != nil {
			return
		}
		// What was taken once is taken again, and the same.
		again, err := r.Read(&sitev1.SyncResponse{Common: &sitev1.CommonOrders{}})
		if err != nil || !proto.Equal(orders, again) {
			t.Errorf("it gives %v, %v", again, err)
		}
	})
}

func TestOrdersOfAStreamShareWhatIsCommonAndNothingElse(t *testing.T) {
	var reader Reader
	common, err := proto.Marshal(&sitev1.Assignments{Site: "rock", SiteId: "id", Trust: []*sitev1.TrustVersion{{Body: []byte("first")}}})
	if err != nil {
		t.Fatal(err)
	}
	read := func(common *sitev1.CommonOrders, own *sitev1.Assignments) *sitev1.Assignments {
		t.Helper()
		whole, err := reader.Read(&sitev1.SyncResponse{Common: common, Message: &sitev1.SyncResponse_Assignments{Assignments: own}})
		if err != nil {
			t.Fatal(err)
		}
		return whole
	}
	first := read(&sitev1.CommonOrders{Orders: common}, &sitev1.Assignments{RaftId: 7, GossipKey: []byte("key")})
	second := read(nil, &sitev1.Assignments{RaftId: 8})
	want := &sitev1.Assignments{Site: "rock", SiteId: "id", RaftId: 8, Trust: first.GetTrust()}
	if !proto.Equal(second, want) {
		t.Errorf("the second orders are %v, not %v", second, want)
	}
	if first.GetTrust()[0] != second.GetTrust()[0] || first.GetRaftId() != 7 {
		t.Errorf("the first orders are %v now", first)
	}
}
