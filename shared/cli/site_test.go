package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/client"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// now is the wall clock of all tests.
var now = time.Date(2026, 11, 21, 3, 12, 0, 0, time.UTC)

func ago(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(-d)) }

// fakeSite serves the operators' API from canned resources.
type fakeSite struct {
	skerryv1connect.UnimplementedResourceServiceHandler
	skerryv1connect.UnimplementedSiteServiceHandler
	skerryv1connect.UnimplementedPlacementServiceHandler
	skerryv1connect.UnimplementedImageServiceHandler
	skerryv1connect.UnimplementedSiteTimeServiceHandler
	skerryv1connect.UnimplementedForesightServiceHandler
	skerryv1connect.UnimplementedNodeServiceHandler
	skerryv1connect.UnimplementedNamingServiceHandler
	skerryv1connect.UnimplementedRolloutServiceHandler
	skerryv1connect.UnimplementedPlanServiceHandler
	skerryv1connect.UnimplementedPowerServiceHandler
	skerryv1connect.UnimplementedRebalanceServiceHandler
	skerryv1connect.UnimplementedRunServiceHandler
	skerryv1connect.UnimplementedDiskServiceHandler

	// drift answers every question for it; rebalances are looked at one after the
	// other, the last one again and again.
	drift      *skerryv1.DriftResponse
	rebalances []*skerryv1.Rebalance

	// histories are answered one after the other, plan each time.
	histories []*skerryv1.HistoryResponse
	plan      *skerryv1.PlanResponse

	// groups are what a stop of the site ends.
	groups []*skerryv1.StopGroup
	// changed answers every change of a duty; look happens before each Get and
	// each Status.
	changed *skerryv1.ChangeDutyResponse
	look    func()
	// foresight answers every question; question is the last one.
	foresight *skerryv1.WhatIfResponse
	question  *skerryv1.WhatIfRequest
	// endpoints answer every question for names; names is the last one.
	endpoints []*skerryv1.Endpoint
	names     *skerryv1.EndpointsRequest

	time      *skerryv1.GetSiteTimeResponse
	status    *skerryv1.StatusResponse
	resources []*skerryv1.Resource
	explain   *skerryv1.ExplainResponse
	freshness *skerryv1.Freshness
	tokens    []*skerryv1.Token
	voters    []string
	// refuse, when set, answers every call but Locate, refuseLists every List.
	refuse, refuseLists error
	// passing are the answers to the first calls but Locate.
	passing []error
	// events, logs and exec serve the streams.
	events func(*skerryv1.EventsRequest, func(*skerryv1.EventsResponse) error) error
	logs   func(*skerryv1.LogsRequest, func(string) error) error
	export func(*connect.ServerStream[skerryv1.ExportResponse]) error
	exec   func(context.Context, *connect.BidiStream[skerryv1.ExecRequest, skerryv1.ExecResponse]) error

	mu   sync.Mutex
	last proto.Message
}

// asked is the last request that the site got.
func (s *fakeSite) asked() proto.Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

func (s *fakeSite) note(request proto.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = request
	if len(s.passing) > 0 {
		refused := s.passing[0]
		s.passing = s.passing[1:]
		return problem.ToConnect(refused)
	}
	if s.refuse != nil {
		return problem.ToConnect(s.refuse)
	}
	return nil
}

func (s *fakeSite) Status(_ context.Context, r *connect.Request[skerryv1.StatusRequest]) (*connect.Response[skerryv1.StatusResponse], error) {
	if s.look != nil {
		s.look()
	}
	return connect.NewResponse(s.status), s.note(r.Msg)
}

func (s *fakeSite) Locate(context.Context, *connect.Request[skerryv1.LocateRequest]) (*connect.Response[skerryv1.LocateResponse], error) {
	return connect.NewResponse(&skerryv1.LocateResponse{Site: "harbour", Node: "node-1", Voter: true, Voters: s.voters}), nil
}

func (s *fakeSite) CreateToken(_ context.Context, r *connect.Request[skerryv1.CreateTokenRequest]) (*connect.Response[skerryv1.CreateTokenResponse], error) {
	return connect.NewResponse(&skerryv1.CreateTokenResponse{
		Token: "skerry1." + r.Msg.GetRole() + ".5eed.harbour.c2VjcmV0", Id: "3f9a12c4",
		Expires: timestamppb.New(now.Add(r.Msg.GetTtl().AsDuration())),
	}), s.note(r.Msg)
}

func (s *fakeSite) ListTokens(_ context.Context, r *connect.Request[skerryv1.ListTokensRequest]) (*connect.Response[skerryv1.ListTokensResponse], error) {
	return connect.NewResponse(&skerryv1.ListTokensResponse{Tokens: s.tokens, Freshness: s.freshness}), s.note(r.Msg)
}

func (s *fakeSite) Apply(_ context.Context, r *connect.Request[skerryv1.ApplyRequest]) (*connect.Response[skerryv1.ApplyResponse], error) {
	answer := &skerryv1.ApplyResponse{Freshness: s.freshness}
	for _, resource := range r.Msg.GetResources() {
		answer.Results = append(answer.Results, &skerryv1.AppliedResource{Resource: resource, Outcome: "created"})
	}
	return connect.NewResponse(answer), s.note(r.Msg)
}

