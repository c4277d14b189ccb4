package ledger

import (
	"path/filepath"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// leasesFile holds which placements once began under a lease.
const leasesFile = "leases.pb"

// Begun are the placements that once began here under a lease.
func (l *Ledger) Begun() []string {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.begun
}

// KeepBegun keeps them, durably.
func (l *Ledger) KeepBegun(begun []string) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if err := write(l.files, filepath.Join(l.dir, leasesFile), &sitev1.LeasesBegun{Placements: begun}); err != nil {
		return problem.New(problem.Internal, l.dir, "what runs under a lease could not be noted: %w", err).WithHint("is the disk full?")
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun = begun
	return nil
}

func readBegun(files env.FS, path string) ([]string, error) {
	encoded, err := readSummed(files, path)
	if encoded == nil || err != nil {
		return nil, err
	}
	message := &sitev1.LeasesBegun{}
	err = proto.Unmarshal(encoded, message)
	return message.GetPlacements(), err
}
