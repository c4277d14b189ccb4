package check

import (
	"testing"
	"time"
)

func TestTrust(t *testing.T) {
	newer := func(key []byte) bool { return key[0] == 2 }
	for _, test := range []struct {
		name string
		got  *Violation
		want Rule
	}{
		{"a moment may pass until a key is refused", Refused("n1", "node/n2", false, 4*time.Second, time.Hour), ""},
		{"a revoked key that is refused", Refused("n1", "node/n2", true, time.Minute, time.Hour), ""},
		{"a revoked key that still counts", Refused("n1", "node/n2", false, 6*time.Second, time.Hour), RevokedOut},
		{"a node that has just come back", Refused("n1", "node/n2", false, time.Minute, 6*time.Second), ""},
		{"a node that came back and learnt nothing", Refused("n1", "node/n2", false, time.Minute, 16*time.Second), RevokedOut},
		{"keys of before", Learnt("n2", [][]byte{{1}}, newer), ""},
		{"a key of afterwards", Learnt("n2", [][]byte{{1}, {2}}, newer), KeysStay},
		{"a CA that nothing hangs on", Retired("CA n1", ""), ""},
		{"a CA that something hangs on", Retired("CA n1", "n3"), NobodyOut},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := first(test.got); got != test.want {
				t.Errorf("broke %q, want %q", got, test.want)
			}
		})
	}
}
