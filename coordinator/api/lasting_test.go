package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/problem"
)

// endless is a node whose placements write and run for ever. ended tells how the
// calls to it did.
type endless struct {
	skerryv1connect.UnimplementedPlacementServiceHandler
	ended chan struct{}
}

func (e endless) Logs(ctx context.Context, _ *connect.Request[skerryv1.LogsRequest], stream *connect.ServerStream[skerryv1.LogsResponse]) error {
	defer func() { e.ended <- struct{}{} }()
	if err := stream.Send(&skerryv1.LogsResponse{Data: []byte("line")}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

func (e endless) Exec(ctx context.Context, stream *connect.BidiStream[skerryv1.ExecRequest, skerryv1.ExecResponse]) error {
	defer func() { e.ended <- struct{}{} }()
	if err := stream.Send(&skerryv1.ExecResponse{Message: &skerryv1.ExecResponse_Stdout{Stdout: []byte("line")}}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// direct sends every request to one server.
type direct struct {
	*http.Client
	host string
}

func (d direct) Do(r *http.Request) (*http.Response, error) {
	r.URL.Host = d.host
	return d.Client.Do(r)
}

// serve over HTTP/2.
func serve(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// runsTill binds the placement till-1, whose workload has the label tier, to a node.
func (s *apiSite) runsTill(node string) {
	s.t.Helper()
	s.runsTillUnder(node, nil)
}

func (s *apiSite) runsTillUnder(node string, partition *skerryv1.Partition) {
	s.t.Helper()
	s.twoProjects()
	till := func(labels map[string]string) *skerryv1.Workload {
		return &skerryv1.Workload{Name: "till", Project: "shop", Container: &skerryv1.Container{Image: "site.local/web:1"}, Labels: labels, Partition: partition}
	}
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{
		{Node: node, Facts: &sitev1.NodeFacts{Address: node + ":7600", Capacity: &skerryv1.Capacity{CpuMilli: 4000, MemoryBytes: 1 << 32}}},
	}}}})
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{Image: &skerryv1.Image{
		Name: "site.local/web:1", Digest: fmt.Sprintf("sha256:%064d", 1), Size: 1, Nodes: []string{node},
	}}}})
	s.put(till(map[string]string{"tier": "front"}))
	for _, part := range []*sitev1.Plan{
		{Create: []*sitev1.NewPlacement{{Project: "shop", Workload: "till", Generation: s.store.View().Workload("shop", "till").GetGeneration()}}},
		{Assign: []*sitev1.Assignment{{Project: "shop", Placement: "till-1", Node: node}}},
	} {
		part.BaseIndex = s.store.View().Index()
		s.commit(&sitev1.Entry{Change: &sitev1.Entry_Plan{Plan: part}})
	}
	if s.store.View().Placement("shop", "till-1").GetNode() != node {
		s.t.Fatal("it was not bound")
	}
}

func TestLogsAndCommandsEndWhenTheirCallerMayNotAnyMore(t *testing.T) {
	s := newAPISite(t)
	s.runsTill("n2")
	kim, ole := s.joins("kim"), s.joins("ole", &skerryv1.Grant{Role: "operator", Project: "shop"})
	s.put(&skerryv1.AccessPolicy{Name: "front", Policy: `permit (principal == Operator::"kim", action in [Action::"logs", Action::"exec"], resource is Placement)
when { resource.hasTag("tier") && resource.getTag("tier") == "front" };`})
	node := endless{ended: make(chan struct{}, 8)}
	mux := http.NewServeMux()
	mux.Handle(skerryv1connect.NewPlacementServiceHandler(node))
	far := serve(t, mux)
	s.server.NodeClient = func(string) connect.HTTPClient { return direct{far.Client(), far.Listener.Addr().String()} }

	open := func(who certs.Peer) (logs *connect.ServerStreamForClient[skerryv1.LogsResponse], exec *connect.BidiStreamForClient[skerryv1.ExecRequest, skerryv1.ExecResponse]) {
		near := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.server.ServeHTTP(w, r.WithContext(mtls.WithPeer(r.Context(), who)))
		}))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		t.Cleanup(cancel)
		client := skerryv1connect.NewPlacementServiceClient(near.Client(), near.URL)
		logs, err := client.Logs(ctx, connect.NewRequest(&skerryv1.LogsRequest{Project: "shop", Placement: "till-1", Follow: true}))
		if err != nil || !logs.Receive() {
			t.Fatal(err, logs.Err())
		}
		exec = client.Exec(ctx)
		if err := exec.Send(&skerryv1.ExecRequest{Message: &skerryv1.ExecRequest_Start{Start: &skerryv1.ExecStart{Project: "shop", Placement: "till-1", Command: []string{"sh"}}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := exec.Receive(); err != nil {
			t.Fatal(err)
		}
		return logs, exec
	}
	ended := func(logs *connect.ServerStreamForClient[skerryv1.LogsResponse], exec *connect.BidiStreamForClient[skerryv1.ExecRequest, skerryv1.ExecResponse]) {
		t.Helper()
		for logs.Receive() {
			continue
		}
		_, err := exec.Receive()
		for what, err := range map[string]error{"logs": logs.Err(), "the command": err} {
			if problem.KindOf(problem.FromConnect(err)) != problem.Forbidden {
				t.Errorf("%s ended with %v", what, err)
			}
		}
		for range 2 {
			<-node.ended // the node is told, too
		}
	}
	byLabel, byExec := open(kim)
	byRole, byRoleExec := open(ole)
	s.put(&skerryv1.Workload{Name: "till", Project: "shop", Container: &skerryv1.Container{Image: "site.local/web:1"}, Labels: map[string]string{"tier": "back"}})
	ended(byLabel, byExec)
	select {
	case <-node.ended:
		t.Error("what a role permits ended with the label")
	default:
	}
	s.commit(&sitev1.Entry{Change: &sitev1.Entry_ChangeGrants{ChangeGrants: &sitev1.ChangeGrants{
		Operator: "ole", Remove: []*skerryv1.Grant{{Role: "operator", Project: "shop"}},
	}}})
	ended(byRole, byRoleExec)
	// Who hangs up ends the command, too, when nobody says anything.
	_, exec := open(operator("mia"))
	if err := errors.Join(exec.CloseRequest(), exec.CloseResponse()); err != nil {
		t.Fatal(err)
	}
	<-node.ended
	counted := fmt.Sprint(s.refusals.Take())
	for _, who := range []string{"operator/kim", "operator/ole"} {
		if !strings.Contains(counted, who) {
			t.Errorf("the audit log is not told of %s: %s", who, counted)
		}
	}
}