func (s *fakeSite) Delete(_ context.Context, r *connect.Request[skerryv1.DeleteRequest]) (*connect.Response[skerryv1.DeleteResponse], error) {
	if len(s.of(r.Msg.GetKind(), r.Msg.GetName())) == 0 {
		return nil, missing(r.Msg.GetKind(), r.Msg.GetName())
	}
	return connect.NewResponse(&skerryv1.DeleteResponse{Freshness: s.freshness}), s.note(r.Msg)
}

func (s *fakeSite) Get(_ context.Context, r *connect.Request[skerryv1.GetRequest]) (*connect.Response[skerryv1.GetResponse], error) {
	if s.look != nil {
		s.look()
	}
	found := s.of(r.Msg.GetKind(), r.Msg.GetName())
	if len(found) == 0 {
		return nil, missing(r.Msg.GetKind(), r.Msg.GetName())
	}
	return connect.NewResponse(&skerryv1.GetResponse{Resource: found[0], Freshness: s.freshness}), s.note(r.Msg)
}

func (s *fakeSite) List(_ context.Context, r *connect.Request[skerryv1.ListRequest]) (*connect.Response[skerryv1.ListResponse], error) {
	if s.refuseLists != nil {
		return nil, problem.ToConnect(s.refuseLists)
	}
	return connect.NewResponse(&skerryv1.ListResponse{Resources: s.of(r.Msg.GetKind(), ""), Freshness: s.freshness}), s.note(r.Msg)
}

func (s *fakeSite) Explain(_ context.Context, r *connect.Request[skerryv1.ExplainRequest]) (*connect.Response[skerryv1.ExplainResponse], error) {
	return connect.NewResponse(s.explain), s.note(r.Msg)
}

func (s *fakeSite) Events(_ context.Context, r *connect.Request[skerryv1.EventsRequest], stream *connect.ServerStream[skerryv1.EventsResponse]) error {
	if err := s.note(r.Msg); err != nil {
		return err
	}
	if s.events == nil {
		return nil
	}
	return s.events(r.Msg, stream.Send)
}

func (s *fakeSite) Logs(_ context.Context, r *connect.Request[skerryv1.LogsRequest], stream *connect.ServerStream[skerryv1.LogsResponse]) error {
	if err := s.note(r.Msg); err != nil {
		return err
	}
	return s.logs(r.Msg, func(text string) error { return stream.Send(&skerryv1.LogsResponse{Data: []byte(text)}) })
}

func (s *fakeSite) Export(_ context.Context, req *connect.Request[skerryv1.ExportRequest], stream *connect.ServerStream[skerryv1.ExportResponse]) error {
	if err := s.note(req.Msg); err != nil {
		return err
	}
	return s.export(stream)
}

func (s *fakeSite) Snapshot(_ context.Context, req *connect.Request[skerryv1.SnapshotRequest], stream *connect.ServerStream[skerryv1.SnapshotResponse]) error {
	if err := s.note(req.Msg); err != nil {
		return err
	}
	return stream.Send(&skerryv1.SnapshotResponse{Done: 1, Total: 2})
}

func (s *fakeSite) Exec(ctx context.Context, stream *connect.BidiStream[skerryv1.ExecRequest, skerryv1.ExecResponse]) error {
	if s.refuse != nil {
		return problem.ToConnect(s.refuse)
	}
	return s.exec(ctx, stream)
}

// refusal is what a node without a quorum says to changes.
func (s *fakeSite) refusal() error {
	return problem.New(problem.Unavailable, "site", "there is no coordinator").WithHint("reads work with --stale")
}

func (s *fakeSite) LoadImage(_ context.Context, stream *connect.ClientStream[skerryv1.LoadImageRequest]) (*connect.Response[skerryv1.LoadImageResponse], error) {
	image := &skerryv1.Image{Digest: "sha256:3f9a12c4d5e6f708192a3b4c5d6e7f80", Nodes: []string{"node-1"}}
	for stream.Receive() {
		if header := stream.Msg().GetHeader(); header != nil {
			image.Name = header.GetName()
		}
		image.Size += int64(len(stream.Msg().GetData()))
	}
	answer := &skerryv1.LoadImageResponse{Images: []*skerryv1.Image{image}}
	return connect.NewResponse(answer), errors.Join(stream.Err(), s.note(&skerryv1.LoadImageRequest{}))
}

// of are the resources of a kind, with a name unless it is empty.
func (s *fakeSite) of(kind, name string) []*skerryv1.Resource {
	var found []*skerryv1.Resource
	for _, resource := range s.resources {
		in := inside(resource)
		if in.(interface{ GetKind() string }).GetKind() == kind && (name == "" || name == in.GetName()) {
			found = append(found, resource)
		}
	}
	return found
}

