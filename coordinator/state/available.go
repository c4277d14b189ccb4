package state

import (
	"math"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

// Unlimited is more than a workload can have.
const Unlimited = math.MaxInt32

// Spare is how many healthy placements of a workload may be ended now, given
// all that carry its name: afterwards as many are healthy as its minAvailable
// asks for. Of a workload that asks for nothing, so many may be missing as
// otherwise says; of a job all, whose attempts are made anew. What is not healthy
// helps nobody, and may be ended always.
func Spare(w *skerryv1.Workload, all []*skerryv1.Placement, otherwise int) int {
	if manifest.IsJob(w) {
		return Unlimited
	}
	wanted := manifest.Wanted(w)
	least := wanted - otherwise
	if w.GetMinAvailable() != "" {
		// The state takes none that cannot be read. More than are wanted there cannot be.
		if asked, err := manifest.Available(w.GetMinAvailable(), wanted); err == nil {
			least = min(asked, wanted)
		}
	} else if otherwise >= Unlimited {
		return Unlimited
	}
	healthy := 0
	for _, p := range all {
		if IsHealthy(p) {
			healthy++
		}
	}
	return max(0, healthy-least)
}
