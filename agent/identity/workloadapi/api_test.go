package workloadapi

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"skerry.dev/shared/problem"
)

// contexts collects what go-spiffe's watcher hands over.
type contexts struct {
	got    chan *workloadapi.X509Context
	failed chan error
}

func (c contexts) OnX509ContextUpdate(x *workloadapi.X509Context) { c.got <- x }
func (c contexts) OnX509ContextWatchError(err error) {
	select {
	case c.failed <- err:
	default:
	}
}

func (c contexts) next(t *testing.T) *workloadapi.X509Context {
	t.Helper()
	select {
	case x := <-c.got:
		return x
	case <-time.After(time.Minute):
		t.Fatal("nothing came")
		return nil
	}
}

// watch until the test ends.
func watch(t *testing.T, c *workloadapi.Client) contexts {
	t.Helper()
	w := contexts{make(chan *workloadapi.X509Context, 100), make(chan error, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.WatchX509Context(ctx, w) }()
	t.Cleanup(func() { cancel(); <-ended })
	return w
}

func TestTheSPIFFEClientGetsAndRotatesItsSVID(t *testing.T) {
	n := newTestNode(t)
	n.start()
	w := watch(t, n.client())
	first := w.next(t).DefaultSVID()
	if first.ID.String() != "spiffe://harbour/workload/default/web" {
		t.Errorf("it is %s", first.ID)
	}
	n.rotate()
	second := w.next(t)
	if second.DefaultSVID().Certificates[0].Equal(first.Certificates[0]) {
		t.Error("it is the same")
	}
	bundle, err := second.Bundles.GetX509BundleForTrustDomain(first.ID.TrustDomain())
	if err != nil || len(bundle.X509Authorities()) != 1 {
		t.Errorf("the bundle is %v, %v", bundle, err)
	}
	// What does not change is not sent again.
	n.change(func() {})
	n.rotate()
	if third := w.next(t).DefaultSVID(); third.Certificates[0].Equal(second.DefaultSVID().Certificates[0]) {
		t.Error("it was sent again")
	}
	bundles, err := n.client().FetchX509Bundles(t.Context())
	if err != nil || bundles.Len() != 1 {
		t.Errorf("the bundles are %v, %v", bundles, err)
	}
}

func TestTwoProgramsSpeakMutualTLSWithIt(t *testing.T) {
	n := newTestNode(t)
	n.start()
	source, err := workloadapi.NewX509Source(t.Context(), workloadapi.WithClient(n.client()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = source.Close() }()
	id := spiffeid.RequireFromString("spiffe://harbour/workload/default/web")
	server, err := tls.Listen("tcp", "127.0.0.1:0", tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeID(id)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	said := make(chan string, 1)
	go func() {
		conn, err := server.Accept()
		if err != nil {
			said <- err.Error()
			return
		}
		defer func() { _ = conn.Close() }()
		text, _ := io.ReadAll(conn)
		said <- string(text)
	}()
	conn, err := tls.Dial("tcp", server.Addr().String(), tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(id)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if got := <-said; got != "hello" {
		t.Errorf("it heard %q", got)
	}
}

func TestACallerThatWaitsGetsItsFirstSVID(t *testing.T) {
	n := newTestNode(t)
	n.change(func() { n.svid = nil })
	n.start()
	w := watch(t, n.client())
	select {
	case <-w.got:
		t.Fatal("it got one that is not there")
	case <-time.After(50 * time.Millisecond):
	}
	n.rotate()
	w.next(t)
}

func TestAStreamEndsWithThePlacement(t *testing.T) {
	n := newTestNode(t)
	n.start()
	w := watch(t, n.client())
	w.next(t)
	n.change(func() {
		n.entitled = problem.New(problem.Forbidden, "Placement/web-1", "it is not to run here any more")
	})
	select {
	case err := <-w.failed:
		if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "not to run here") {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the stream goes on")
	}
}

func TestTheClientComesBackAfterTheAgentWasStartedAgain(t *testing.T) {
	n := newTestNode(t)
	end := n.start()
	before, err := os.Stat(n.dir)
	if err != nil {
		t.Fatal(err)
	}
	w := watch(t, n.client())
	w.next(t)
	end()
	// An agent that is killed leaves its socket.
	if err := os.WriteFile(n.socket(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n.rotate()
	n.start()
	w.next(t)
	if after, err := os.Stat(n.dir); err != nil || !os.SameFile(before, after) {
		t.Errorf("the directory is another one: %v", err)
	}
}

// bare is a connection without go-spiffe's manners.
func (n *testNode) bare(options ...grpc.DialOption) workload.SpiffeWorkloadAPIClient {
	n.t.Helper()
	options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	conn, err := grpc.NewClient("unix://"+n.socket(), options...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { _ = conn.Close() })
	return workload.NewSpiffeWorkloadAPIClient(conn)
}

// fetch gives the code of one call.
func fetch(t *testing.T, c workload.SpiffeWorkloadAPIClient, header ...string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), header...), time.Minute)
	defer cancel()
	stream, err := c.FetchX509SVID(ctx, &workload.X509SVIDRequest{})
	if err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

func TestWhoGetsNothing(t *testing.T) {
	good := []string{"workload.spiffe.io", "true"}
	for _, test := range []struct {
		name   string
		header []string
		with   func(n *testNode)
		code   codes.Code
	}{
		{"one that is as it should be", good, nil, codes.OK},
		{"without the header", nil, nil, codes.InvalidArgument},
		{"with another value of it", []string{"workload.spiffe.io", "yes"}, nil, codes.InvalidArgument},
		{"with two of it", append([]string{"workload.spiffe.io", "false"}, good...), nil, codes.InvalidArgument},
		{"a process that is of no container", good, func(n *testNode) {
			n.attested = problem.New(problem.NotFound, "process 7", "it is in no container of this node's")
		}, codes.PermissionDenied},
		{"when containerd does not answer", good, func(n *testNode) {
			n.attested = problem.New(problem.Unavailable, "process 7", "containerd does not answer")
		}, codes.Unavailable},
		{"a placement that asks for no identity", good, func(n *testNode) {
			n.entitled = problem.New(problem.Forbidden, "Placement/web-1", "its workload asks for no identity")
		}, codes.PermissionDenied},
		{"with headers like a flood", append([]string{"x-flood", strings.Repeat("x", 64<<10)}, good...), nil, codes.Internal},
	} {
		t.Run(test.name, func(t *testing.T) {
			n := newTestNode(t)
			if test.with != nil {
				n.change(func() { test.with(n) })
			}
			n.start()
			err := fetch(t, n.bare(), test.header...)
			if status.Code(err) != test.code && !(test.code == codes.Internal && err != nil) {
				t.Errorf("it gave %v", err)
			}
			if test.code == codes.PermissionDenied && !strings.Contains(err.Error(), "it") {
				t.Errorf("it does not say why: %v", err)
			}
		})
	}
}

func TestAProcessThatIsTakenForAnotherPlacementLaterGetsNothing(t *testing.T) {
	n := newTestNode(t)
	n.start()
	c := n.bare()
	if err := fetch(t, c, "workload.spiffe.io", "true"); err != nil {
		t.Fatal(err)
	}
	n.change(func() {
		n.attested = problem.New(problem.NotFound, "process 7", "it is in no container of this node's")
	})
	if err := fetch(t, c, "workload.spiffe.io", "true"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("it gave %v", err)
	}
}

func TestConnectionsOfOnePlacementAreBounded(t *testing.T) {
	n := newTestNode(t)
	n.start()
	refused := 0
	for range maxOfPlacement + 5 {
		if err := fetch(t, n.bare(), "workload.spiffe.io", "true"); err != nil {
			refused++
			if status.Code(err) != codes.ResourceExhausted {
				t.Errorf("it gave %v", err)
			}
		}
	}
	if refused != 5 {
		t.Errorf("%d were refused", refused)
	}
}

func TestStrangersCannotKeepOthersOut(t *testing.T) {
	n := newTestNode(t)
	n.start()
	n.change(func() {
		n.attested = problem.New(problem.NotFound, "process 7", "it is in no container of this node's")
	})
	closed := make(chan struct{}, maxConnections)
	for range maxConnections {
		conn, err := net.Dial("unix", n.socket())
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		t.Cleanup(func() { _ = conn.Close(); <-ended })
		go func() {
			defer close(ended)
			_, _ = io.ReadAll(conn)
			closed <- struct{}{}
		}()
	}
	for range maxConnections - maxRefused {
		<-closed
	}
	n.change(func() { n.attested = nil })
	if err := fetch(t, n.bare(), "workload.spiffe.io", "true"); err != nil {
		t.Errorf("it gave %v", err)
	}
}

func TestJunkIsGivenUp(t *testing.T) {
	n := newTestNode(t)
	n.start()
	for name, text := range map[string]string{
		"HTTP of another version": "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"noise":                   strings.Repeat("\x00\xff", 10_000),
		"half a preface":          "PRI * HTTP/2.0\r\n",
		"a preface and noise":     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 10_000),
	} {
		conn, err := net.Dial("unix", n.socket())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, text)
		if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); os.IsTimeout(err) {
			t.Errorf("%s keeps the connection", name)
		}
		_ = conn.Close()
	}
	if err := fetch(t, n.bare(), "workload.spiffe.io", "true"); err != nil {
		t.Errorf("after it a call gave %v", err)
	}
}

func TestWhatIsTooLargeOrNoGRPCIsRefused(t *testing.T) {
	n := newTestNode(t)
	n.start()
	conn, err := grpc.NewClient("unix://"+n.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "workload.spiffe.io", "true")
	err = conn.Invoke(ctx, workload.SpiffeWorkloadAPI_FetchX509SVID_FullMethodName,
		&workload.ValidateJWTSVIDRequest{Svid: strings.Repeat("x", 2*maxRequest)}, &workload.X509SVIDResponse{})
	if err == nil || status.Code(err) == codes.OK {
		t.Errorf("one that is too large gave %v", err)
	}
	web := &http.Client{Transport: &http.Transport{
		Protocols:   unencrypted(),
		DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", n.socket()) },
	}}
	defer web.CloseIdleConnections()
	answer, err := web.Post("http://localhost"+workload.SpiffeWorkloadAPI_FetchX509SVID_FullMethodName, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("JSON gave %s", answer.Status)
	}
}

func unencrypted() *http.Protocols {
	p := &http.Protocols{}
	p.SetUnencryptedHTTP2(true)
	return p
}

func TestACallerThatDiesIsLetGoOf(t *testing.T) {
	n := newTestNode(t)
	n.start()
	n.change(func() { n.attested = nil })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// The child hands its connection on to this process and ends; what is sent
	// over it afterwards is of nobody.
	conn := heir(t, exec.Command(self, "call-and-die", n.socket()))
	defer func() { _ = conn.Close() }()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); os.IsTimeout(err) {
		t.Error("the connection is still served")
	}
}