func missing(kind, name string) error {
	return problem.ToConnect(problem.New(problem.NotFound, kind+"/"+name, "there is no such %s", strings.ToLower(kind)).
		WithHint("skerry get %s lists what there is", strings.ToLower(kind)))
}

func (s *fakeSite) handler(queues ...skerryv1connect.QueueServiceHandler) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(skerryv1connect.NewResourceServiceHandler(s))
	mux.Handle(skerryv1connect.NewSiteServiceHandler(s))
	mux.Handle(skerryv1connect.NewPlacementServiceHandler(s))
	mux.Handle(skerryv1connect.NewImageServiceHandler(s))
	mux.Handle(skerryv1connect.NewSiteTimeServiceHandler(s))
	mux.Handle(skerryv1connect.NewForesightServiceHandler(s))
	mux.Handle(skerryv1connect.NewNodeServiceHandler(s))
	mux.Handle(skerryv1connect.NewNamingServiceHandler(s))
	mux.Handle(skerryv1connect.NewRolloutServiceHandler(s))
	mux.Handle(skerryv1connect.NewPlanServiceHandler(s))
	mux.Handle(skerryv1connect.NewPowerServiceHandler(s))
	mux.Handle(skerryv1connect.NewRebalanceServiceHandler(s))
	mux.Handle(skerryv1connect.NewRunServiceHandler(s))
	mux.Handle(skerryv1connect.NewDiskServiceHandler(s))
	for _, queue := range queues {
		mux.Handle(skerryv1connect.NewQueueServiceHandler(queue))
	}
	return mux
}

// serve starts a node of the site, with HTTP/2 over TLS as in earnest.
func serve(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

// run is one run of the command line.
type run struct {
	in    io.Reader
	clock *fakeClock
	ctx   context.Context

	out, err syncBuffer
}

// nodeAddress is where the node of a site with one node is.
const nodeAddress = "node-1.example.com:7600"

func (r *run) main(t *testing.T, site *fakeSite, args ...string) int {
	t.Helper()
	return r.against(t, nodesOf(serve(t, site.handler())), args...)
}

// against runs the command line against nodes that have names of example.com,
// for which their certificates are good.
func (r *run) against(t *testing.T, nodes map[string]*httptest.Server, args ...string) int {
	t.Helper()
	if r.in == nil {
		r.in = strings.NewReader("")
	}
	if r.clock == nil {
		r.clock = &fakeClock{}
	}
	if r.ctx == nil {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		r.ctx = ctx
	}
	addresses := slices.Sorted(maps.Keys(nodes))
	transport := nodes[addresses[0]].Client().Transport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		node := nodes[address]
		if node == nil {
			return nil, errors.New("connection refused")
		}
		return new(net.Dialer).DialContext(ctx, network, node.Listener.Addr().String())
	}
	defer transport.CloseIdleConnections()
	return Main(r.ctx, New(Deps{
		Connect: func(context.Context, Target) (*client.Client, error) {
			c := client.New(&http.Client{Transport: transport}, addresses)
			c.Patience = time.Minute // with a machine that does much else
			return c, nil
		},
		Self: func(Target) (string, error) { return "mia", nil }, Key: testKey,
		In: r.in, Out: &r.out, Err: &r.err, Clock: r.clock, Rand: env.NewSystem().Rand, Version: "1.2.3",
	}), args)
}

// expect runs the command line and compares all that can be seen of it.
func expect(t *testing.T, site *fakeSite, line string, code int, out, err string) {
	t.Helper()
	r := &run{}
	if got := r.main(t, site, strings.Fields(line)...); got != code {
		t.Errorf("skerry %s: exit code %d, want %d", line, got, code)
	}
	if diff := cmp.Diff(strings.TrimLeft(out, "\n"), r.out.String()); diff != "" {
		t.Errorf("skerry %s: standard output (-want +got):\n%s", line, diff)
	}
	if diff := cmp.Diff(strings.TrimLeft(err, "\n"), r.err.String()); diff != "" {
		t.Errorf("skerry %s: standard error (-want +got):\n%s", line, diff)
	}
}

func nodesOf(server *httptest.Server) map[string]*httptest.Server {
	return map[string]*httptest.Server{nodeAddress: server}
}

func wantIn(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

func wantProto(t *testing.T, got, want proto.Message) {
	t.Helper()
	if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
		t.Errorf("message (-want +got):\n%s", diff)
	}
}

// fakeClock stands still but for its timers, which fire at once and are noted.
type fakeClock struct {
	mu    sync.Mutex
	past  time.Duration
	waits []time.Duration
}

func (c *fakeClock) Now() time.Time { return now }

func (c *fakeClock) Elapsed() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.past
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.past += d
}

func (c *fakeClock) NewTimer(d time.Duration) env.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.past += d
	c.waits = append(c.waits, d)
	fired := make(firedTimer, 1)
	fired <- now
	return fired
}

type firedTimer chan time.Time

func (t firedTimer) C() <-chan time.Time    { return t }
func (firedTimer) Stop() bool               { return false }
func (firedTimer) Reset(time.Duration) bool { return false }

// syncBuffer is written by a command and read by its test.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
