package lifecycle

import (
	"testing"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
)

// BenchmarkPlacing gives each of 5,000 nodes one placement of a new workload:
// what a coordinator computes until that is in the log, on one core.
func BenchmarkPlacing(b *testing.B) {
	const nodes = 5000
	s := newSite(b, nodes)
	for name := range s.nodes {
		s.core.Heard(name, s.now)
	}
	// As after a join: what the first step makes of the nodes is not counted.
	s.steps(b)
	b.ReportAllocs()
	for b.Loop() {
		s.applyWorkload(testWorkload("wide", nodes))
		s.steps(b)
		b.StopTimer()
		if got := len(s.view().PlacementsOn("n4999")); got != 1 {
			b.Fatalf("n4999 has %d placements", got)
		}
		s.delete("Workload", "wide")
		s.report()
		s.steps(b)
		b.StartTimer()
	}
	b.ReportMetric(float64(b.N*nodes)/b.Elapsed().Seconds(), "placements/s")
}

// steps of the core and the log, until nothing is to be done.
func (s *site) steps(b *testing.B) {
	b.Helper()
	for range 100 {
		effects := s.core.Step(s.now, s.wall(), s.view(), Progress{Commit: s.index})
		if len(effects.Propose) == 0 {
			return
		}
		for _, entry := range effects.Propose {
			encoded, err := proto.Marshal(entry)
			if err != nil {
				b.Fatal(err)
			}
			decoded := &sitev1.Entry{}
			if err := proto.Unmarshal(encoded, decoded); err != nil {
				b.Fatal(err)
			}
			if outcome := s.apply(decoded); outcome.GetRejected() > 0 {
				b.Fatalf("%d parts were rejected", outcome.GetRejected())
			}
		}
	}
	b.Fatal("it is never content")
}
