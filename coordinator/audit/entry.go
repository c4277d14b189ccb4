package audit

import (
	"fmt"

	"google.golang.org/protobuf/proto"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// maxLeaf bounds what is parsed as one leaf.
const maxLeaf = 256 << 10

// Encode is the data of an entry's leaf.
func Encode(entry *skerryv1.AuditEntry) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(entry)
}

// Decode reads the data of leaf number.
func Decode(number uint64, data []byte) (*skerryv1.AuditEntry, error) {
	if len(data) > maxLeaf {
		return nil, fmt.Errorf("leaf %d has %d bytes, at most %d are possible", number, len(data), maxLeaf)
	}
	entry := &skerryv1.AuditEntry{}
	if err := proto.Unmarshal(data, entry); err != nil {
		return nil, fmt.Errorf("leaf %d does not parse: %w", number, err)
	}
	if entry.GetNumber() != number {
		return nil, fmt.Errorf("leaf %d says that it is leaf %d", number, entry.GetNumber())
	}
	return entry, nil
}
