package hostile

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// apiCase is one call of an operator who may do everything.
type apiCase struct {
	name, method, body string
	want               []string
}

// workload is a manifest in JSON with some of its fields replaced.
func workload(fields string) string {
	return fmt.Sprintf(`{"resources":[{"workload":{"kind":"Workload",%s}}]}`, fields)
}

const apply = "ResourceService/Apply"

var apiCases = []apiCase{
	{"an empty body", apply, ``, []string{"nothing to apply"}},
	{"JSON that ends in between", apply, `{"resources":[`, []string{"unmarshal", "syntax error"}},
	{"JSON that is a list", apply, `[]`, []string{"unmarshal"}},
	{"JSON that is a number", apply, `7`, []string{"unmarshal"}},
	{"an unknown field", apply, `{"resource":[]}`, []string{"unknown field"}},
	{"an unknown field, deep inside", apply, workload(`"name":"web","container":{"imagee":"x"}`), []string{"unknown field"}},
	{"a field twice", apply, `{"dryRun":true,"dryRun":false}`, []string{"duplicate"}},
	{"a wrong type", apply, workload(`"name":7`), []string{"unmarshal", "invalid value"}},
	{"a negative number", apply, workload(`"name":"web","replicas":-1,"container":{"image":"x"}`), []string{"unmarshal", "invalid value"}},
	{"a number above 32 bits", apply, workload(`"name":"web","replicas":4294967296,"container":{"image":"x"}`), []string{"unmarshal", "invalid value"}},
	{"a fraction for a count", apply, workload(`"name":"web","replicas":1.5,"container":{"image":"x"}`), []string{"unmarshal", "invalid value"}},
	{"an exponent bomb", apply, workload(`"name":"web","replicas":1e400,"container":{"image":"x"}`), []string{"unmarshal", "invalid value"}},
	{"two kinds in one resource", apply, `{"resources":[{"workload":{"name":"a"},"node":{"name":"b"}}]}`, []string{"oneof", "already set"}},
	{"ten thousand nested objects", apply, strings.Repeat(`{"resources":[`, 10_000), []string{"unmarshal", "depth", "unexpected"}},
	{"invalid UTF-8", apply, workload("\"name\":\"\xff\xfe\""), []string{"UTF-8"}},
	{"half a surrogate", apply, workload(`"name":"\ud800"`), []string{"unmarshal", "syntax"}},
	{"no resource in the list", apply, `{"resources":[{}]}`, []string{"kind", "empty"}},
	{"more resources than are taken at once", apply, `{"resources":[` + strings.Repeat(`{},`, 99) + `{}]}`, []string{"at most 64"}},
	{"a body above its bound", apply, workload(`"name":"` + strings.Repeat("a", 2<<20) + `"`), []string{"larger than", "exceeds"}},
	{"a name with slashes", apply, workload(`"name":"../../etc","container":{"image":"x"}`), []string{"name"}},
	{"a name with a zero byte", apply, workload(`"name":"a\u0000b","container":{"image":"x"}`), []string{"name"}},
	{"a name that turns the reading direction", apply, workload(`"name":"\u202ebew","container":{"image":"x"}`), []string{"name"}},
	{"a name that looks like another", apply, workload(`"name":"wеb","container":{"image":"x"}`), []string{"name"}},
	{"a name of zero width", apply, workload(`"name":"we\u200bb","container":{"image":"x"}`), []string{"name"}},
	{"an empty name", apply, workload(`"name":"","container":{"image":"x"}`), []string{"name"}},
	{"a name that is too long", apply, workload(`"name":"` + strings.Repeat("a", 49) + `","container":{"image":"x"}`), []string{"name"}},
	{"a project with slashes", apply, workload(`"name":"web","project":"a/../b","container":{"image":"x"}`), []string{"project"}},
	{"labels without end", apply, workload(`"name":"web","labels":{` + manyLabels(10_000) + `},"container":{"image":"x"}`), []string{"labels"}},
	{"a label that turns the reading direction", apply, workload(`"name":"web","labels":{"a":"\u202eb"},"container":{"image":"x"}`), []string{"label"}},
	{"an environment variable with =", apply, workload(`"name":"web","container":{"image":"x","env":{"A=B":"c"}}`), []string{"env"}},
	{"an environment value with a zero byte", apply, workload(`"name":"web","container":{"image":"x","env":{"A":"\u0000"}}`), []string{"env"}},
	{"no container", apply, workload(`"name":"web"`), []string{"container"}},
	{"no image", apply, workload(`"name":"web","container":{}`), []string{"image"}},
	{"an image name with a control character", apply, workload(`"name":"web","container":{"image":"a\nb"}`), []string{"image"}},
	{"more CPU than can be counted", apply, workload(`"name":"web","container":{"image":"x","resources":{"cpu":"99999999999999999999"}}`), []string{"cpu"}},
	{"memory below zero", apply, workload(`"name":"web","container":{"image":"x","resources":{"memory":"-1Gi"}}`), []string{"memory"}},
	{"memory that overflows", apply, workload(`"name":"web","container":{"image":"x","resources":{"memory":"9223372036854775807Gi"}}`), []string{"memory"}},
	{"memory in an unknown unit", apply, workload(`"name":"web","container":{"image":"x","resources":{"memory":"1Qi"}}`), []string{"memory"}},
	{"port 0", apply, workload(`"name":"web","container":{"image":"x","ports":[{"name":"a","port":0}]}`), []string{"port"}},
	{"port 65536", apply, workload(`"name":"web","container":{"image":"x","ports":[{"name":"a","port":65536}]}`), []string{"port"}},
	{"a port range that runs backwards", apply, workload(`"name":"web","container":{"image":"x","ports":[{"name":"a","port":80,"hostPort":90,"hostPortLast":80}]}`), []string{"hostPortLast"}},
	{"a protocol that does not exist", apply, workload(`"name":"web","container":{"image":"x","ports":[{"name":"a","port":80,"protocol":"icmp"}]}`), []string{"protocol"}},
	{"a host path that climbs out", apply, workload(`"name":"web","container":{"image":"x","mounts":[{"target":"/a","hostPath":"/srv/../../etc"}]}`), []string{"hostPath"}},
	{"a mount over the root", apply, workload(`"name":"web","container":{"image":"x","mounts":[{"target":"/","tmpfs":"1Mi"}]}`), []string{"target"}},
	{"a capability that does not exist", apply, workload(`"name":"web","container":{"image":"x","addCapabilities":["EVERYTHING"]}`), []string{"addCapabilities"}},
	{"a network that does not exist", apply, workload(`"name":"web","container":{"image":"x","network":"internet"}`), []string{"network"}},
	{"two health checks at once", apply, workload(`"name":"web","container":{"image":"x"},"health":{"tcp":{"port":"a"},"exec":{"command":["x"]}}`), []string{"health"}},
	{"a health check of a port that is not there", apply, workload(`"name":"web","container":{"image":"x"},"health":{"tcp":{"port":"a"}}`), []string{"port"}},
	{"a duration without unit", apply, workload(`"name":"web","container":{"image":"x"},"stopGrace":"10"`), []string{"stopGrace"}},
	{"a duration of centuries", apply, workload(`"name":"web","container":{"image":"x"},"stopGrace":"999999h"`), []string{"stopGrace"}},
	{"a duration below zero", apply, workload(`"name":"web","container":{"image":"x"},"stopGrace":"-1s"`), []string{"stopGrace"}},
	{"an update strategy that does not exist", apply, workload(`"name":"web","container":{"image":"x"},"update":{"strategy":"yolo"}`), []string{"strategy"}},
	{"a partition mode that does not exist", apply, workload(`"name":"web","container":{"image":"x"},"partition":{"mode":"both"}`), []string{"mode"}},
	{"ten thousand and one replicas", apply, workload(`"name":"web","replicas":10001,"container":{"image":"x"}`), []string{"replicas"}},
	{"a placement made by hand", apply, `{"resources":[{"placement":{"kind":"Placement","name":"web-1"}}]}`, []string{"only workloads", "Placement"}},
	{"an image made by hand", apply, `{"resources":[{"image":{"kind":"Image","name":"x"}}]}`, []string{"only workloads", "Image"}},
	{"a request ID that is too long", apply, `{"requestId":"` + strings.Repeat("a", 1000) + `","resources":[{"node":{"kind":"Node","name":"node-1"}}]}`, []string{"requestId", "128", "Node", "only workloads"}},
	{"a kind that does not exist", "ResourceService/List", `{"kind":"Everything"}`, []string{`no kind \"Everything\"`}},
	{"a kind with a line break", "ResourceService/List", `{"kind":"Work\nload"}`, []string{"no kind"}},
	{"getting without a name", "ResourceService/Get", `{"kind":"Node"}`, []string{"name"}},
	{"getting what is not there", "ResourceService/Get", `{"kind":"Workload","name":"../x"}`, []string{"not found", "there is no"}},
	{"deleting what is not there", "ResourceService/Delete", `{"kind":"Workload","name":"nope"}`, []string{"nope"}},
	{"deleting nothing", "ResourceService/Delete", `{}`, []string{"kind", "name"}},
	{"deleting a token as a resource", "ResourceService/Delete", `{"kind":"Token","name":"x"}`, []string{"Token"}},
	{"deleting the only voter", "ResourceService/Delete", `{"kind":"Node","name":"node-1"}`, []string{"node-1"}},
	{"explaining nothing", "ResourceService/Explain", `{}`, []string{"name"}},
	{"explaining a kind that does not exist", "ResourceService/Explain", `{"kind":"Weather","name":"x"}`, []string{"Weather"}},
	{"a token without a role", "SiteService/CreateToken", `{}`, []string{"role"}},
	{"a token for a role that does not exist", "SiteService/CreateToken", `{"role":"root"}`, []string{"role"}},
	{"an operator's token without a name", "SiteService/CreateToken", `{"role":"operator"}`, []string{"name"}},
	{"an operator's token with a bad name", "SiteService/CreateToken", `{"role":"operator","name":"a/b"}`, []string{"name"}},
	{"a token for the first operator's name", "SiteService/CreateToken", `{"role":"operator","name":"\u202eadmin"}`, []string{"name"}},
	{"a token that lives for years", "SiteService/CreateToken", `{"role":"node","ttl":"99999999s"}`, []string{"ttl"}},
	{"a token that lives less than nothing", "SiteService/CreateToken", `{"role":"node","ttl":"-1s"}`, []string{"ttl"}},
	{"a zone with a line break", "SiteService/CreateToken", `{"role":"node","zone":"a\nb"}`, []string{"zone"}},
	{"a hundred labels on a token", "SiteService/CreateToken", `{"role":"node","labels":{` + manyLabels(100) + `}}`, []string{"labels"}},
	{"a method that does not exist", "SiteService/Destroy", `{}`, []string{"404", "not found"}},
	{"a service that does not exist", "SecretService/Dump", `{}`, []string{"404", "not found"}},
	{"a path that climbs", "../skerry.site.v1.JoinService/Join", `{}`, []string{"404", "not found", "301"}},
}

