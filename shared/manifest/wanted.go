package manifest

import skerryv1 "skerry.dev/shared/api/skerry/v1"

// Wanted is how many placements a workload should have now. Whoever needs to
// know asks here: what a workload declares is not the only thing that decides.
func Wanted(w *skerryv1.Workload) int { return int(w.GetReplicas()) }
