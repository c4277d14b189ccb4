package check

import (
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestFits(t *testing.T) {
	nodes := map[string]*skerryv1.Capacity{"n1": {CpuMilli: 1000, MemoryBytes: 1 << 30}, "n2": {CpuMilli: 1000, MemoryBytes: 1 << 30}}
	bound := func(node, name string, cpu, memory int64, ports ...string) Bound {
		return Bound{Node: node, Name: name, Needs: Needs{CPUMilli: cpu, MemoryBytes: memory, HostPorts: ports}}
	}
	for _, test := range []struct {
		name  string
		bound []Bound
		want  Rule
	}{
		{"exactly full is fine", []Bound{bound("n1", "a", 500, 1<<29), bound("n1", "b", 500, 1<<29)}, ""},
		{"the same port on two nodes is fine", []Bound{bound("n1", "a", 1, 1, "80/tcp"), bound("n2", "b", 1, 1, "80/tcp")}, ""},
		{"the same port twice on a node", []Bound{bound("n1", "a", 1, 1, "80/tcp"), bound("n1", "b", 1, 1, "80/tcp")}, Capacity},
		{"too much CPU", []Bound{bound("n1", "a", 500, 1), bound("n1", "b", 501, 1)}, Capacity},
		{"too much memory", []Bound{bound("n1", "a", 1, 1<<30), bound("n1", "b", 1, 1)}, Capacity},
		{"an unknown node has no room", []Bound{bound("n9", "a", 1, 1)}, Capacity},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := first(Fits(nodes, test.bound)); got != test.want {
				t.Errorf("broke %q, want %q", got, test.want)
			}
		})
	}
}
