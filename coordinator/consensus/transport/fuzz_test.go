package transport

import (
	"bytes"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// Whatever a peer sends: it is refused, or it is a message that reads the same
// when it is sent on.
func FuzzReadFrame(f *testing.F) {
	var frame bytes.Buffer
	if err := writeFrame(&frame, &raftpb.Message{From: proto.Uint64(1), To: proto.Uint64(2)}); err != nil {
		f.Fatal(err)
	}
	f.Add(frame.Bytes())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		message, err := readFrame(bytes.NewReader(data))
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := writeFrame(&again, message); err != nil {
			t.Fatal(err)
		}
		same, err := readFrame(&again)
		if err != nil || !proto.Equal(message, same) {
			t.Errorf("%v became %v: %v", message, same, err)
		}
	})
}
