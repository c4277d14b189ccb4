package coordinator

import (
	"context"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"skerry.dev/certs"
	"skerry.dev/coordinator/audit"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/envelope"
	"skerry.dev/shared/problem"
)

// What a voter without quorum was asked to run is an entry once it has one, also
// when the process was another one, and once only when a crash repeats it.
func TestAnExecWithoutQuorumIsInTheLogAfterwardsOnce(t *testing.T) {
	auditDir := t.TempDir()
	config := func(c *Config) { c.AuditDir = auditDir }
	alone := openVoter(t, config)
	record := &sitev1.ExecRecord{
		RequestId: "e-1", Principal: "spiffe://harbour/operator/mia", From: "10.0.0.7", AccessRevision: 7,
		Exec: &sitev1.RecordExec{Project: "default", Placement: "web-1", Command: "sh", Tty: true, Witness: "n1"},
	}
	if _, err := (execs{alone}).Write(t.Context(), record); problem.KindOf(err) != problem.Unavailable {
		t.Fatalf("without quorum: %v", err)
	}
	for range 2 { // as after a crash between writing and dropping
		if err := (execs{alone}).Keep(record); err != nil {
			t.Fatal(err)
		}
	}
	if err := alone.leaves.Close(); err != nil {
		t.Fatal(err)
	}
	_ = alone.log.Close()

	v := openVoter(t, func(c *Config) {
		config(c)
		var err error
		if c.Recipient, err = envelope.NewRecipient(env.NewSystem().Rand); err != nil {
			t.Fatal(err)
		}
		c.Init = newInit(t)
	})
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	ran := make(chan error, 1)
	go func() { ran <- v.Run(ctx) }()
	for v.spool.First() != nil && ctx.Err() == nil {
		select {
		case <-v.store.Changed():
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond): // dropping changes no state
		}
	}
	_, size := v.leaves.Range()
	var found []*skerryv1.AuditEntry
	err := v.leaves.Each(0, size, func(leaf audit.Leaf) (bool, error) {
		entry, err := audit.Decode(leaf.Number, leaf.Data)
		if entry.GetVerb() == "exec" {
			found = append(found, proto.CloneOf(entry))
		}
		return true, err
	})
	stop()
	<-ran
	if err != nil || len(found) != 1 {
		t.Fatalf("%d entries of %d leaves: %v", len(found), size, err)
	}
	if e := found[0]; e.GetPrincipal() != record.GetPrincipal() || e.GetCommand() != "sh" || e.GetWitness() != "n1" ||
		e.GetResources()[0] != "Placement/default/web-1" || e.GetResult() != "ok" || !e.GetTty() {
		t.Errorf("the entry is %v", e)
	}
}

func newInit(t *testing.T) *sitev1.InitSite {
	t.Helper()
	authority, err := certs.NewAuthority(env.NewSystem().Rand, "harbour", "n1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	trust, err := certs.FirstTrust("harbour", authority)
	if err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 32)
	return &sitev1.InitSite{
		Name: "harbour", SiteId: certs.SiteID(trust), Trust: trust, GossipKey: key,
		Operator: &sitev1.OperatorRecord{Name: "mia", KeyFingerprint: key},
		Node:     &skerryv1.Node{Name: "n1", Address: "n1:7600", KeyFingerprint: append([]byte{1}, key[1:]...)},
	}
}
