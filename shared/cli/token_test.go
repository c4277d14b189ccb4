package cli

import (
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestTokenCreatePrintsTheCommandToType(t *testing.T) {
	expect(t, harbour(), "token create --role node", 0, `
Token 3f9a12c4, works once, for 1h, until 2026-11-21 04:12:00Z:

  skerry1.node.5eed.harbour.c2VjcmV0

On the new machine, as root:

  skerry join skerry1.node.5eed.harbour.c2VjcmV0 node-1.example.com:7600
`, "")
	expect(t, &fakeSite{}, "token create --role operator --name alice --grant viewer --ttl 24h", 0, `
Token 3f9a12c4, works once, for 1d, until 2026-11-22 03:12:00Z:

  skerry1.operator.5eed.harbour.c2VjcmV0

As the operator, on the machine to work from:

  skerry join skerry1.operator.5eed.harbour.c2VjcmV0 ADDRESS
`, "")
}

func TestTokenCreateForScripts(t *testing.T) {
	expect(t, harbour(), "token create --role node --quiet", 0, "skerry1.node.5eed.harbour.c2VjcmV0\n", "")
	expect(t, harbour(), "token create --role node -o yaml", 0, `
token: skerry1.node.5eed.harbour.c2VjcmV0
expires: "2026-11-21T04:12:00Z"
id: 3f9a12c4
`, "")
}

func TestTokenCreateSendsWhatIsAskedFor(t *testing.T) {
	hour := durationpb.New(time.Hour)
	for _, test := range []struct {
		args []string
		want *skerryv1.CreateTokenRequest
	}{
		{nil, &skerryv1.CreateTokenRequest{Role: "node", Ttl: hour}},
		{[]string{"--may-vote"}, &skerryv1.CreateTokenRequest{Role: "node", Ttl: hour, MayVote: proto.Bool(true)}},
		{[]string{"--may-vote=false", "--zone", "rack-b", "--label", "disk=ssd,arch=arm", "--label", "hall=a", "--name", "node-9", "--ttl", "5m"},
			&skerryv1.CreateTokenRequest{
				Role: "node", Ttl: durationpb.New(5 * time.Minute), MayVote: proto.Bool(false), Name: "node-9",
				Zone: "rack-b", Labels: map[string]string{"disk": "ssd", "arch": "arm", "hall": "a"},
			}},
	} {
		site := harbour()
		new(run).main(t, site, append([]string{"token", "create", "-q", "--role", "node"}, test.args...)...)
		got, _ := site.asked().(*skerryv1.CreateTokenRequest)
		if len(got.GetRequestId()) != 32 {
			t.Errorf("%v: request ID %q is not one", test.args, got.GetRequestId())
		}
		test.want.RequestId = got.GetRequestId()
		wantProto(t, got, test.want)
	}
}

func TestTokenList(t *testing.T) {
	site := harbour()
	site.tokens = []*skerryv1.Token{
		{Id: "3f9a12c4", Role: "node", Created: ago(30 * time.Minute), Expires: ago(-30 * time.Minute)},
		{Id: "77aa0b1c", Role: "operator", Name: "alice", Created: ago(2 * time.Hour), Expires: ago(time.Hour), UsedBy: "alice"},
	}
	expect(t, site, "token list", 0, `
ID        ROLE      NAME   AGE  EXPIRES               USED BY
3f9a12c4  node      -      30m  2026-11-21 03:42:00Z  -
77aa0b1c  operator  alice  2h   2026-11-21 02:12:00Z  alice
`, "")
}