// declares is a manifest of another kind in JSON.
func declares(kind, field, fields string) string {
	return fmt.Sprintf(`{"resources":[{%q:{"kind":%q,%s}}]}`, field, kind, fields)
}

func policy(text string) string {
	return declares("AccessPolicy", "accessPolicy", fmt.Sprintf(`"name":"p","policy":%q`, text))
}

func settings(lifetime string) string {
	return declares("Settings", "settings", `"name":"site","lifetimes":{`+lifetime+`}`)
}

func secret(fields string) string { return declares("Secret", "secret", fields) }

// accessCases are about who may do what, secrets, settings and identities.
var accessCases = []apiCase{
	{"a policy without text", apply, policy(""), []string{"policy"}},
	{"a policy that is no Cedar", apply, policy("let everybody in"), []string{"policy"}},
	{"a policy with an effect that does not exist", apply, policy("allow (principal, action, resource);"), []string{"policy"}},
	{"a policy without its semicolon", apply, policy("permit (principal, action, resource)"), []string{"policy"}},
	{"a policy about a verb that does not exist", apply, policy(`permit (principal, action == Action::"explode", resource);`), []string{"explode"}},
	{"a policy about a kind that does not exist", apply, policy(`permit (principal, action, resource is Planet);`), []string{"Planet"}},
	{"a policy about an attribute that does not exist", apply, policy(`permit (principal, action, resource) when { resource.colour == "red" };`), []string{"colour"}},
	{"a policy that compares a name with a number", apply, policy(`permit (principal, action, resource) when { resource.name == 7 };`), []string{"policy"}},
	{"a policy that calls what does not exist", apply, policy(`permit (principal, action, resource) when { system("reboot") };`), []string{"policy"}},
	{"a policy of ten thousand brackets", apply, policy("permit (principal, action, resource) when { " + strings.Repeat("(", 10_000) + "true" + strings.Repeat(")", 10_000) + " };"), []string{"policy"}},
	{"a policy of ten thousand denials", apply, policy("permit (principal, action, resource) when { " + strings.Repeat("!", 10_000) + "true };"), []string{"policy"}},
	{"a policy of half a megabyte", apply, policy("// " + strings.Repeat("a", 512<<10) + "\npermit (principal, action, resource);"), []string{"policy", "longer"}},
	{"a policy with a number beyond 64 bits", apply, policy(`permit (principal, action, resource) when { 99999999999999999999 == 1 };`), []string{"policy"}},
	{"a policy with a wild pattern", apply, policy(`permit (principal, action, resource) when { resource.name like "` + strings.Repeat("*a", 20_000) + `" };`), []string{"policy"}},
	{"a policy with a bad name", apply, declares("AccessPolicy", "accessPolicy", `"name":"../p","policy":"permit (principal, action, resource);"`), []string{"name"}},
	{"a project with a bad name", apply, declares("Project", "project", `"name":"a/b"`), []string{"name"}},
	{"a project with less than nothing", apply, declares("Project", "project", `"name":"shop","quota":{"cpu":"-1"}`), []string{"cpu"}},
	{"a project with memory that overflows", apply, declares("Project", "project", `"name":"shop","quota":{"memory":"9223372036854775807Gi"}`), []string{"memory"}},
	{"deleting the project that is always there", "ResourceService/Delete", `{"kind":"Project","name":"default"}`, []string{"always there"}},
	{"a workload in a project that is not there", apply, workload(`"name":"web","project":"nowhere","container":{"image":"x"}`), []string{"no such project"}},
	{"a secret without data", apply, secret(`"name":"db"`), []string{"data"}},
	{"a secret that is no base64", apply, secret(`"name":"db","data":{"a":"%%%"}`), []string{"not base64"}},
	{"a secret of a megabyte", apply, secret(`"name":"db","stringData":{"a":"` + strings.Repeat("a", 900<<10) + `"}`), []string{"data", "Data", "64"}},
	{"a secret whose key climbs", apply, secret(`"name":"db","stringData":{"../../etc/passwd":"x"}`), []string{"key", "Data"}},
	{"a secret with the same key twice", apply, secret(`"name":"db","data":{"a":"eA=="},"stringData":{"a":"x"}`), []string{"a"}},
	{"a secret read from a file on the site", apply, secret(`"name":"db","file":{"a":"/etc/shadow"}`), []string{"file", "unmarshal", "unknown"}},
	{"revealing a secret that is not there", "SecretService/Reveal", `{"name":"nope","key":"a"}`, []string{"nope", "no such"}},
	{"a workload with a secret that is not there", apply, workload(`"name":"web","container":{"image":"x","secrets":[{"secret":"nope","path":"/run/secrets/nope"}]}`), []string{"nope"}},
	{"a secret mounted over the root", apply, workload(`"name":"web","container":{"image":"x","secrets":[{"secret":"nope","path":"/"}]}`), []string{"path"}},
	{"a recovery key of no bytes", "SecretService/AddRecoveryKey", `{"name":"safe"}`, []string{"key"}},
	{"a recovery key that is no point of the curve", "SecretService/AddRecoveryKey", `{"name":"safe","publicKey":"` + strings.Repeat("A", 87) + `="}`, []string{"key"}},
	{"keys recovered from nothing", "SecretService/RecoverSecrets", `{}`, []string{"key"}},
	{"settings of another name", apply, declares("Settings", "settings", `"name":"mine"`), []string{"site"}},
	{"a lifetime of a second", apply, settings(`"node":"1s"`), []string{"node"}},
	{"a lifetime of a century", apply, settings(`"node":"876000h"`), []string{"node"}},
	{"a lifetime below zero", apply, settings(`"workload":"-1h"`), []string{"workload"}},
	{"a CA that lives for a day", apply, settings(`"authority":"24h"`), []string{"authority", "unknown"}},
	{"a site time that is no time", "SiteTimeService/SetSiteTime", `{"time":"yesterday"}`, []string{"unmarshal", "invalid"}},
	{"a site time before the first of times", "SiteTimeService/SetSiteTime", `{"time":"0001-01-01T00:00:00Z"}`, []string{"time", "404"}},
	{"evicting nobody", "IdentityService/EvictNode", `{}`, []string{"name", "node"}},
	{"evicting the only voter", "IdentityService/EvictNode", `{"node":"node-1"}`, []string{"node-1"}},
	{"revoking nobody", "IdentityService/RevokeOperator", `{}`, []string{"name", "perator"}},
	{"revoking the last admin", "IdentityService/RevokeOperator", `{"name":"admin"}`, []string{"admin"}},
	{"revoking a token that is not there", "IdentityService/RevokeToken", `{"id":"nope"}`, []string{"nope", "no such"}},
	{"assuming nothing", "ForesightService/WhatIf", `{}`, []string{"nothing to assume"}},
	{"assuming the loss of what is not there", "ForesightService/WhatIf", `{"loseNodes":["node-9"]}`, []string{"no such node"}},
	{"assuming four billion machines", "ForesightService/WhatIf", `{"add":[{"count":4294967295,"cpu":"1","memory":"1Gi"}]}`, []string{"1 to 1000"}},
	{"an operator's token with a role that does not exist", "SiteService/CreateToken", `{"role":"operator","name":"kim","grants":[{"role":"king"}]}`, []string{"king"}},
	{"a node's token with roles", "SiteService/CreateToken", `{"role":"node","grants":[{"role":"admin"}]}`, []string{"grant", "role"}},
}

