package state

import (
	"fmt"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// maxRetired workloads are remembered one by one.
const maxRetired = 4096

const byAge = "age"

// retired keeps the next number of deleted workloads: a placement's name is
// never used again, so that a late report about the old one cannot be taken
// for the new one.
var retired = table[*sitev1.WorkloadRecord]{
	name: "retired",
	key:  workloadKey,
	indexes: map[string]func(*sitev1.WorkloadRecord) string{
		// Fixed width, so that the order is that of the log.
		byAge: func(w *sitev1.WorkloadRecord) string {
			return fmt.Sprintf("%016x", w.GetWorkload().GetResourceVersion())
		},
	},
	ordinal: retiredOrdinal,
}

func (x *tx) retire(record *sitev1.WorkloadRecord) {
	if record.GetNextNumber() <= x.numberFloor {
		return // nothing to remember
	}
	w := record.GetWorkload()
	retired.put(x, &sitev1.WorkloadRecord{
		Workload:   &skerryv1.Workload{Project: w.GetProject(), Name: w.GetName(), ResourceVersion: x.index},
		NextNumber: record.GetNextNumber(),
	})
	if x.counts[retiredOrdinal] > maxRetired {
		oldest := x.retiredByAge()[0]
		x.numberFloor = max(x.numberFloor, oldest.GetNextNumber())
		retired.remove(x, workloadKey(oldest))
	}
}

func (x *tx) retiredByAge() []*sitev1.WorkloadRecord {
	return retired.sortedBy(x.rows, byAge)
}

// firstNumber of a new workload's placements.
func (x *tx) firstNumber(w *skerryv1.Workload) uint64 {
	k := key(w.GetProject(), w.GetName())
	before := retired.get(x.rows, k)
	retired.remove(x, k)
	return max(x.numberFloor, before.GetNextNumber())
}
