package hostile

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"skerry.dev/certs/mtls"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

// token makes one and returns its secret.
func (s *site) token(t *testing.T, token *skerryv1.Token) []byte {
	t.Helper()
	if token.GetExpires() == nil {
		token.Expires = timestamppb.New(time.Now().Add(time.Hour))
	}
	secret, outcome, err := s.tryToken(t, token)
	if err != nil || outcome.GetErrorKind() != "" {
		t.Fatalf("no token: %v %v", err, outcome)
	}
	return secret
}

// expired is the secret of a token whose time is over. What has no time left when
// it is written is refused: a busy machine needs more.
func (s *site) expired(t *testing.T) []byte {
	t.Helper()
	for life := 100 * time.Millisecond; life < patience; life *= 2 {
		end := time.Now().Add(life)
		secret, outcome, err := s.tryToken(t, &skerryv1.Token{Id: fmt.Sprint("late-", life), Role: "node", Expires: timestamppb.New(end)})
		if err != nil {
			t.Fatal(err)
		}
		if outcome.GetErrorKind() == "" {
			time.Sleep(time.Until(end) + 100*time.Millisecond)
			return secret
		}
	}
	t.Fatal("no token lives until it is made")
	return nil
}

func (s *site) tryToken(t *testing.T, token *skerryv1.Token) ([]byte, *sitev1.Outcome, error) {
	t.Helper()
	secret := sha256.Sum256([]byte(t.Name() + token.GetId()))
	hash := sha256.Sum256(secret[:])
	outcome, err := s.voter.Propose(t.Context(), &sitev1.Entry{
		RequestId: "token of " + t.Name() + token.GetId(), Principal: adminID,
		Change: &sitev1.Entry_CreateToken{CreateToken: &sitev1.CreateToken{Token: token, SecretHash: hash[:]}},
	})
	return secret[:], outcome, err
}

// join calls as somebody without a certificate.
func (s *site) join(ctx context.Context, request *sitev1.JoinRequest) (*sitev1.JoinResponse, error) {
	joiner := mtls.NewJoiner(env.NewSystem().Net, s.address)
	defer joiner.Client.CloseIdleConnections()
	got, err := joiner.Service().Join(ctx, connect.NewRequest(request))
	if err != nil {
		return nil, problem.FromConnect(err)
	}
	return got.Msg, nil
}

func csr(t *testing.T, key crypto.Signer, change func(der []byte) []byte) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		der = change(der)
	}
	return der
}

func newNode(name string) *skerryv1.Node {
	return &skerryv1.Node{Name: name, Address: "127.0.0.1:1", GossipAddress: "127.0.0.1:2"}
}

