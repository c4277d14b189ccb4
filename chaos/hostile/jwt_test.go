package hostile

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	"skerry.dev/shared/problem"
)

// A JWT-SVID is issued to the node of its placement; nobody else gets one, and
// nobody gets one for everybody.
func TestNobodyGetsAJwtThatIsNotTheirs(t *testing.T) {
	s := startSite(t)
	bank := []string{"bank"}
	of := func(placement string, audience []string) *sitev1.IssueJwtSvidRequest {
		return &sitev1.IssueJwtSvidRequest{Project: "default", Placement: placement, Audience: audience}
	}
	workload := s.forge(t, "spiffe://"+siteName+"/workload/default/web", nil)
	for _, c := range []struct {
		name    string
		as      tls.Certificate
		request *sitev1.IssueJwtSvidRequest
		want    string
	}{
		{"an operator", s.admin, of("web-1", bank), "a connection was refused"},
		{"a workload", workload, of("web-1", bank), "a connection was refused"},
		{"a node whose key is not on record", s.forge(t, "spiffe://"+siteName+"/node/node-1", nil), of("web-1", bank), "no record of this node"},
		{"a node that there is not", s.forge(t, "spiffe://"+siteName+"/node/node-9", nil), of("web-1", bank), "no record of this node"},
		{"for a placement that there is not", s.node, of("web-1", bank), "not bound to node-1"},
		{"for a path", s.node, of("../node/node-1", bank), "not bound to node-1"},
		{"for a name without an end", s.node, of(strings.Repeat("w", 60<<10), bank), "not bound to node-1"},
		{"for nobody", s.node, of("web-1", nil), "no audience"},
		{"for an empty audience", s.node, of("web-1", []string{""}), "an audience is empty"},
		{"for an audience with a line break", s.node, of("web-1", []string{"bank\nadmin"}), "cannot be printed"},
		{"for an audience that turns the line over", s.node, of("web-1", []string{"\u202eknab"}), "cannot be printed"},
		{"for an audience without an end", s.node, of("web-1", []string{strings.Repeat("b", 60<<10)}), "at most 256"},
		{"for everybody", s.node, of("web-1", strings.Split(strings.Repeat("b ", 5000), " ")), "at most 16"},
		{"with twenty megabytes", s.node, of("web-1", []string{strings.Repeat("b", 20<<20)}), "larger than"},
	} {
		t.Run(c.name, func(t *testing.T) {
			transport := speaking(mtls.Sync, c.as)
			defer transport.CloseIdleConnections()
			client := sitev1connect.NewWorkloadIdentityServiceClient(&http.Client{Transport: transport, Timeout: patience}, "https://"+s.address)
			s.judge(t, func(t *testing.T) {
				mark := s.log.size()
				got, err := client.IssueJwtSvid(t.Context(), connect.NewRequest(c.request))
				if err == nil {
					t.Fatalf("it got %s", got.Msg.GetToken())
				}
				s.logged(t, mark, problem.FromConnect(err).Error(), c.want)
			})
		})
	}
}
