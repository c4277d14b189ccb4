package check

import (
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestLifecycle(t *testing.T) {
	p := &skerryv1.Placement{Name: "web-1"}
	for _, test := range []struct {
		name string
		got  *Violation
		want Rule
	}{
		{"the lower gives way", GaveWay(p, 0, "db-1", 10, false), ""},
		{"equals give way", GaveWay(p, 10, "db-1", 10, false), Priority},
		{"what stays gives way", GaveWay(p, 0, "db-1", 10, true), Priority},
		{"enough are left", StaysAvailable("web", []string{"web-1"}, 2, 2), ""},
		{"too few are left", StaysAvailable("web", []string{"web-1"}, 1, 2), MinAvailable},
		{"too few by themselves", StaysAvailable("web", nil, 1, 2), ""},
		{"a node in service", GotNode("web-1", "n1", false, false), ""},
		{"a node out of service", GotNode("web-1", "n1", true, false), OutOfService},
		{"what stays comes back to its node", GotNode("db-1", "n1", true, true), ""},
		{"a drain that is done", DrainEnded("n1", "nothing runs on it", false, nil), ""},
		{"a drain that is given up", DrainEnded("n1", "it took too long", true, []string{"web-1"}), ""},
		{"a drain that is done with something left", DrainEnded("n1", "nothing runs on it", false, []string{"web-1"}), DrainEnds},
		{"a drain that ends without a word", DrainEnded("n1", "", true, nil), DrainEnds},
		{"in one of its zones", Kept("web-1", "a", []string{"b", "a"}), ""},
		{"anywhere", Kept("web-1", "a", nil), ""},
		{"outside of its zones", Kept("web-1", "c", []string{"b", "a"}), Residency},
		{"as much as is allowed", WithinQuota("default", 10, 10), ""},
		{"more than is allowed", WithinQuota("default", 11, 10), Quota},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := first(test.got); got != test.want {
				t.Errorf("broke %q, want %q", got, test.want)
			}
		})
	}
}
