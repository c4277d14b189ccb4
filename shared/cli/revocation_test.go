package cli

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"connectrpc.com/connect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
)

func TestWhatTheCommandLineDoesNotSend(t *testing.T) {
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"node", "evict", "", "--yes"}, "name the node"},
		{[]string{"token", "revoke", ""}, "name the token"},
		{[]string{"access", "check", "--as", "foo", "read", "node/n1"}, "operator/foo"},
		{[]string{"access", "check", "read", "workload/web/x"}, "is not KIND/NAME"},
	} {
		r := &run{}
		if code := r.main(t, harbour(), test.args...); code != 2 || !strings.Contains(r.err.String(), test.says) {
			t.Errorf("skerry %q: exit code %d, says %s", test.args, code, r.err.String())
		}
	}
}

func TestWhoSaysThatAMachineIsOffIsToldWhatComesOfIt(t *testing.T) {
	for _, test := range []struct {
		args []string
		want bool
	}{
		{[]string{"node", "evict", "n2", "--off"}, true},
		{[]string{"node", "evict", "n2"}, false},
	} {
		r := &run{in: strings.NewReader("no\n")}
		if code := r.main(t, harbour(), test.args...); code == 0 || strings.Contains(r.err.String(), "it runs twice if the machine is not off") != test.want {
			t.Errorf("skerry %q: exit code %d, says %s", test.args, code, r.err.String())
		}
	}
}

// revokes is a site that revokes operators.
type revokes struct {
	skerryv1connect.UnimplementedIdentityServiceHandler
	site *fakeSite
}

func (r revokes) RevokeOperator(_ context.Context, request *connect.Request[skerryv1.RevokeOperatorRequest]) (*connect.Response[skerryv1.RevokeOperatorResponse], error) {
	return connect.NewResponse(&skerryv1.RevokeOperatorResponse{}), r.site.note(request.Msg)
}

func TestWhoRevokesOneselfIsToldSo(t *testing.T) {
	for name, test := range map[string]struct {
		args    []string
		answer  string
		revoked string
		says    string
	}{
		"another one":                   {[]string{"kim"}, "yes\n", "kim", "operator kim will be able to do nothing any more"},
		"oneself":                       {[]string{"mia"}, "yes\n", "mia", "operator mia is you"},
		"oneself, by mistake":           {[]string{"mia"}, "no\n", "", "only another operator can let you in again"},
		"oneself, without an answer":    {[]string{"mia"}, "", "", "nothing was done"},
		"oneself, without being asked":  {[]string{"mia", "--yes"}, "", "mia", "these were your own credentials"},
		"nobody":                        {[]string{""}, "yes\n", "", "name the operator"},
		"another one, by somebody else": {[]string{"kim", "-y"}, "", "kim", "operator kim revoked\n"},
	} {
		t.Run(name, func(t *testing.T) {
			site := harbour()
			mux := http.NewServeMux()
			mux.Handle("/", site.handler())
			mux.Handle(skerryv1connect.NewIdentityServiceHandler(revokes{site: site}))
			r := &run{in: strings.NewReader(test.answer)}
			code := r.against(t, nodesOf(serve(t, mux)), append([]string{"operator", "revoke"}, test.args...)...)
			request, _ := site.asked().(*skerryv1.RevokeOperatorRequest) // nil: nobody was
			if request.GetName() != test.revoked || (code == 0) != (test.revoked != "") {
				t.Errorf("%q was revoked, exit code %d", request.GetName(), code)
			}
			wantIn(t, r.out.String()+r.err.String(), test.says)
		})
	}
}
