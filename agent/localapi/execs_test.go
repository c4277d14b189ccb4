package localapi

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"skerry.dev/agent/runtime"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

// runner counts what it is told to run, and what was spooled before.
type runner struct {
	runtime.Driver
	node         *fake
	ran, spooled int
}

func (r *runner) Exec(context.Context, string, runtime.Exec) (int, error) {
	r.ran++
	r.spooled = len(r.node.spooled)
	return 0, nil
}

func TestANodeAloneKeepsWhoRunsACommandBeforeItRuns(t *testing.T) {
	const body = `{"start":{"placement":"web-1","command":["sh","-c","id"],"tty":true}}`
	for name, c := range map[string]struct {
		from         *certs.Peer
		full         error
		ran, spooled int
		refused      string
	}{
		"an operator":                    {from: peer(certs.RoleOperator, "mia"), ran: 1, spooled: 1},
		"an operator, no room is left":   {from: peer(certs.RoleOperator, "mia"), full: problem.New(problem.Exhausted, "spool", "it is full"), refused: "resource_exhausted"},
		"a voter, which has recorded it": {from: peer(certs.RoleNode, "n1"), ran: 1},
	} {
		t.Run(name, func(t *testing.T) {
			run := &runner{}
			s := newServer(func(f *fake) { f.full, f.driver, run.node = c.full, run, f })
			handler := s.Operators()
			if c.from.Role == certs.RoleNode {
				handler = s.Peers()
			}
			request := httptest.NewRequestWithContext(t.Context(), "POST", "https://n3:7600/skerry.v1.PlacementService/Exec",
				strings.NewReader(string([]byte{0, 0, 0, 0, byte(len(body))})+body))
			request.Header.Set("Content-Type", "application/connect+json")
			request.ProtoMajor = 2 // both directions at once
			recorder := httptest.NewRecorder()
			handler.ServeHTTP(recorder, request.WithContext(mtls.WithPeer(request.Context(), *c.from)))
			if run.ran != c.ran || run.spooled != c.spooled || !strings.Contains(recorder.Body.String(), c.refused) {
				t.Fatalf("%d ran after %d were kept: %s", run.ran, run.spooled, recorder.Body)
			}
			for _, encoded := range run.node.spooled {
				record := &sitev1.ExecRecord{}
				if err := proto.Unmarshal(encoded, record); err != nil {
					t.Fatal(err)
				}
				exec := record.GetExec()
				if record.GetPrincipal() != "spiffe://reef/operator/mia" || record.GetRequestId() == "" || record.GetFrom() == "" || exec.GetProject() != "default" ||
					exec.GetPlacement() != "web-1" || exec.GetCommand() != "sh -c id" || !exec.GetTty() || exec.GetWitness() != "n3" || exec.GetHappened() == nil {
					t.Errorf("the record is %v", record)
				}
			}
		})
	}
}
