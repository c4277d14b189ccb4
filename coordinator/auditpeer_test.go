package coordinator

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/throttle"
)

// coordinates runs a voter until it leads its site, and returns it and the node
// that it is.
func coordinates(t *testing.T) (*Voter, certs.Peer) {
	t.Helper()
	init := newInit(t)
	v := openVoter(t, func(c *Config) {
		var err error
		if c.Recipient, err = envelope.NewRecipient(env.NewSystem().Rand); err != nil {
			t.Fatal(err)
		}
		c.Init = init
	})
	ctx, stop := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- v.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ran
	})
	patience := time.After(time.Minute)
	for {
		state, status := v.store.Changed(), v.node.Changed()
		if v.node.Status().Serving && v.store.View().Node("n1") != nil {
			return v, certs.Peer{Role: certs.RoleNode, Name: "n1", KeyFingerprint: init.GetNode().GetKeyFingerprint()}
		}
		select {
		case <-state:
		case <-status:
		case <-patience:
			t.Fatal("it does not lead")
		}
	}
}

// frozen time refills nothing.
type frozen struct{ env.Clock }

func (frozen) Elapsed() time.Duration { return time.Hour }

func TestOneNodeCannotFillTheAuditLogWithWhatItSaw(t *testing.T) {
	exec := func(n int) *sitev1.ExecRecord {
		return &sitev1.ExecRecord{RequestId: fmt.Sprint("e-", n), Principal: "spiffe://harbour/operator/mia",
			Exec: &sitev1.RecordExec{Project: "default", Placement: "web-1", Command: "sh"}}
	}
	refusals := []*sitev1.RecordRefusals{{Principal: "spiffe://harbour/operator/mia", Refusals: []*skerryv1.AuditRefusal{
		{Reason: "forbidden", Resource: "PlacementService/Exec", Count: 1},
	}}}
	for name, call := range map[string]func(auditPeer, context.Context, int) error{
		"commands": func(a auditPeer, ctx context.Context, n int) error {
			_, err := a.WriteExec(ctx, connect.NewRequest(&sitev1.WriteExecRequest{Record: exec(n)}))
			return err
		},
		"refusals": func(a auditPeer, ctx context.Context, _ int) error {
			_, err := a.ReportRefusals(ctx, connect.NewRequest(&sitev1.ReportRefusalsRequest{Refusals: refusals}))
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			v, peer := coordinates(t)
			ctx := mtls.WithPeer(t.Context(), peer)
			v.reports = throttle.New(reportLimits, frozen{v.Env.Clock})
			for n := range int(reportLimits.Burst) {
				if err := call(auditPeer{v}, ctx, n); err != nil {
					t.Fatalf("call %d: %v", n, err)
				}
			}
			err := problem.FromConnect(call(auditPeer{v}, ctx, 1000))
			if problem.KindOf(err) != problem.Unavailable || !strings.Contains(err.Error(), "has to wait") {
				t.Errorf("one more: %v", err)
			}
			stranger := peer
			stranger.KeyFingerprint = make([]byte, 32)
			if err := call(auditPeer{v}, mtls.WithPeer(t.Context(), stranger), 0); problem.KindOf(problem.FromConnect(err)) != problem.Forbidden {
				t.Errorf("another key: %v", err)
			}
		})
	}
}
