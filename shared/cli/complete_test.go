package cli

import (
	"strings"
	"testing"
)

func TestCompletion(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"get ", "workload\nplacement\nnode\nimage\nsecret\nvolume\nsettings\nproject\naccesspolicy\n:4\n"},
		{"get node ", "node-1\nnode-2\nnode-3\n:4\n"},
		{"describe wl w", "db\nweb\n:4\n"}, // the shell chooses among them
		{"get wl -o ", "json\nyaml\nwide\nname\n:4\n"},
		{"logs ", "db-1\nweb-1\nweb-2\nweb-3\nweb-4\n:4\n"},
		{"exec web-1 ", ":4\n"},
		{"why ", "db\nweb\ndb-1\nweb-1\nweb-2\nweb-3\nweb-4\n:4\n"},
		{"get cow ", ":4\n"},
	} {
		r := &run{}
		r.main(t, cutOff(), append([]string{"__complete"}, strings.Split(test.line, " ")...)...)
		if r.out.String() != test.want {
			t.Errorf("skerry %s<Tab> gives %q, want %q", test.line, r.out.String(), test.want)
		}
	}
}
