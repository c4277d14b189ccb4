package workloadapi

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"skerry.dev/shared/problem"
)

func TestTheSPIFFEClientGetsAndValidatesAJwt(t *testing.T) {
	n := newTestNode(t)
	n.start()
	source, err := workloadapi.NewJWTSource(t.Context(), workloadapi.WithClient(n.client()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = source.Close() }()
	svid, err := source.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: "bank", ExtraAudiences: []string{"post"}, Subject: spiffeid.RequireFromString(webID)})
	if err != nil || svid.ID.String() != webID {
		t.Fatalf("it is %v, %v", svid, err)
	}
	// Whoever gets it judges it by the bundle, or has the node judge it.
	if got, err := jwtsvid.ParseAndValidate(svid.Marshal(), source, []string{"post"}); err != nil || got.ID != svid.ID {
		t.Errorf("the bundle says %v, %v", got, err)
	}
	if got, err := n.client().ValidateJWTSVID(t.Context(), svid.Marshal(), "bank"); err != nil || got.ID != svid.ID {
		t.Errorf("the node says %v, %v", got, err)
	}
	if _, err := n.client().ValidateJWTSVID(t.Context(), svid.Marshal(), "shop"); status.Code(err) != codes.InvalidArgument {
		t.Errorf("for another audience the node says %v", err)
	}
}

func TestWhoGetsNoJwt(t *testing.T) {
	for name, test := range map[string]struct {
		request *workload.JWTSVIDRequest
		header  string
		with    func(*testNode)
		code    codes.Code
	}{
		"one that is as it should be":  {&workload.JWTSVIDRequest{Audience: []string{"bank"}}, "true", nil, codes.OK},
		"one that names itself":        {&workload.JWTSVIDRequest{Audience: []string{"bank"}, SpiffeId: webID}, "true", nil, codes.OK},
		"without the header":           {&workload.JWTSVIDRequest{Audience: []string{"bank"}}, "no", nil, codes.InvalidArgument},
		"without audience":             {&workload.JWTSVIDRequest{}, "true", nil, codes.InvalidArgument},
		"with an empty audience":       {&workload.JWTSVIDRequest{Audience: []string{"bank", ""}}, "true", nil, codes.InvalidArgument},
		"with an audience too long":    {&workload.JWTSVIDRequest{Audience: []string{strings.Repeat("b", 300)}}, "true", nil, codes.InvalidArgument},
		"with too many audiences":      {&workload.JWTSVIDRequest{Audience: strings.Split(strings.Repeat("bank,", 20)+"x", ",")}, "true", nil, codes.InvalidArgument},
		"with an audience that blinks": {&workload.JWTSVIDRequest{Audience: []string{"\x1b[5m"}}, "true", nil, codes.InvalidArgument},
		"with an audience turned over": {&workload.JWTSVIDRequest{Audience: []string{"\u202eknab"}}, "true", nil, codes.InvalidArgument},
		"in the name of another":       {&workload.JWTSVIDRequest{Audience: []string{"bank"}, SpiffeId: "spiffe://harbour/workload/default/bank"}, "true", nil, codes.PermissionDenied},
		"in the name of a node":        {&workload.JWTSVIDRequest{Audience: []string{"bank"}, SpiffeId: "spiffe://harbour/node/n1"}, "true", nil, codes.PermissionDenied},
		"who asks for no identity": {&workload.JWTSVIDRequest{Audience: []string{"bank"}}, "true", func(n *testNode) {
			n.entitled = problem.New(problem.Forbidden, "Placement/web-1", "its workload asks for no identity")
		}, codes.PermissionDenied},
		"who is of no container": {&workload.JWTSVIDRequest{Audience: []string{"bank"}}, "true", func(n *testNode) {
			n.attested = problem.New(problem.NotFound, "process 7", "it is in no container of this node's")
		}, codes.PermissionDenied},
		"when no voter issues": {&workload.JWTSVIDRequest{Audience: []string{"bank"}}, "true", func(n *testNode) {
			n.noJWT = problem.New(problem.Unavailable, "Placement/web-1", "no voter is in reach")
		}, codes.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			n := newTestNode(t)
			if test.with != nil {
				n.change(func() { test.with(n) })
			}
			n.start()
			ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "workload.spiffe.io", test.header), time.Minute)
			defer cancel()
			if answer, err := n.bare().FetchJWTSVID(ctx, test.request); status.Code(err) != test.code {
				t.Errorf("it gave %v, %v", answer, err)
			}
		})
	}
}

func TestAStrangerLearnsNothingOfJwts(t *testing.T) {
	n := newTestNode(t)
	n.change(func() {
		n.attested = problem.New(problem.NotFound, "process 7", "it is in no container of this node's")
	})
	n.start()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "workload.spiffe.io", "true"), time.Minute)
	defer cancel()
	if _, err := n.bare().ValidateJWTSVID(ctx, &workload.ValidateJWTSVIDRequest{Svid: "a.b.c", Audience: "bank"}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("validation gave %v", err)
	}
	stream, err := n.bare().FetchJWTBundles(ctx, &workload.JWTBundlesRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.PermissionDenied {
		t.Errorf("the bundles gave %v", err)
	}
}