func TestNobodyJoinsWithoutRight(t *testing.T) {
	s := startSite(t)
	good := s.token(t, &skerryv1.Token{Id: "good", Role: "node"})
	key := newKey(t)
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	late := s.expired(t)
	used := s.token(t, &skerryv1.Token{Id: "used", Role: "node", Name: "node-2"})
	if _, err := s.join(t.Context(), &sitev1.JoinRequest{Secret: used, Csr: csr(t, newKey(t), nil), Node: newNode("")}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		request *sitev1.JoinRequest
		want    []string
	}{
		{"with nothing", &sitev1.JoinRequest{}, []string{"certificate request"}},
		{"without a secret", &sitev1.JoinRequest{Csr: csr(t, key, nil), Node: newNode("node-9")}, []string{"does not know it", "token"}},
		{"with a secret that nobody made", &sitev1.JoinRequest{Secret: make([]byte, 32), Csr: csr(t, key, nil), Node: newNode("node-9")}, []string{"does not know it"}},
		{"with half of a secret", &sitev1.JoinRequest{Secret: good[:16], Csr: csr(t, key, nil), Node: newNode("node-9")}, []string{"does not know it"}},
		{"with a secret of 32 KiB", &sitev1.JoinRequest{Secret: make([]byte, 32<<10), Csr: csr(t, key, nil), Node: newNode("node-9")}, []string{"does not know it", "token"}},
		{"with a message above its bound", &sitev1.JoinRequest{Secret: make([]byte, 1<<20), Csr: csr(t, key, nil)}, []string{"larger than"}},
		{"with the hash of a secret", &sitev1.JoinRequest{Secret: hashOf(good), Csr: csr(t, key, nil), Node: newNode("node-9")}, []string{"does not know it"}},
		{"with a token that expired", &sitev1.JoinRequest{Secret: late,
			Csr: csr(t, key, nil), Node: newNode("node-9")}, []string{"expired"}},
		{"with a token that another key used", &sitev1.JoinRequest{Secret: used, Csr: csr(t, key, nil), Node: newNode("node-9")}, []string{"used already"}},
		{"without a request for a certificate", &sitev1.JoinRequest{Secret: good, Node: newNode("node-9")}, []string{"certificate request"}},
		{"with a truncated request", &sitev1.JoinRequest{Secret: good, Csr: csr(t, key, func(der []byte) []byte { return der[:len(der)/2] }), Node: newNode("node-9")}, []string{"certificate request"}},
		{"with bytes after the request", &sitev1.JoinRequest{Secret: good, Csr: csr(t, key, func(der []byte) []byte { return append(der, 0) }), Node: newNode("node-9")}, []string{"certificate request"}},
		{"with a request of 8 KiB", &sitev1.JoinRequest{Secret: good, Csr: make([]byte, 8<<10), Node: newNode("node-9")}, []string{"larger than 4096"}},
		{"with a request whose signature is wrong", &sitev1.JoinRequest{Secret: good, Csr: csr(t, key, flipLast), Node: newNode("node-9")}, []string{"certificate request"}},
		{"with a weak RSA key", &sitev1.JoinRequest{Secret: good, Csr: csr(t, weak, nil), Node: newNode("node-9")}, []string{"not an ECDSA key on P-256"}},
		{"with an RSA key", &sitev1.JoinRequest{Secret: good, Csr: csr(t, newRSA(t), nil), Node: newNode("node-9")}, []string{"not an ECDSA key on P-256"}},
		{"with a key on another curve", &sitev1.JoinRequest{Secret: good, Csr: csr(t, p384, nil), Node: newNode("node-9")}, []string{"not an ECDSA key on P-256"}},
		{"with an Ed25519 key", &sitev1.JoinRequest{Secret: good, Csr: csr(t, newEd25519(t), nil), Node: newNode("node-9")}, []string{"not an ECDSA key on P-256"}},
		{"without a node", &sitev1.JoinRequest{Secret: good, Csr: csr(t, key, nil)}, []string{"name", "address"}},
		{"under the name of a node that is there", &sitev1.JoinRequest{Secret: good, Csr: csr(t, key, nil), Node: newNode("node-1")}, []string{"node-1"}},
		{"under a name that climbs", &sitev1.JoinRequest{Secret: good, Csr: csr(t, key, nil), Node: newNode("../node")}, []string{"name"}},
		{"under a name in capitals", &sitev1.JoinRequest{Secret: good, Csr: csr(t, key, nil), Node: newNode("NODE-9")}, []string{"name"}},
		{"under a name that turns the reading direction", &sitev1.JoinRequest{Secret: good, Csr: csr(t, key, nil), Node: newNode("\u202e9-edon")}, []string{"name"}},
		{"under a name of a kilobyte", &sitev1.JoinRequest{Secret: good, Csr: csr(t, key, nil), Node: newNode(strings.Repeat("a", 1024))}, []string{"name"}},
		{"under a name with a zero byte", &sitev1.JoinRequest{Secret: good, Csr: csr(t, key, nil), Node: newNode("node\x00")}, []string{"name"}},
		{"with an address of a kilobyte", &sitev1.JoinRequest{Secret: good, Csr: csr(t, key, nil),
			Node: &skerryv1.Node{Name: "node-9", Address: strings.Repeat("a", 1024) + ":1", GossipAddress: "127.0.0.1:2"}}, []string{"address"}},
		{"with an address that has a line break", &sitev1.JoinRequest{Secret: good, Csr: csr(t, key, nil),
			Node: &skerryv1.Node{Name: "node-9", Address: "a\nb:1", GossipAddress: "127.0.0.1:2"}}, []string{"address"}},
		{"with capacity below zero", &sitev1.JoinRequest{Secret: good, Csr: csr(t, key, nil),
			Node: &skerryv1.Node{Name: "node-9", Address: "127.0.0.1:1", GossipAddress: "127.0.0.1:2", Capacity: &skerryv1.Capacity{CpuMilli: -1}}}, []string{"capacity"}},
		{"with a version of a kilobyte", &sitev1.JoinRequest{Secret: good, Csr: csr(t, key, nil),
			Node: &skerryv1.Node{Name: "node-9", Address: "127.0.0.1:1", GossipAddress: "127.0.0.1:2", Version: strings.Repeat("v", 1024)}}, []string{"version"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.judge(t, func(t *testing.T) {
				got, err := s.join(t.Context(), c.request)
				if err == nil {
					t.Fatalf("it joined as %s", got.GetName())
				}
				named(t, err.Error(), c.want...)
			})
		})
	}
	// None of them used the token up.
	if _, err := s.join(t.Context(), &sitev1.JoinRequest{Secret: good, Csr: csr(t, key, nil), Node: newNode("node-9")}); err != nil {
		t.Errorf("the token is gone: %v", err)
	}
}