func manyLabels(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf(`"l%d":"v"`, i))
	}
	return strings.Join(all, ",")
}

func TestWhatAnOperatorSendsByMistakeIsRefusedWhole(t *testing.T) {
	s := startSite(t)
	for _, c := range slices.Concat(apiCases, accessCases) {
		t.Run(c.name, func(t *testing.T) {
			s.judge(t, func(t *testing.T) {
				got, err := s.call(s.admin, c.method, c.body)
				if err != nil {
					t.Fatalf("no answer: %v", err)
				}
				if got.status == http.StatusOK {
					t.Fatalf("it was taken: %.500s", got.body)
				}
				if got.status >= 500 && got.status != http.StatusNotImplemented {
					t.Errorf("the status is %d, as if the site were at fault", got.status)
				}
				named(t, fmt.Sprint(got.status, " ", got.body), c.want...)
			})
		})
	}
}

// What goes around the call and not into it.
func TestHeadersAndEncodingsAreBounded(t *testing.T) {
	s := startSite(t)
	list := []byte(`{"kind":"Node"}`)
	for _, c := range []struct {
		name   string
		header http.Header
		body   []byte
		want   []string
	}{
		{"a header of a megabyte", http.Header{"X-Long": {strings.Repeat("a", 1<<20)}}, list, []string{"431", "too large", "reset", "broken pipe"}},
		{"ten thousand headers", manyHeaders(10_000), list, []string{"431", "too large", "reset", "broken pipe"}},
		{"a content type that does not exist", http.Header{"Content-Type": {"text/plain"}}, list, []string{"415", "404"}},
		{"XML", http.Header{"Content-Type": {"application/xml"}}, []byte("<x/>"), []string{"415", "404"}},
		{"protobuf that is none", http.Header{"Content-Type": {"application/proto"}}, []byte{0xff, 0xff, 0xff, 0xff}, []string{"unmarshal"}},
		{"protobuf with a length beyond its end", http.Header{"Content-Type": {"application/proto"}}, []byte{0x0a, 0xff, 0xff, 0xff, 0x0f}, []string{"unmarshal"}},
		{"an encoding that does not exist", http.Header{"Content-Encoding": {"rot13"}}, list, []string{"unknown compression"}},
		{"gzip that is none", http.Header{"Content-Encoding": {"gzip"}}, list, []string{"decompress", "gzip"}},
		{"a gzip bomb", http.Header{"Content-Encoding": {"gzip"}}, gzipBomb(t, 256<<20), []string{"larger than", "exceeds"}},
		{"a protocol version of Connect that does not exist", http.Header{"Connect-Protocol-Version": {"99"}}, list, []string{"Connect-Protocol-Version"}},
		{"a timeout that is no number", http.Header{"Connect-Timeout-Ms": {"soon"}}, list, []string{"timeout"}},
		{"a timeout of many digits", http.Header{"Connect-Timeout-Ms": {strings.Repeat("9", 100)}}, list, []string{"timeout"}},
		{"a stream with an envelope of 4 GiB", http.Header{"Content-Type": {"application/connect+json"}}, []byte{0, 0xff, 0xff, 0xff, 0xff}, []string{"415", "larger than", "exceeds", "not found"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.header.Get("Content-Type") == "" {
				c.header.Set("Content-Type", "application/json")
			}
			s.judge(t, func(t *testing.T) {
				got, err := s.post(s.admin, "/skerry.v1.ResourceService/List", c.header, c.body)
				if err == nil && got.status == http.StatusOK && !strings.Contains(got.body, `"code"`) {
					t.Fatalf("it was taken: %.500s", got.body)
				}
				named(t, fmt.Sprint(got.status, " ", got.body, " ", err), c.want...)
			})
		})
	}
}

