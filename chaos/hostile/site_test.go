package hostile

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"skerry.dev/agent"
	"skerry.dev/agent/config"
	"skerry.dev/agent/identity"
	"skerry.dev/agent/runtime/model"
	"skerry.dev/certs"
	"skerry.dev/coordinator"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/env"
)

const siteName = "harbour"

// site is a site of one node that answers on loopback.
type site struct {
	address string
	// siteID and chain are what a joiner learns.
	siteID string
	// authority is the site's CA: it lets tests issue what the site never would.
	authority *certs.Authority
	caDER     []byte
	caKey     *ecdsa.PrivateKey
	admin     tls.Certificate
	node      tls.Certificate
	stateDir  string
	log       *journal
	// voter is the node's replica, for what only the coordinator could write.
	voter *coordinator.Voter
}

// startSite runs an agent until the test ends.
func startSite(t *testing.T) *site {
	t.Helper()
	base := t.TempDir()
	s := &site{stateDir: filepath.Join(base, "state"), log: &journal{}}
	settings := config.Default()
	settings.Name, settings.Address = "node-1", "127.0.0.1"
	settings.Port, settings.GossipPort = freePort(t), freePort(t)
	settings.StateDir, settings.RunDir = s.stateDir, filepath.Join(base, "run")
	s.address = settings.APIAddress()
	system := env.NewSystem()
	home := filepath.Join(base, "home")
	init, err := identity.InitSite(system, identity.InitOptions{
		Site: siteName, Operator: "admin", StateDir: s.stateDir, Home: home,
		Node: &skerryv1.Node{Name: "node-1", Address: s.address, GossipAddress: settings.GossipAddress(),
			Capacity: &skerryv1.Capacity{CpuMilli: 8000, MemoryBytes: 8 << 30}},
		Keep: func(init *sitev1.InitSite) error { return agent.KeepInit(system.FS, s.stateDir, init) },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.siteID = init.GetSiteId()
	s.readKeys(t, home)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	logger := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	go func() {
		ended <- agent.Run(ctx, agent.Options{
			Config: settings, Runtime: model.New(system.Clock), NewVoter: s.newVoter, Version: "test", Env: system, Logger: logger,
		})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the agent ended: %v", err)
		}
	})
	s.await(t)
	return s
}

func (s *site) newVoter(options agent.VoterOptions) (agent.Voter, error) {
	voter, err := coordinator.New(coordinator.Config{
		Node: options.Node, Site: options.Site, RaftID: options.RaftID, Dir: options.Dir, Init: options.Init,
		AuditDir: options.AuditDir, AuditKey: options.AuditKey,
		Peers: options.Peers, Dialer: options.Dialer, Images: noImages{}, Authority: options.Authority, JwtSigner: options.JwtSigner, Recipient: options.Recipient, SiteTime: options.SiteTime,
		Env: options.Env, Logger: options.Logger,
	})
	s.voter = voter
	return voter, err
}

// noImages reads a tar to its end and finds nothing in it.
type noImages struct{}

func (noImages) Import(_ context.Context, tar io.Reader, _ string) ([]*skerryv1.Image, error) {
	_, err := io.Copy(io.Discard, tar)
	return nil, err
}

