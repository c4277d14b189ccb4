package cli

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/deferred"
	"skerry.dev/shared/problem"
)

// queueing keeps changes as a node does that reaches nobody.
type queueing struct {
	*fakeSite
	changes []*skerryv1.QueuedChange
	kept    []*skerryv1.DeferredChange
}

func (q *queueing) Queue(_ context.Context, r *connect.Request[skerryv1.QueueRequest]) (*connect.Response[skerryv1.QueueResponse], error) {
	change, _, err := deferred.Open(r.Msg.GetChange())
	if err != nil {
		return nil, problem.ToConnect(err)
	}
	q.kept = append(q.kept, change)
	return connect.NewResponse(&skerryv1.QueueResponse{Queued: deferred.Shown(change, "node-1")}), nil
}

func (q *queueing) ListQueued(context.Context, *connect.Request[skerryv1.ListQueuedRequest]) (*connect.Response[skerryv1.ListQueuedResponse], error) {
	return connect.NewResponse(&skerryv1.ListQueuedResponse{
		Changes: q.changes, SiteTime: timestamppb.New(now), Freshness: &skerryv1.Freshness{Epoch: "2.7", Index: 40, Node: "node-1"},
	}), nil
}

func (q *queueing) Withdraw(_ context.Context, r *connect.Request[skerryv1.WithdrawRequest]) (*connect.Response[skerryv1.WithdrawResponse], error) {
	if r.Msg.GetRequestId() != "0a" {
		return nil, missing("queued", r.Msg.GetRequestId())
	}
	return connect.NewResponse(&skerryv1.WithdrawResponse{}), nil
}

// testKey of the operator who runs the command line.
func testKey(Target) (crypto.Signer, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return key, "spiffe://harbour/operator/mia", err
}

func TestWhatCannotBeChangedNowWaits(t *testing.T) {
	away := problem.New(problem.Unavailable, "site harbour", "there is no coordinator")
	for name, c := range map[string]struct {
		line   string
		refuse error
		code   int
		verb   string // of what waits; empty: nothing does
		// offered: the hint names the flag.
		offered bool
	}{
		"an apply":                       {line: "apply -f - --when-connected", refuse: away, verb: "apply"},
		"a deletion":                     {line: "delete workload web --when-connected", refuse: away, verb: "delete"},
		"an apply that may not wait":     {line: "apply -f -", refuse: away, code: 7, offered: true},
		"a deletion that may not wait":   {line: "delete workload web", refuse: away, code: 7, offered: true},
		"a deletion of what cannot wait": {line: "delete secret web", refuse: away, code: 7},
		"a dry run":                      {line: "apply -f - --dry-run --when-connected", refuse: away, code: 7},
		"an apply that was carried out":  {line: "apply -f - --when-connected"},
		"an apply that is wrong":         {line: "apply -f - --when-connected", refuse: problem.New(problem.Forbidden, "Workload/web", "no"), code: 5},
	} {
		t.Run(name, func(t *testing.T) {
			site := &queueing{fakeSite: &fakeSite{refuse: c.refuse, resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: &skerryv1.Workload{Kind: "Workload", Name: "web"}}}}}}
			r := &run{in: strings.NewReader("kind: Workload\nname: web\nreplicas: 2\ncontainer: {image: site.local/web:1}\n")}
			if code := r.against(t, nodesOf(serve(t, site.handler(site))), strings.Fields(c.line)...); (code == 0) != (c.code == 0) {
				t.Errorf("exit code %d: %s", code, r.err.String())
			}
			if (len(site.kept) == 1) != (c.verb != "") {
				t.Fatalf("%v wait", site.kept)
			}
			if offered := strings.Contains(r.err.String(), "--when-connected leaves the change"); offered != c.offered {
				t.Errorf("offered to wait: %t: %s", offered, r.err.String())
			}
			if c.verb == "" {
				return
			}
			kept := site.kept[0]
			if deferred.Verb(kept) != c.verb || kept.GetSiteEpoch() != 2 || kept.GetIndex() != 40 || kept.GetPrincipal() != "spiffe://harbour/operator/mia" ||
				!kept.GetExpires().AsTime().Equal(now.Add(deferred.Lifetime)) || !strings.Contains(r.out.String(), "queued on node-1 as "+kept.GetRequestId()) {
				t.Errorf("%v waits; it said %s", kept, r.out.String())
			}
		})
	}
}

func TestGetQueuedShowsWhatBecameOfIt(t *testing.T) {
	site := &queueing{fakeSite: &fakeSite{}, changes: []*skerryv1.QueuedChange{
		{RequestId: "0a", Verb: "apply", Resources: []string{"Workload/default/web"}, Principal: "spiffe://harbour/operator/mia", Node: "node-3", Queued: ago(60e9), State: skerryv1.QueuedState_QUEUED_STATE_WAITING},
		{RequestId: "0b", Verb: "delete", Resources: []string{"Workload/default/db"}, Principal: "spiffe://harbour/operator/kim", Node: "node-2", Queued: ago(120e9), State: skerryv1.QueuedState_QUEUED_STATE_REFUSED, Reason: "Workload/db: it was changed since"},
	}}
	r := &run{}
	if code := r.against(t, nodesOf(serve(t, site.handler(site))), "get", "queued"); code != 0 {
		t.Fatal(r.err.String())
	}
	wantIn(t, r.out.String(), "0a", "apply Workload/default/web", "mia", "node-3", "waiting", "refused", "changed since")
	r = &run{}
	if code := r.against(t, nodesOf(serve(t, site.handler(site))), "delete", "queued", "0a", "0c"); code == 0 || !strings.Contains(r.out.String(), "queued/0a withdrawn") {
		t.Errorf("exit code %d: %s %s", code, r.out.String(), r.err.String())
	}
}
