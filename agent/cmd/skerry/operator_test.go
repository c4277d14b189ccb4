package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/agent/identity"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// asks as the agent of a node does for root on its machine.
func (s *testSite) asks(node *identity.Node) func(context.Context, *sitev1.CreateOperatorRequest) (*sitev1.JoinResponse, error) {
	dialer := &mtls.Dialer{Net: env.NewSystem().Net, Source: node}
	client := sitev1connect.NewBreakGlassServiceClient(dialer.HTTPClient(mtls.Sync, mtls.ExpectNode("")), "https://"+s.address)
	return func(ctx context.Context, request *sitev1.CreateOperatorRequest) (*sitev1.JoinResponse, error) {
		response, err := client.CreateOperator(ctx, connect.NewRequest(request))
		if err != nil {
			return nil, problem.FromConnect(err)
		}
		return response.Msg, nil
	}
}

func (s *testSite) createLocally(node *identity.Node, home, name, role string) (string, error) {
	return identity.CreateLocalOperator(s.t.Context(), env.NewSystem(), identity.LocalOptions{
		Name: name, Role: role, Node: node, Home: home, Ask: s.asks(node),
	})
}

// status as the operator in this home gets it.
func (s *testSite) status(home string) (*skerryv1.StatusResponse, error) {
	operator, err := identity.LoadOperator(env.NewSystem(), home, "")
	if err != nil {
		return nil, err
	}
	dialer := &mtls.Dialer{Net: env.NewSystem().Net, Source: operator}
	client := dialer.HTTPClient(mtls.API2, mtls.ExpectNode(""))
	defer client.CloseIdleConnections()
	response, err := skerryv1connect.NewSiteServiceClient(client, "https://"+s.address).Status(s.t.Context(), connect.NewRequest(&skerryv1.StatusRequest{}))
	if err != nil {
		return nil, problem.FromConnect(err)
	}
	return response.Msg, nil
}

func TestRootOnAVoterLetsAnOperatorInAndIsSeen(t *testing.T) {
	site := newTestSite(t, "reef")
	site.token("node", "") // the site is open
	home := t.TempDir()
	dir, err := site.createLocally(site.node, home, "rescue", "admin")
	if err != nil || dir != filepath.Join(home, "reef") {
		t.Fatalf("it gave %q, %v", dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "join-key.pem")); !os.IsNotExist(err) {
		t.Error("the key is there twice")
	}
	status, err := site.status(home)
	if err != nil || len(status.GetProblems()) == 0 || !strings.Contains(status.GetProblems()[0], "root on n1 has made operator rescue") {
		t.Fatalf("the status is %v, %v", status.GetProblems(), err)
	}
	if _, err := site.createLocally(site.node, home, "other", "admin"); problem.KindOf(err) != problem.Conflict {
		t.Errorf("over the credentials that there are: %v", err)
	}
	site.pass(7 * 24 * time.Hour)
	if status, err := site.status(home); err != nil || strings.Contains(strings.Join(status.GetProblems(), "\n"), "rescue") {
		t.Errorf("after a week the status is %v, %v", status.GetProblems(), err)
	}
}

func TestAnAttemptOfRootThatBrokeOffIsGoneOnWith(t *testing.T) {
	site := newTestSite(t, "reef")
	site.token("node", "")
	home := t.TempDir()
	crashed := problem.New(problem.Internal, "test", "the power is cut")
	ask := site.asks(site.node)
	_, err := identity.CreateLocalOperator(t.Context(), env.NewSystem(), identity.LocalOptions{
		Name: "rescue", Role: "admin", Node: site.node, Home: home,
		Ask: func(ctx context.Context, request *sitev1.CreateOperatorRequest) (*sitev1.JoinResponse, error) {
			if _, err := ask(ctx, request); err != nil {
				return nil, err
			}
			return nil, crashed
		},
	})
	if err != crashed {
		t.Fatalf("it gave %v", err)
	}
	if _, err := site.createLocally(site.node, home, "rescue", "admin"); err != nil {
		t.Fatal(err)
	}
	if _, err := site.status(home); err != nil {
		t.Error(err)
	}
}

func TestWhomTheSiteLetsMakeNoOperator(t *testing.T) {
	site := newTestSite(t, "reef")
	plain := site.newNode("n2")
	if _, err := site.createLocally(plain, t.TempDir(), "eve", "admin"); problem.KindOf(err) != problem.Forbidden || !strings.Contains(err.Error(), "no voter") {
		t.Errorf("a node that does not vote got %v", err)
	}
	if _, err := site.createLocally(site.node, t.TempDir(), "admin", "admin"); problem.KindOf(err) != problem.Conflict {
		t.Errorf("in the place of one that there is: %v", err)
	}
	if _, err := site.createLocally(site.node, t.TempDir(), "rescue", "emperor"); problem.KindOf(err) != problem.Invalid {
		t.Errorf("a role that there is not: %v", err)
	}
	home := t.TempDir()
	if _, err := site.join(site.token("operator", "mia"), home); err != nil {
		t.Fatal(err)
	}
	operator, err := identity.LoadOperator(env.NewSystem(), home, "")
	if err != nil {
		t.Fatal(err)
	}
	dialer := &mtls.Dialer{Net: env.NewSystem().Net, Source: operator}
	client := sitev1connect.NewBreakGlassServiceClient(dialer.HTTPClient(mtls.Sync, mtls.ExpectNode("")), "https://"+site.address)
	if _, err := client.CreateOperator(t.Context(), connect.NewRequest(&sitev1.CreateOperatorRequest{Name: "eve", Role: "admin"})); err == nil {
		t.Error("an operator made another one without a word to anybody")
	}
}