func (s *site) readKeys(t *testing.T, home string) {
	t.Helper()
	dir := identity.Dir(s.stateDir)
	var err error
	if s.admin, err = tls.LoadX509KeyPair(filepath.Join(home, siteName, "svid.pem"), filepath.Join(home, siteName, "key.pem")); err != nil {
		t.Fatal(err)
	}
	if s.node, err = tls.LoadX509KeyPair(filepath.Join(dir, "svid.pem"), filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	ca, err := tls.LoadX509KeyPair(filepath.Join(dir, "authority.pem"), filepath.Join(dir, "authority-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	s.caDER, s.caKey = ca.Certificate[0], ca.PrivateKey.(*ecdsa.PrivateKey)
	if s.authority, err = certs.LoadAuthority(env.NewSystem().Rand, s.caKey, s.caDER); err != nil {
		t.Fatal(err)
	}
}

// await waits until the site answers its operator and its node has said all
// that it says about itself.
func (s *site) await(t *testing.T) {
	t.Helper()
	for range 3000 { // a minute
		status, err := s.call(s.admin, "SiteService/Status", `{}`)
		if err == nil && all(status.body, `"coordinator":"node-1"`, `"sealingKey"`, `"jwtKey"`, `"auditKey"`) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("the site does not answer; its log:\n%s", s.log.text())
}

func all(text string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// answer of the API to one call.
type answer struct {
	status int
	body   string
}

// client speaks HTTP/1.1 under an identity; the server's certificate is not
// what is tested here.
func (s *site) client(as tls.Certificate) *http.Client {
	return &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{
				MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, Certificates: []tls.Certificate{as},
			},
		},
	}
}

// call posts JSON to a method of skerry.v1.
func (s *site) call(as tls.Certificate, method, body string) (answer, error) {
	return s.post(as, "/skerry.v1."+method, http.Header{"Content-Type": {"application/json"}}, []byte(body))
}

func (s *site) post(as tls.Certificate, path string, header http.Header, body []byte) (answer, error) {
	request, err := http.NewRequest(http.MethodPost, "https://"+s.address+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	request.Header = header
	response, err := s.client(as).Do(request)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	return answer{response.StatusCode, string(read)}, err
}

// declared is everything that people declared: it must not change when
// something is refused.
func (s *site) declared(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	lists := []struct{ method, body string }{{"SiteService/ListTokens", `{}`}, {"IdentityService/ListOperators", `{}`}}
	for _, kind := range []string{"Workload", "Node", "Image", "Project", "AccessPolicy", "Secret", "Settings"} {
		lists = append(lists, struct{ method, body string }{"ResourceService/List", fmt.Sprintf(`{"kind":%q}`, kind)})
	}
	for _, list := range lists {
		got, err := s.call(s.admin, list.method, list.body)
		if err != nil || got.status != http.StatusOK {
			t.Fatalf("%s of %s: %v %+v", list.method, list.body, err, got)
		}
		all.WriteString(withoutStatus(t, got.body))
	}
	return all.String()
}

// observed are the fields that the site itself changes all the time.
var observed = []string{"freshness", "status", "state", "lostSince", "conditions", "stateSince", "resourceVersion", "capacity", "version",
	"sealingKey", "gossipVersion", "issuer", "identityUntil", "distrust"}

func withoutStatus(t *testing.T, body string) string {
	t.Helper()
	var tree any
	if err := json.Unmarshal([]byte(body), &tree); err != nil {
		t.Fatal(err)
	}
	prune(tree)
	encoded, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	return string(encoded)
}

func prune(tree any) {
	switch tree := tree.(type) {
	case map[string]any:
		for _, name := range observed {
			delete(tree, name)
		}
		for _, child := range tree {
			prune(child)
		}
	case []any:
		for _, child := range tree {
			prune(child)
		}
	}
}

// journal is the agent's log, kept for the tests to look at.
type journal struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

// maxJournal in bytes.
const maxJournal = 16 << 20

// Write implements io.Writer.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.lines.Len() > maxJournal {
		return 0, fmt.Errorf("the agent wrote more than %d bytes of log", maxJournal)
	}
	return j.lines.Write(p)
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines.String()
}

// size marks a place in the log, for since.
func (j *journal) size() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines.Len()
}

func (j *journal) since(mark int) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return string(j.lines.Bytes()[mark:])
}

// freePort is free now for TCP and UDP, and none of those that the kernel gives
// to others meanwhile.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10_000 + mathrand.IntN(20_000)
		address := fmt.Sprintf("127.0.0.1:%d", port)
		tcp, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		udp, err := net.ListenPacket("udp", address)
		_ = tcp.Close()
		if err == nil {
			_ = udp.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}
