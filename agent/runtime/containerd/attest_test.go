package containerd

import (
	"strings"
	"testing"
)

func TestTheContainerOfAProcess(t *testing.T) {
	for _, test := range []struct{ name, cgroups, parent, want string }{
		{"version 2", "0::/skerry/default.web-1\n", "/skerry", "default.web-1"},
		{"version 2, further below", "0::/skerry/default.web-1/init/more\n", "/skerry", "default.web-1"},
		{"version 1, all alike", "12:memory:/skerry/default.web-1\n11:cpu,cpuacct:/skerry/default.web-1\n1:name=systemd:/skerry/default.web-1\n0::/\n", "/skerry", "default.web-1"},
		{"version 1, some elsewhere", "12:memory:/skerry/default.web-1\n3:rdma:/\n", "/skerry", "default.web-1"},
		{"a deep parent", "0::/a/b/default.web-1\n", "/a/b", "default.web-1"},
		{"the root as parent", "0::/default.web-1\n", "/", "default.web-1"},
		{"a hashed name", "0::/skerry/skerry-0123456789abcdef0123456789abcdef\n", "/skerry", "skerry-0123456789abcdef0123456789abcdef"},
		{"hierarchies that disagree", "2:memory:/skerry/default.web-1\n1:cpu:/skerry/default.web-2\n", "/skerry", ""},
		{"the parent itself", "0::/skerry\n", "/skerry", ""},
		{"the parent with a slash", "0::/skerry/\n", "/skerry", ""},
		{"another agent's", "0::/skerry-2/default.web-1\n", "/skerry", ""},
		{"the parent further below", "0::/user.slice/skerry/default.web-1\n", "/skerry", ""},
		{"above the root of the namespace", "0::/../skerry/default.web-1\n", "/skerry", ""},
		{"a way up", "0::/skerry/../etc\n", "/skerry", ""},
		{"a colon in the name", "0::/skerry/a:b\n", "/skerry", ""},
		{"a path in an earlier field", "0:/skerry/default.web-1:/\n", "/skerry", ""},
		{"a line that is none", "skerry/default.web-1\n", "/skerry", ""},
		{"nothing", "", "/skerry", ""},
		{"a name that is too long", "0::/skerry/" + strings.Repeat("a", 77) + "\n", "/skerry", ""},
		{"no process of a container", "0::/user.slice/user-0.slice/session-1.scope\n", "/skerry", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := containerOf(test.cgroups, test.parent)
			if got != test.want || (err == nil) != (test.want != "") {
				t.Errorf("it gave %q, %v, want %q", got, err, test.want)
			}
		})
	}
}

func FuzzContainerOf(f *testing.F) {
	f.Add("0::/skerry/default.web-1\n", "/skerry")
	f.Add("12:memory:/skerry/default.web-1\n1:name=systemd:/skerry/default.web-1\n", "/skerry")
	f.Fuzz(func(t *testing.T, cgroups, parent string) {
		got, err := containerOf(cgroups, parent)
		if (err == nil) == (got == "") {
			t.Fatalf("it gave %q, %v", got, err)
		}
		if got != "" && (strings.ContainsAny(got, "/\n:") || !strings.Contains(cgroups, got)) {
			t.Fatalf("it gave %q", got)
		}
	})
}
