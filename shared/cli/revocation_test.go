package cli

import (
	"strings"
	"testing"
)

func TestWhatTheCommandLineDoesNotSend(t *testing.T) {
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"node", "evict", "", "--yes"}, "name the node"},
		{[]string{"token", "revoke", ""}, "name the token"},
		{[]string{"access", "check", "--as", "foo", "read", "node/n1"}, "operator/foo"},
		{[]string{"access", "check", "read", "workload/web/x"}, "is not KIND/NAME"},
	} {
		r := &run{}
		if code := r.main(t, harbour(), test.args...); code != 2 || !strings.Contains(r.err.String(), test.says) {
			t.Errorf("skerry %q: exit code %d, says %s", test.args, code, r.err.String())
		}
	}
}
