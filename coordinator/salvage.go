package coordinator

import (
	"errors"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"

	"skerry.dev/coordinator/audit"
	"skerry.dev/coordinator/audit/leafstore"
	"skerry.dev/coordinator/consensus"
	"skerry.dev/coordinator/consensus/pebblelog"
	"skerry.dev/coordinator/state"
)

// Salvaged is all that one replica holds.
type Salvaged struct {
	State []byte
	View  *state.View
	Last  consensus.Last

	leaves []audit.Leaf
}

// Salvage reads the log of a replica that does not run. Nothing is changed.
func Salvage(dir string, id uint64, logger *slog.Logger) (salvaged *Salvaged, err error) {
	log, err := pebblelog.Open(vfs.Default, dir, logger)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	s, store := &Salvaged{}, state.New()
	store.OnLeaf(func(leaf audit.Leaf) { s.leaves = append(s.leaves, leaf) })
	if s.Last, err = consensus.Salvage(log, id, store, logger); err != nil {
		return nil, err
	}
	s.View = store.View()
	s.State, err = store.Marshal()
	return s, err
}

// CheckAudit tells whether KeepAudit will set the audit log on this disk aside. What
// else keeps it from being read is an error.
func CheckAudit(dir string, logger *slog.Logger) (damaged bool, err error) {
	err = leafstore.Check(vfs.Default, dir, logger)
	if errors.Is(err, leafstore.ErrDamaged) {
		return true, nil
	}
	return false, err
}

// KeepAudit completes the audit log on this disk with the entries that were
// salvaged. What was there and is damaged is set aside, and aside tells where.
func (s *Salvaged) KeepAudit(dir string, logger *slog.Logger) (aside string, err error) {
	leaves, err := leafstore.Open(vfs.Default, dir, logger, func(string) {})
	if err != nil {
		return "", err
	}
	return leaves.Aside(), errors.Join(leaves.Append(s.leaves), leaves.Sync(), leaves.Close())
}
