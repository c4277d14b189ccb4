package counts

import (
	"context"
	"errors"
	"testing"

	"connectrpc.com/connect"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	"skerry.dev/shared/problem"
)

func TestWhatNodesAreRefusedIsCounted(t *testing.T) {
	node := func(context.Context) string { return "spiffe://reef/node/n3" }
	claimed := func(context.Context) string { return "renewal" }
	for _, test := range []struct {
		name, want string
		who        func(context.Context) string
		err        error
	}{
		{"a node asks for what is not its own", "spiffe://reef/node/n3", node, problem.ToConnect(problem.New(problem.Forbidden, "Node/n1", "it is not bound to that node"))},
		{"somebody claims to be a node", "renewal", claimed, problem.ToConnect(problem.New(problem.Forbidden, "Node/n3", "the site has no record of it"))},
		{"a mistake", "", node, problem.ToConnect(problem.New(problem.Invalid, "", "no"))},
		{"something broke", "", node, errors.New("broken")},
		{"nothing", "", node, nil},
	} {
		refusals := &Counts{Node: "n1"}
		call := Refusing(refusals, test.who).WrapUnary(func(context.Context, connect.AnyRequest) (connect.AnyResponse, error) { return nil, test.err })
		if _, err := call(t.Context(), connect.NewRequest(&sitev1.RenewRequest{})); !errors.Is(err, test.err) {
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