func manyHeaders(n int) http.Header {
	all := http.Header{}
	for i := range n {
		all.Set(fmt.Sprintf("X-Header-%d", i), "a value of some length that adds up")
	}
	return all
}

// gzipBomb is size bytes of JSON white space, packed.
func gzipBomb(t *testing.T, size int) []byte {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	space := bytes.Repeat([]byte(" "), 1<<20)
	for range size / len(space) {
		if _, err := w.Write(space); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// Only a voter may say for whom it calls.
func TestNobodySpeaksForAnother(t *testing.T) {
	s := startSite(t)
	on := http.Header{"Content-Type": {"application/json"}, "Skerry-On-Behalf-Of": {adminID}}
	mallory := s.forge(t, "spiffe://"+siteName+"/operator/mallory", nil)
	stranger := s.forge(t, "spiffe://"+siteName+"/node/node-9", nil)
	impostor := s.forge(t, "spiffe://"+siteName+"/node/node-1", nil)
	for _, c := range []struct {
		name string
		as   func() (answer, error)
	}{
		{"an operator without a record", func() (answer, error) {
			return s.post(mallory, "/skerry.v1.ResourceService/List", on.Clone(), []byte(`{"kind":"Node"}`))
		}},
		{"a node without a record", func() (answer, error) {
			return s.post(stranger, "/skerry.v1.ResourceService/List", on.Clone(), []byte(`{"kind":"Node"}`))
		}},
		{"a node with the name of a voter and another key", func() (answer, error) {
			return s.post(impostor, "/skerry.v1.ResourceService/List", on.Clone(), []byte(`{"kind":"Node"}`))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.judge(t, func(t *testing.T) {
				got, err := c.as()
				if err == nil && got.status == http.StatusOK {
					t.Fatalf("it was let in: %s", got.body)
				}
				named(t, got.body, "no record", "nodes may not call")
			})
		})
	}
}
