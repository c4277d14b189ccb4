package runtime

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
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

// DevicesHash identifies what of a virtual machine can come and go while it runs:
// disks and network cards.
func (s Spec) DevicesHash() string {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(&skerryv1.VirtualMachine{Disks: s.VM.GetDisks(), Networks: s.VM.GetNetworks()})
	if err != nil {
		panic("a virtual machine's devices cannot be encoded: " + err.Error())
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:16])
}
