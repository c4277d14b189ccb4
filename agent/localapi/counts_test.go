package localapi

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
)

// What a node without a voter in reach shows, and whom it refuses, waits for the
// audit log; what a voter asks for on behalf of somebody does not.
func TestANodeAloneCountsWhoReadsLogsAndWhoIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		from           *certs.Peer
		placement      string
		voters         []string
		reads, refused string
	}{
		"an operator who may":            {from: peer(certs.RoleOperator, "mia"), placement: "web-1", reads: "spiffe://reef/operator/mia Placement/default/web-1 1"},
		"an operator who may not":        {from: peer(certs.RoleOperator, "eve"), placement: "web-1", refused: "spiffe://reef/operator/eve PlacementService/Logs 1"},
		"an operator who was revoked":    {from: peer(certs.RoleOperator, "mallory"), placement: "web-1", refused: "spiffe://reef/operator/mallory PlacementService/Logs 1"},
		"one that is not here":           {from: peer(certs.RoleOperator, "mia"), placement: "web-9"},
		"a voter, which has counted it":  {from: peer(certs.RoleNode, "n1"), placement: "web-1"},
		"an operator who is sent on":     {from: peer(certs.RoleOperator, "mia"), placement: "web-1", voters: []string{"n1:7600"}},
		"a node that is no voter, among": {from: peer(certs.RoleNode, "n2"), placement: "web-1"},
	} {
		t.Run(name, func(t *testing.T) {
			var f *fake
			s := newServer(func(made *fake) { f = made; f.voters = c.voters })
			handler := s.Operators()
			if c.from.Role == certs.RoleNode {
				handler = s.Peers()
			}
			body := fmt.Sprintf(`{"placement":%q}`, c.placement)
			request := httptest.NewRequestWithContext(t.Context(), "POST", "https://n3:7600/skerry.v1.PlacementService/Logs",
				strings.NewReader(string([]byte{0, 0, 0, 0, byte(len(body))})+body))
			request.Header.Set("Content-Type", "application/connect+json")
			handler.ServeHTTP(httptest.NewRecorder(), request.WithContext(mtls.WithPeer(request.Context(), *c.from)))
			var reads, refused []string
			for _, one := range f.reads.Take() {
				for _, line := range one.GetRefusals() {
					reads = append(reads, fmt.Sprintf("%s %s %d", one.GetPrincipal(), line.GetResource(), line.GetCount()))
				}
			}
			for _, one := range f.refused.Take() {
				for _, line := range one.GetRefusals() {
					refused = append(refused, fmt.Sprintf("%s %s %d", one.GetPrincipal(), line.GetResource(), line.GetCount()))
				}
			}
			if got := strings.Join(reads, ", "); got != c.reads {
				t.Errorf("reads: %q, want %q", got, c.reads)
			}
			if got := strings.Join(refused, ", "); got != c.refused {
				t.Errorf("refusals: %q, want %q", got, c.refused)
			}
		})
	}
}
