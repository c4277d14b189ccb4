package consensus

import (
	"fmt"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// hashRing remembers the state's hash after each of the last entries.
type hashRing struct {
	at   [2 * checkEvery]struct{ index, hash uint64 }
	next int
	full bool
}

func (h *hashRing) add(index, hash uint64) {
	h.at[h.next].index, h.at[h.next].hash = index, hash
	h.next = (h.next + 1) % len(h.at)
	h.full = h.full || h.next == 0
}

func (h *hashRing) last() (index, hash uint64, ok bool) {
	if h.next == 0 && !h.full {
		return 0, 0, false
	}
	last := h.at[(h.next+len(h.at)-1)%len(h.at)]
	return last.index, last.hash, true
}

// compare fails when this replica's state differs from the coordinator's. An
// index that is not remembered proves nothing.
func (h *hashRing) compare(check *sitev1.CheckHash) error {
	for _, own := range h.at {
		if own.index == check.GetIndex() && own.hash != check.GetHash() {
			return fmt.Errorf("this replica's state differs from the coordinator's at index %d: hash %x, not %x",
				check.GetIndex(), own.hash, check.GetHash())
		}
	}
	return nil
}
