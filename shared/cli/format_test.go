package cli

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAgesSizesAndCores(t *testing.T) {
	day := 24 * time.Hour
	got := []string{
		age(-time.Second), age(59 * time.Second), age(time.Minute), age(192 * time.Second), age(5*time.Hour + 3*time.Minute),
		age(2*day + 4*time.Hour), age(34 * day),
		size(0), size(1023), size(1024), size(1<<20 - 1), size(3_400_000), size(5 << 40),
		cores(4000), cores(250), cores(0), cores(1001),
		plural(0, "node"), plural(1, "node"), plural(2, "node"),
	}
	want := []string{
		"0s", "59s", "1m", "3m12s", "5h3m", "2d4h", "34d",
		"0 B", "1023 B", "1.0 KiB", "1.0 MiB", "3.2 MiB", "5.0 TiB",
		"4", "0.25", "0", "1.001",
		"0 nodes", "1 node", "2 nodes",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPlacementsAreSortedByTheirNumbers(t *testing.T) {
	for _, pair := range [][2]string{{"web-2", "web-10"}, {"web", "web-1"}, {"db-9", "web-1"}, {"a-b", "a-c"}} {
		if compareNames(pair[0], pair[1]) >= 0 || compareNames(pair[1], pair[0]) <= 0 {
			t.Errorf("%s does not come before %s", pair[0], pair[1])
		}
	}
}
