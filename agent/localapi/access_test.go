package localapi

import (
	"context"
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"skerry.dev/agent/runtime"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// inTwoProjects has a placement in each, and one that only its label opens.
func inTwoProjects(f *fake) {
	f.orders.Placements = []*skerryv1.Placement{
		{Kind: "Placement", Project: "default", Name: "web-1", Workload: "web", Node: "n3"},
		{Kind: "Placement", Project: "shop", Name: "till-1", Workload: "till", Node: "n3"},
		{Kind: "Placement", Project: "lab", Name: "open-1", Workload: "open", Node: "n3", Labels: map[string]string{"open": "yes"}},
	}
	f.orders.Access.Policies = []*skerryv1.AccessPolicy{{Name: "open", Policy: `permit (principal, action == Action::"read", resource is Placement)
when { resource.hasTag("open") };`}}
}

func TestANodeAloneDecidesFromItsLedger(t *testing.T) {
	s := newServer(inTwoProjects)
	workload := peer(certs.RoleWorkload, "shop/till")
	for _, test := range []struct {
		name         string
		from         *certs.Peer
		method, body string
		code         string // empty: it may
	}{
		{"an operator of the site reads", peer(certs.RoleOperator, "mia"), "v1.ResourceService/Get", `{"kind":"Placement","name":"web-1"}`, ""},
		{"a viewer of the project reads", peer(certs.RoleOperator, "kim"), "v1.ResourceService/Get", `{"kind":"Placement","name":"till-1","project":"shop"}`, ""},
		{"a viewer of another project reads", peer(certs.RoleOperator, "kim"), "v1.ResourceService/Get", `{"kind":"Placement","name":"web-1"}`, "permission_denied"},
		{"a policy permits it", peer(certs.RoleOperator, "eve"), "v1.ResourceService/Get", `{"kind":"Placement","name":"open-1","project":"lab"}`, ""},
		{"without a role", peer(certs.RoleOperator, "eve"), "v1.ResourceService/Get", `{"kind":"Placement","name":"web-1"}`, "permission_denied"},
		{"without a role, how the site is", peer(certs.RoleOperator, "eve"), "v1.SiteService/Status", `{}`, ""},
		{"an operator that the ledger does not have", peer(certs.RoleOperator, "joe"), "v1.SiteService/Status", `{}`, "permission_denied"},
		{"a workload, how the site is", workload, "v1.SiteService/Status", `{}`, "permission_denied"},
		{"a workload asks whom to ask", workload, "v1.SiteService/Locate", `{}`, ""},
		{"a workload, what a policy permits to all", workload, "v1.ResourceService/Get", `{"kind":"Placement","name":"open-1","project":"lab"}`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := call(t, s.Operators(), test.from, test.method, test.body); got.code() != test.code {
				t.Errorf("it gave %d %s", got.status, got.text)
			}
		})
	}
	listed := call(t, s.Operators(), peer(certs.RoleOperator, "kim"), "v1.ResourceService/List", `{"kind":"Placement"}`).text
	if !strings.Contains(listed, "till-1") || strings.Contains(listed, "web-1") || !strings.Contains(listed, "open-1") {
		t.Errorf("a viewer of shop is shown %s", listed)
	}
	if status := call(t, s.Operators(), peer(certs.RoleOperator, "kim"), "v1.SiteService/Status", `{}`); status.body["placements"] != float64(2) || status.body["nodes"] != nil {
		t.Errorf("a viewer of shop is shown %s", status.text)
	}
}

func TestANodeAloneLetsIntoPlacementsWhoeverMay(t *testing.T) {
	s := newServer(inTwoProjects)
	for _, test := range []struct {
		name, method, body string
		from               *certs.Peer
		refused            bool
	}{
		{"logs, as a viewer", "Logs", `{"placement":"till-1","project":"shop"}`, peer(certs.RoleOperator, "kim"), false},
		{"logs of another project", "Logs", `{"placement":"web-1"}`, peer(certs.RoleOperator, "kim"), true},
		{"logs, by a policy that is about reading", "Logs", `{"placement":"open-1","project":"lab"}`, peer(certs.RoleOperator, "kim"), true},
		{"a command, as a viewer", "Exec", `{"start":{"placement":"till-1","project":"shop","command":["x"]}}`, peer(certs.RoleOperator, "kim"), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := string([]byte{0, 0, 0, 0, byte(len(test.body))}) + test.body
			request := httptest.NewRequestWithContext(t.Context(), "POST", "https://n3:7600/skerry.v1.PlacementService/"+test.method, strings.NewReader(body))
			request.Header.Set("Content-Type", "application/connect+json")
			request.ProtoMajor = 2 // both directions at once
			recorder := httptest.NewRecorder()
			s.Operators().ServeHTTP(recorder, request.WithContext(mtls.WithPeer(request.Context(), *test.from)))
			if got := recorder.Body.String(); strings.Contains(got, "permission_denied") != test.refused {
				t.Errorf("it gave %d %q", recorder.Code, got)
			}
		})
	}
}

// endless logs go on until nobody wants them any more.
type endless struct {
	runtime.Driver
	opened chan struct{}
}

func (e endless) Logs(ctx context.Context, _ string, _ runtime.LogOptions) (io.ReadCloser, error) {
	reader, writer := io.Pipe()
	context.AfterFunc(ctx, func() { _ = writer.Close() }) // never fails
	close(e.opened)
	return reader, nil
}

func TestLogsOfANodeAloneEndWhenItHearsThatTheirCallerMayNotSeeThem(t *testing.T) {
	var f *fake
	driver := endless{opened: make(chan struct{})}
	s := newServer(inTwoProjects, func(given *fake) { f = given; f.driver, f.changed = driver, make(chan struct{}) })
	go func() {
		<-driver.opened
		next := proto.CloneOf(f.Current())
		next.Access.Revision++
		next.Access.Operators = nil
		f.give(next)
	}()
	body := `{"placement":"till-1","project":"shop","follow":true}`
	request := httptest.NewRequestWithContext(t.Context(), "POST", "https://n3:7600/skerry.v1.PlacementService/Logs",
		strings.NewReader(string([]byte{0, 0, 0, 0, byte(len(body))})+body))
	request.Header.Set("Content-Type", "application/connect+json")
	recorder := httptest.NewRecorder()
	s.Operators().ServeHTTP(recorder, request.WithContext(mtls.WithPeer(request.Context(), *peer(certs.RoleOperator, "kim"))))
	if got := recorder.Body.String(); !strings.Contains(got, "permission_denied") {
		t.Errorf("it gave %d %q", recorder.Code, got)
	}
}

func TestAnOperatorWithAnotherKeyIsRefusedByANodeAlone(t *testing.T) {
	s := newServer(func(f *fake) {
		f.orders.Access = &sitev1.AccessRecords{Revision: 4, Operators: []*sitev1.OperatorRecord{{Name: "mia", KeyFingerprint: []byte("another")}}}
	})
	if got := call(t, s.Operators(), peer(certs.RoleOperator, "mia"), "v1.SiteService/Status", `{}`); got.code() != "permission_denied" {
		t.Errorf("it gave %d %s", got.status, got.text)
	}
}
