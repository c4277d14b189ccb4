package cli

import (
	"strings"
	"testing"
	"time"
)

// withIdentities: web-1 on node-1 for 13 days, db-1 there for an hour, web-3 on
// node-3 no longer.
func withIdentities() *fakeSite {
	site := harbour()
	for _, resource := range site.resources {
		p := resource.GetPlacement()
		left, has := map[string]time.Duration{"web-1": 13*24*time.Hour + time.Hour, "db-1": time.Hour, "web-3": -time.Minute}[p.GetName()]
		if has {
			p.Status.Identity, p.Status.IdentityUntil = "spiffe://harbour/workload/default/"+p.GetWorkload(), ago(-left)
		}
	}
	return site
}

// line of an output that begins with a word.
func line(t *testing.T, site *fakeSite, command, begins string) string {
	t.Helper()
	r := &run{}
	if code := r.main(t, site, strings.Fields(command)...); code != 0 {
		t.Fatalf("skerry %s ended with %d", command, code)
	}
	for line := range strings.Lines(r.out.String()) {
		if strings.HasPrefix(line, begins) {
			return strings.Join(strings.Fields(line), " ")
		}
	}
	return ""
}

func TestHowLongWorkloadsStayAuthenticatedAlone(t *testing.T) {
	until := now.Add(13*24*time.Hour + time.Hour).UTC().Format("2006-01-02 15:04")
	for _, test := range []struct{ command, begins, want string }{
		{"describe placement web-1", "Identity:", "Identity: spiffe://harbour/workload/default/web until " + until + " UTC, for 13d"},
		{"describe placement web-2", "Identity:", ""},
		{"describe node node-1", "Identities:", "Identities: for 1h with no voter in reach"},
		{"describe node node-2", "Identities:", ""},
		{"status", "Identities:", "Identities: node-3 EXPIRED, node-1 for 1h, with no voter in reach"},
	} {
		if got := line(t, withIdentities(), test.command, test.begins); got != test.want {
			t.Errorf("%s gave %q, want %q", test.command, got, test.want)
		}
	}
	if got := line(t, harbour(), "status", "Identities:"); got != "" {
		t.Errorf("without any it gave %q", got)
	}
}
