package api

import (
	"context"
	"errors"
	"testing"

	"connectrpc.com/connect"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/audit"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

func TestWhatNodesAreRefusedIsCounted(t *testing.T) {
	ctx := mtls.WithPeer(t.Context(), peer(certs.RoleNode, "n3"))
	for _, test := range []struct {
		name, want string
		who        func(context.Context) string
		err        error
	}{
		{"a node asks for what is not its own", "spiffe://reef/node/n3", Proved, problem.ToConnect(problem.New(problem.Forbidden, "Node/n1", "it is not bound to that node"))},
		{"somebody claims to be a node", "renewal", Claimed, problem.ToConnect(problem.New(problem.Forbidden, "Node/n3", "the site has no record of it"))},
		{"a mistake", "", Proved, problem.ToConnect(problem.New(problem.Invalid, "", "no"))},
		{"something broke", "", Proved, errors.New("broken")},
		{"nothing", "", Proved, nil},
	} {
		refusals := &audit.Refusals{Node: "n1"}
		call := Refusing(refusals, test.who).WrapUnary(func(context.Context, connect.AnyRequest) (connect.AnyResponse, error) { return nil, test.err })
		if _, err := call(ctx, connect.NewRequest(&sitev1.RenewRequest{})); !errors.Is(err, test.err) {
			t.Errorf("%s: the caller is told %v", test.name, err)
		}
		got := ""
		for _, one := range refusals.Take() {
			got += one.GetPrincipal()
		}
		if got != test.want {
			t.Errorf("%s: counted for %q, want %q", test.name, got, test.want)
		}
	}
}