// What a joiner says of itself decides nothing that the token decides.
func TestAJoinerGetsWhatItsTokenSaysAndNoMore(t *testing.T) {
	s := startSite(t)
	secret := s.token(t, &skerryv1.Token{Id: "plain", Role: "node"})
	node := newNode("node-9")
	node.Zone, node.Labels, node.MayVote, node.RaftId = "vault", map[string]string{"secure": "yes"}, true, 77
	node.Voter, node.State, node.Authority = skerryv1.VoterRole_VOTER_ROLE_VOTER, skerryv1.NodeState_NODE_STATE_READY, []byte("CA")
	got, err := s.join(t.Context(), &sitev1.JoinRequest{Secret: secret, Csr: csr(t, newKey(t), nil), Node: node})
	if err != nil {
		t.Fatal(err)
	}
	if n := got.GetNode(); n.GetZone() == "vault" || len(n.GetLabels()) > 0 || n.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER ||
		n.GetRaftId() == 77 || len(n.GetAuthority()) > 0 {
		t.Errorf("it chose by itself: %v", n)
	}
}

// Many at once with the same token and a key each: one of them joins.
func TestATokenCountsOnceHoweverManyTry(t *testing.T) {
	s := startSite(t)
	secret := s.token(t, &skerryv1.Token{Id: "once", Role: "node"})
	const tries = 48
	results := make([]error, tries)
	var calls sync.WaitGroup
	for i := range tries {
		request := &sitev1.JoinRequest{Secret: secret, Csr: csr(t, newKey(t), nil), Node: newNode(fmt.Sprintf("racer-%d", i))}
		calls.Go(func() { _, results[i] = s.join(t.Context(), request) })
	}
	calls.Wait()
	joined := 0
	for _, err := range results {
		if err == nil {
			joined++
			continue
		}
		named(t, err.Error(), "used already")
	}
	if joined != 1 {
		t.Errorf("%d joined with one token", joined)
	}
}

// The answer to a token that nobody made costs no entry of the log: a stranger
// could fill the disks of all voters.
func TestAStrangerWritesNothingToTheLog(t *testing.T) {
	s := startSite(t)
	const joins = 100
	before := s.index(t)
	for range joins {
		if _, err := s.join(t.Context(), &sitev1.JoinRequest{Secret: make([]byte, 32), Csr: csr(t, newKey(t), nil), Node: newNode("node-9")}); err == nil {
			t.Fatal("it joined")
		}
	}
	// The site itself writes some, more of them the longer it takes.
	if grown := s.index(t) - before; grown >= joins {
		t.Errorf("%d refused joins made %d entries", joins, grown)
	}
}

// index of the newest entry that is applied.
func (s *site) index(t *testing.T) uint64 {
	t.Helper()
	got, err := s.call(s.admin, "SiteService/Status", `{}`)
	if err != nil {
		t.Fatal(err)
	}
	var index uint64
	_, rest, _ := strings.Cut(got.body, `"index":"`)
	if _, err := fmt.Sscanf(rest, "%d", &index); err != nil {
		t.Fatalf("no index in %s", got.body)
	}
	return index
}

func hashOf(secret []byte) []byte {
	sum := sha256.Sum256(secret)
	return sum[:]
}

func flipLast(der []byte) []byte {
	der[len(der)-1] ^= 1
	return der
}
