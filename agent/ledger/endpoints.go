package ledger

import (
	"path/filepath"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
)

// Endpoints are the copy that was kept when the ledger was opened; nil when
// there was none.
func (l *Ledger) Endpoints() *sitev1.EndpointCopy { return l.names }

// KeepEndpoints keeps a copy of the site's endpoints, durably.
func (l *Ledger) KeepEndpoints(endpoints *sitev1.EndpointCopy) error {
	return write(l.files, filepath.Join(l.dir, endpointsFile), endpoints)
}

// readEndpoints is nil also when the file is damaged: the coordinator sends them
// again.
func readEndpoints(files env.FS, path string) *sitev1.EndpointCopy {
	encoded, err := readSummed(files, path)
	if encoded == nil || err != nil {
		return nil
	}
	kept := &sitev1.EndpointCopy{}
	if proto.Unmarshal(encoded, kept) != nil {
		return nil
	}
	return kept
}
