package localapi

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"skerry.dev/certs"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// Endpoints are one of this node, and two of another.
func (f *fake) Endpoints() []*skerryv1.Endpoint {
	return []*skerryv1.Endpoint{
		{Project: "default", Workload: "web", Placement: "web-1", Node: "n3"},
		{Project: "default", Workload: "web", Placement: "web-2", Node: "n1"},
		{Project: "shop", Workload: "web", Placement: "web-9", Node: "n1"},
	}
}

func (f *fake) Address(node string) string { return "address of " + node }

func TestNodeAloneShowsTheEndpointsThatTheCallerMaySee(t *testing.T) {
	for name, c := range map[string]struct {
		who, body string
		want      []string
	}{
		"an operator sees all":                     {"mia", `{}`, []string{"web-1", "web-2", "web-9"}},
		"a workload is one of the default project": {"mia", `{"workload":"web"}`, []string{"web-1", "web-2"}},
		"a project alone":                          {"mia", `{"project":"shop"}`, []string{"web-9"}},
		"who may read nothing sees nothing":        {"eve", `{}`, nil},
		"a viewer of a project sees that project":  {"kim", `{}`, []string{"web-9"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := call(t, newServer().Operators(), peer(certs.RoleOperator, c.who), "v1.NamingService/Endpoints", c.body)
			var answered struct {
				Domain    string
				Endpoints []struct{ Placement, Node, NodeAddress string }
			}
			if err := json.Unmarshal([]byte(got.text), &answered); err != nil || got.status != http.StatusOK || !got.stale() || answered.Domain != "reef.skerry" {
				t.Fatalf("%d %s %v", got.status, got.text, err)
			}
			var names []string
			for _, e := range answered.Endpoints {
				names = append(names, e.Placement)
				if e.NodeAddress != "address of "+e.Node {
					t.Errorf("the address of %s is %q", e.Node, e.NodeAddress)
				}
			}
			if diff := cmp.Diff(c.want, names); diff != "" {
				t.Error(diff)
			}
		})
	}
}
