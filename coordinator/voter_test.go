package coordinator

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/sitetime"
)

func openVoter(t *testing.T, change func(*Config)) *Voter {
	t.Helper()
	config := Config{
		Node: "n1", Site: "harbour", RaftID: 1, Dir: t.TempDir(), AuditDir: t.TempDir(), AuditKey: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)),
		Peers:     func() []*sitev1.Peer { return nil },
		Authority: func() *certs.Authority { return nil },
		SiteTime:  sitetime.NewKeeper(env.NewSystem().Clock, sitetime.Stamp{}, time.Time{}),
		Env:       env.NewSystem(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if change != nil {
		change(&config)
	}
	v, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A connection outlives the replica that it was made to, and its sender would
// never know: the next replica of the same ID would hear nothing.
func TestAReplicaThatEndsClosesItsConnections(t *testing.T) {
	v := openVoter(t, nil)
	ctx, stop := context.WithCancel(t.Context())
	ran := make(chan error, 1)
	go func() { ran <- v.Run(ctx) }()
	near, far := net.Pipe()
	defer func() { _ = far.Close() }()
	served := make(chan struct{})
	go func() {
		v.ServeRaft(t.Context(), near, certs.Peer{Name: "n2"})
		close(served)
	}()
	select {
	case <-served:
		t.Fatal("the connection ended before the replica")
	case <-time.After(50 * time.Millisecond):
	}
	stop()
	<-ran
	select {
	case <-served:
	case <-time.After(time.Minute):
		t.Fatal("a replica that has ended goes on taking messages")
	}
	v.ServeRaft(t.Context(), near, certs.Peer{Name: "n2"}) // returns at once
}

func TestCallsToANodeShareAConnection(t *testing.T) {
	v := openVoter(t, nil)
	t.Cleanup(func() { _ = v.log.Close() })
	first, again := v.clients.to("n2", mtls.API2), v.clients.to("n2", mtls.API2)
	if first != again {
		t.Error("each call to a node makes a connection of its own")
	}
	if first == v.clients.to("n3", mtls.API2) || first == v.clients.to("n2", mtls.Peer) {
		t.Error("nodes, or protocols, share a client: it expects one node and speaks one protocol")
	}
}

func TestNobodySpeaksForTheReplicaOfAnother(t *testing.T) {
	key, other := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 32)
	v := openVoter(t, func(c *Config) {
		c.Peers = func() []*sitev1.Peer {
			return []*sitev1.Peer{{Name: "n2", RaftId: 2, KeyFingerprint: key}, {Name: "n3", RaftId: 3}}
		}
	})
	t.Cleanup(func() { _ = v.log.Close() })
	for _, test := range []struct {
		name string
		peer certs.Peer
		id   uint64
		want bool
	}{
		{"the node itself", certs.Peer{Name: "n2", KeyFingerprint: key}, 2, true},
		{"one that had its name before", certs.Peer{Name: "n2", KeyFingerprint: other}, 2, false},
		{"with an ID that is not its own", certs.Peer{Name: "n2", KeyFingerprint: key}, 3, false},
		{"with no ID at all", certs.Peer{Name: "n2", KeyFingerprint: key}, 0, false},
		{"one whose key is not known here yet", certs.Peer{Name: "n3", KeyFingerprint: other}, 3, true},
		{"a stranger", certs.Peer{Name: "n9", KeyFingerprint: key}, 2, false},
	} {
		if got := v.isReplica(test.peer, test.id); got != test.want {
			t.Errorf("%s: %t, want %t", test.name, got, test.want)
		}
	}
}

// Leadership would go back and forth between one that hands over because it was
// removed and one that hands over because it cannot sign.
func TestWhoCannotSignIsNotHandedTheLeadership(t *testing.T) {
	random, now := env.NewSystem().Rand, time.Now()
	known, err := certs.NewAuthority(random, "harbour", "n1", now)
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := certs.NewAuthority(random, "harbour", "n1", now)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := certs.FirstTrust("harbour", known)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name      string
		authority *certs.Authority
		asked     []uint64
		want      int
	}{
		{"its CA counts", known, []uint64{1, 2}, 1},
		{"its CA does not count", unknown, []uint64{1, 2}, 0},
		{"it is not asked for", known, []uint64{2}, 0},
	} {
		v := openVoter(t, nil)
		outcome := v.store.Apply(2, &sitev1.Entry{Change: &sitev1.Entry_InitSite{InitSite: &sitev1.InitSite{
			Name: "harbour", SiteId: certs.SiteID(trust), Trust: trust, GossipKey: make([]byte, 32),
			Operator: &sitev1.OperatorRecord{Name: "admin", KeyFingerprint: make([]byte, 32)},
			Node:     &skerryv1.Node{Name: "n1", KeyFingerprint: make([]byte, 32), Authority: test.authority.Certificate().Raw},
		}}})
		if outcome.GetErrorKind() != "" {
			t.Fatal(outcome)
		}
		if sign, err := v.whoSign(v.store.View(), test.asked); err != nil || len(sign) != test.want {
			t.Errorf("%s: %v, %v", test.name, sign, err)
		}
		if err := v.log.Close(); err != nil {
			t.Error(err)
		}
	}
}
