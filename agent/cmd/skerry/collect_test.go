package main

import "testing"

func TestAHeapGrowsByLessWhereThereIsMuch(t *testing.T) {
	for live, want := range map[uint64]int{0: 200, 1 << 20: 200, 32 << 20: 200, 64 << 20: 100, 100 << 20: 64, 128 << 20: 50, 4 << 30: 50} {
		if got := growth(live); got != want {
			t.Errorf("%d MiB may grow by %d percent, want %d", live>>20, got, want)
		}
	}
}
