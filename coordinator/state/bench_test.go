package state

import (
	"fmt"
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// BenchmarkApplySmall changes a label of one of 16 workloads, each time under
// a new request ID, with all memories full: what the write figure measures.
func BenchmarkApplySmall(b *testing.B) {
	s := newSite(b, 3)
	entries := make([]*sitev1.Entry, b.N+2*maxRequests)
	for i := range entries {
		w := testWorkload(fmt.Sprintf("w-%d", i%16), 0)
		w.Labels = map[string]string{"n": fmt.Sprint(i)}
		entries[i] = applyEntry(w)
		entries[i].RequestId = fmt.Sprintf("w-%d-%d", i%16, i)
	}
	for _, entry := range entries[b.N:] {
		s.apply(entry)
		s.store.Hash()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for _, entry := range entries[:b.N] {
		s.apply(entry)
		s.store.Hash()
	}
}

// BenchmarkApplyStatus reports one placement of 1,000.
func BenchmarkApplyStatus(b *testing.B) {
	s := newSite(b, 1)
	s.ok(applyEntry(testWorkload("web", 1000)))
	plan := &sitev1.Plan{}
	for range 1000 {
		plan.Create = append(plan.Create, create("web", 1))
	}
	s.plan(plan)
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{{
		Node: "n1", Facts: &sitev1.NodeFacts{Capacity: &skerryv1.Capacity{CpuMilli: 1e6, MemoryBytes: 1 << 40}},
	}}}}})
	plan = &sitev1.Plan{}
	for n := range 1000 {
		plan.Assign = append(plan.Assign, assign(fmt.Sprintf("web-%d", n+1), "n1"))
	}
	if rejected := s.plan(plan); rejected != 0 {
		b.Fatal(rejected)
	}
	b.ReportAllocs()
	revision := uint64(0)
	for b.Loop() {
		revision++
		s.report("n1", fmt.Sprintf("web-%d", 1+revision%1000),
			&skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Revision: revision, Restarts: uint32(revision)}, false)
	}
}
