package runtime

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"google.golang.org/protobuf/proto"
)

// Hash identifies the spec: equal specs have equal hashes, across restarts.
func (s Spec) Hash() string {
	h := sha256.New()
	for _, text := range []string{s.ID, s.Project, s.Placement, s.Workload, s.ImageDigest} {
		h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(text))))
		h.Write([]byte(text))
	}
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(s.CPUMilli)))
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(s.MemoryBytes)))
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(s.Container)
	if err != nil {
		// Only invalid UTF-8 can do this, and that is refused on the way in.
		panic("a container's template cannot be encoded: " + err.Error())
	}
	h.Write(encoded)
	if s.VM != nil {
		encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(s.VM)
		if err != nil {
			panic("a virtual machine's template cannot be encoded: " + err.Error())
		}
		h.Write([]byte("vm"))
		h.Write(encoded)
	}
	if s.Identity {
		h.Write([]byte("identity"))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}
