package client

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/net/http2"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/problem"
)

// node answers after a while, or never, or not at all.
type node struct {
	skerryv1connect.UnimplementedSiteServiceHandler
	voters        []string
	voter, quorum bool
	silent, off   bool
	after         time.Duration
	// passesTo is the coordinator that it has its answers from; mu guards it and voters.
	passesTo string
	mu       sync.Mutex
	// refusals answer the first writes; asked are the IDs of all. mu guards them, too.
	refusals []error
	asked    []string
	// mute: it does not say who else there is.
	mute atomic.Bool

	name    string
	located atomic.Int32
}

func (n *node) Locate(ctx context.Context, _ *connect.Request[skerryv1.LocateRequest]) (*connect.Response[skerryv1.LocateResponse], error) {
	n.located.Add(1)
	waited, cancel := context.WithTimeout(ctx, n.after)
	defer cancel()
	<-waited.Done()
	if n.mute.Load() {
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("too busy"))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return connect.NewResponse(&skerryv1.LocateResponse{Node: n.name, Voter: n.voter, Quorum: n.quorum, Voters: n.voters}), nil
}

func (n *node) Status(context.Context, *connect.Request[skerryv1.StatusRequest]) (*connect.Response[skerryv1.StatusResponse], error) {
	response := connect.NewResponse(&skerryv1.StatusResponse{Coordinator: n.name})
	if !n.quorum {
		response.Header().Set(StaleHeader, "true")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.passesTo != "" {
		response.Header().Set(CoordinatorHeader, n.passesTo)
	}
	return response, nil
}

// nodes of a site that is served by this process, by their addresses.
type nodes struct {
	at map[string]string

	mu      sync.Mutex
	silent  int // connections to those that are silent
	largest int // most of them at once
	closed  chan struct{}
}

func serve(t *testing.T, serves map[string]*node) (*nodes, *http.Client) {
	t.Helper()
	n := &nodes{at: map[string]string{}, closed: make(chan struct{}, 1)}
	var trusted *tls.Config
	for address, of := range serves {
		of.name = address
		switch {
		case of.silent:
			n.at[address] = n.listen(t)
		case !of.off:
			mux := http.NewServeMux()
			mux.Handle(skerryv1connect.NewSiteServiceHandler(of))
			if !of.voter && len(of.voters) > 0 {
				mux.Handle(skerryv1connect.SiteServiceStatusProcedure, http.RedirectHandler("https://"+of.voters[0], http.StatusTemporaryRedirect))
			}
			server := httptest.NewUnstartedServer(mux)
			server.EnableHTTP2 = true
			server.StartTLS()
			t.Cleanup(func() {
				server.CloseClientConnections()
				server.Close()
			})
			n.at[address] = server.Listener.Addr().String()
			trusted = server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
			trusted.ServerName = "example.com"
		}
	}
	// As certs/mtls does it.
	//lint:ignore SA1019 http.Transport goes on dialing for a request that was given up
	transport := &http2.Transport{DialTLSContext: func(ctx context.Context, network, address string, config *tls.Config) (net.Conn, error) {
		if n.at[address] == "" {
			return nil, errors.New("connection refused")
		}
		if trusted != nil {
			config = trusted.Clone()
			config.NextProtos = []string{"h2"}
		}
		return (&tls.Dialer{Config: config}).DialContext(ctx, network, n.at[address])
	}}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	t.Cleanup(client.CloseIdleConnections)
	return n, client
}

// listen and say nothing.
func (n *nodes) listen(t *testing.T) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n.count(1)
			group.Go(func() {
				_, _ = io.Copy(io.Discard, conn) // until the other side has closed it
				n.count(-1)
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		group.Wait()
	})
	return listener.Addr().String()
}

func (n *nodes) count(more int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.silent += more
	n.largest = max(n.largest, n.silent)
	select {
	case n.closed <- struct{}{}:
	default: // somebody will look anyhow
	}
}

const (
	quick = 40 * time.Millisecond
	// A new connection takes three round trips, of 110 ms and of 150 ms.
	far, farther = 330 * time.Millisecond, 450 * time.Millisecond
	// ample for whoever does not wait for the silent ones: each takes a second.
	ample = 1500 * time.Millisecond
)

func TestWhoIsAsked(t *testing.T) {
	silent := func() *node { return &node{silent: true} }
	all := []string{"a:1", "b:1", "c:1", "d:1", "e:1"}
	// a site that is far away: n:1 does not vote, a:1 is the coordinator.
	away := func(after time.Duration) map[string]*node {
		site := map[string]*node{"n:1": {after: after, voters: all[:3]}}
		for _, voter := range all[:3] {
			site[voter] = &node{after: after, voter: true, quorum: true, voters: all[:3]}
		}
		return site
	}
	for name, test := range map[string]struct {
		nodes  map[string]*node
		given  []string
		direct bool
		want   string
	}{
		"a voter that is cut off from the four that it names": {
			map[string]*node{"a:1": {voter: true, voters: all}, "b:1": silent(), "c:1": silent(), "d:1": silent(), "e:1": silent()},
			[]string{"a:1"}, false, "a:1"},
		"a voter without quorum, the last of five": {
			map[string]*node{"a:1": silent(), "b:1": silent(), "c:1": silent(), "d:1": silent(), "e:1": {voter: true, voters: all}},
			all, false, "e:1"},
		"the coordinator, the last of five": {
			map[string]*node{"a:1": silent(), "b:1": silent(), "c:1": silent(), "d:1": silent(), "e:1": {voter: true, quorum: true, voters: []string{"e:1", "a:1"}}},
			all, false, "e:1"},
		"a voter that has not noticed that the coordinator is gone": {
			map[string]*node{"a:1": silent(), "b:1": {voter: true, quorum: true, voters: []string{"a:1", "b:1", "c:1"}}, "c:1": silent()},
			[]string{"b:1", "c:1"}, false, "b:1"},
		"the coordinator, whom another voter names": {
			map[string]*node{"a:1": {voter: true, quorum: true, voters: []string{"b:1", "a:1"}}, "b:1": {voter: true, quorum: true, after: quick, voters: []string{"b:1", "a:1"}}},
			[]string{"a:1"}, false, "b:1"},
		"the coordinator, though one without quorum was faster": {
			map[string]*node{"a:1": {voter: true, voters: []string{"a:1", "b:1", "c:1"}}, "b:1": silent(), "c:1": {voter: true, quorum: true, after: quick, voters: []string{"c:1", "a:1"}}},
			[]string{"a:1"}, false, "c:1"},
		"a voter with quorum that names nobody who answers": {
			map[string]*node{"a:1": {voter: true, quorum: true, voters: []string{"b:1", "a:1"}}, "b:1": {off: true}},
			[]string{"a:1"}, false, "a:1"},
		"the voter that was given, not the one that it names": {
			map[string]*node{"a:1": {voter: true, after: quick, voters: []string{"b:1", "a:1"}}, "b:1": {voter: true}},
			[]string{"a:1"}, false, "a:1"},
		"the first of those that were given": {
			map[string]*node{"a:1": {voter: true, after: 2 * askNext}, "b:1": {voter: true}},
			[]string{"a:1", "b:1"}, false, "a:1"},
		"a voter without quorum rather than a node alone": {
			map[string]*node{"a:1": {}, "b:1": {voter: true, after: quick}},
			[]string{"a:1", "b:1"}, false, "b:1"},
		"a node alone": {
			map[string]*node{"a:1": {off: true}, "b:1": {}, "c:1": silent()},
			[]string{"a:1", "b:1", "c:1"}, false, "b:1"},
		"the voter that a node names": {
			map[string]*node{"a:1": {voters: []string{"b:1"}}, "b:1": {voter: true, quorum: true, voters: []string{"b:1"}}},
			[]string{"a:1"}, false, "b:1"},
		"directly: a voter without quorum, though it names the coordinator": {
			map[string]*node{"a:1": {voter: true, voters: []string{"b:1", "a:1"}}, "b:1": {voter: true, quorum: true, voters: []string{"b:1"}}},
			[]string{"a:1"}, true, "a:1"},
		"directly: a voter that does not coordinate": {
			map[string]*node{"a:1": {voter: true, quorum: true, voters: []string{"b:1", "a:1"}}, "b:1": {voter: true, quorum: true, voters: []string{"b:1"}}},
			[]string{"a:1"}, true, "a:1"},
		"directly: the voter that a node names, and no further": {
			map[string]*node{"a:1": {voters: []string{"b:1"}}, "b:1": {voter: true, voters: []string{"c:1", "b:1"}}, "c:1": {voter: true, quorum: true, voters: []string{"c:1"}}},
			[]string{"a:1"}, true, "b:1"},
		"far away: the coordinator, whom a node names":               {away(far), []string{"n:1"}, false, "a:1"},
		"farther away: the coordinator, whom a node names":           {away(farther), []string{"n:1"}, false, "a:1"},
		"directly, far away: the coordinator, whom a node names":     {away(far), []string{"n:1"}, true, "a:1"},
		"directly, farther away: the coordinator, whom a node names": {away(farther), []string{"n:1"}, true, "a:1"},
		"far away: a voter without quorum, as soon as one of three answers": {
			map[string]*node{"n:1": {after: far, voters: all[:3]}, "a:1": silent(), "b:1": {after: far, voter: true, voters: all[:3]}, "c:1": silent()},
			[]string{"n:1"}, false, "b:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, http := serve(t, test.nodes)
			c := New(http, test.given)
			c.Direct = test.direct
			begun := time.Now()
			response, err := c.Site().Status(t.Context(), connect.NewRequest(&skerryv1.StatusRequest{}))
			if took := time.Since(begun); err != nil || took > ample {
				t.Fatalf("after %s it gave %v", took, err)
			}
			if got := response.Msg.GetCoordinator(); got != test.want {
				t.Errorf("it asked %s, want %s", got, test.want)
			}
		})
	}
}

// What is no better than what there is does not make anybody wait longer.
func TestAnswersThatAreNoBetterAreNotWaitedFor(t *testing.T) {
	all := []string{"a:1", "b:1", "c:1", "d:1", "e:1", "f:1", "g:1", "h:1"}
	serves := map[string]*node{"a:1": {voter: true, voters: all}, "h:1": {silent: true}}
	for i, voter := range all[1:7] {
		serves[voter] = &node{voter: true, voters: all, after: time.Duration(i+1) * waitBetter * 5 / 6}
	}
	_, http := serve(t, serves)
	c := New(http, all[:1])
	c.Patience = 2 * ample
	begun := time.Now()
	base, err := c.locate(t.Context())
	if took := time.Since(begun); base != "a:1" || err != nil || took > ample {
		t.Errorf("after %s it gave %q, %v", took, base, err)
	}
}

// The addresses of one of two sites that had been recovered apart from each other
// must not be remembered because somebody looked at it.
func TestWhoIsAskedDirectlyIsNotRemembered(t *testing.T) {
	voters := []string{"a:1", "b:1"}
	_, http := serve(t, map[string]*node{"a:1": {voter: true, quorum: true, voters: voters}})
	for _, direct := range []bool{false, true} {
		var learned []string
		c := New(http, voters[:1])
		c.Direct, c.Learned = direct, func(voters []string) { learned = voters }
		if _, err := c.locate(t.Context()); err != nil {
			t.Fatal(err)
		}
		if slices.Equal(learned, voters) == direct {
			t.Errorf("directly: %t, it is told %q", direct, learned)
		}
	}
}

// Who named a node is not promised that another one will be asked.
func TestWhatToDoWhenACallDoesNotGetThrough(t *testing.T) {
	_, http := serve(t, map[string]*node{"n:1": {voters: []string{"a:1"}}, "a:1": {off: true}})
	for direct, hint := range map[bool]string{false: "another node will be asked", true: "ask another node: --address HOST:PORT"} {
		c := New(http, []string{"n:1"})
		c.Direct = direct
		_, err := c.Site().Status(t.Context(), connect.NewRequest(&skerryv1.StatusRequest{}))
		var p *problem.Error
		if !errors.As(problem.FromConnect(err), &p) || !strings.Contains(p.Error(), "leaves the call to a:1") || !strings.Contains(p.Hint, hint) {
			t.Errorf("directly: %t, it does not say %q: %#v", direct, hint, p)
		}
	}
}

// When a question is answered all others have been given up, and no more than
// maxAsked were ever under way.
func TestQuestionsAreBoundedAndEnd(t *testing.T) {
	serves, given := map[string]*node{"a:1": {voter: true}}, []string{"a:1"}
	for _, letter := range "bcdefghijklmnopq" {
		address := string(letter) + ":1"
		serves[address], given = &node{silent: true}, append(given, address)
	}
	n, http := serve(t, serves)
	if base, err := New(http, given).locate(t.Context()); base != "a:1" || err != nil {
		t.Fatal(base, err)
	}
	n.mu.Lock()
	if n.largest != maxAsked {
		t.Errorf("%d were asked at once, want %d", n.largest, maxAsked)
	}
	n.mu.Unlock()
	for deadline := time.After(5 * time.Second); ; {
		n.mu.Lock()
		left := n.silent
		n.mu.Unlock()
		if left == 0 {
			return
		}
		select {
		case <-n.closed:
		case <-deadline:
			t.Fatalf("%d questions are still under way", left)
		}
	}
}

// Nobody answers: that takes no longer than the last question, and all are told.
func TestWhenNobodyAnswersAllAreNamed(t *testing.T) {
	_, http := serve(t, map[string]*node{"a:1": {silent: true}, "b:1": {silent: true}, "c:1": {silent: true}})
	begun := time.Now()
	_, err := New(http, []string{"a:1", "b:1", "c:1"}).locate(t.Context())
	if took := time.Since(begun); err == nil || took > 2*locateTimeout {
		t.Fatalf("after %s it gave %v", took, err)
	}
	for _, want := range []string{"a:1: no answer within 1s", "b:1: no answer", "c:1: no answer"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it does not say %q: %v", want, err)
		}
	}
}

// inOffice is told to each of the voters named, the coordinator first.
func inOffice(coordinator *node, others ...*node) {
	voters := []string{coordinator.name}
	for _, n := range others {
		voters = append(voters, n.name)
	}
	for _, n := range append(others, coordinator) {
		n.mu.Lock()
		n.voters, n.passesTo = voters, coordinator.name
		if n == coordinator {
			n.passesTo = ""
		}
		n.mu.Unlock()
	}
}

// A voter that was the coordinator passes calls on, slowly perhaps.
func TestWhoIsPassedOnLooksForTheCoordinator(t *testing.T) {
	given := &node{voter: true, quorum: true, voters: []string{"a:1", "b:1"}}
	first, second := &node{voter: true, quorum: true}, &node{voter: true, quorum: true}
	reached, http := serve(t, map[string]*node{"n:1": given, "a:1": first, "b:1": second})
	inOffice(first, second)
	c := New(http, []string{"n:1"})
	asks := func(times int, want *node) {
		t.Helper()
		for range times {
			response, err := c.Site().Status(t.Context(), connect.NewRequest(&skerryv1.StatusRequest{}))
			if err != nil {
				t.Fatal(err)
			}
			if answered := response.Msg.GetCoordinator(); answered != want.name {
				t.Fatalf("%s answered, want %s", answered, want.name)
			}
		}
	}
	asks(2, first)
	// The node that it began with is not needed any more.
	http.CloseIdleConnections()
	delete(reached.at, "n:1")
	inOffice(second, first)
	asks(1, first)
	asks(2, second)
	// What the former one answers late changes nothing.
	looked := second.located.Load()
	c.passedOn(first.name, "c:1")
	asks(1, second)
	if second.located.Load() != looked {
		t.Error("an answer of who was left made it look for somebody else")
	}

	inOffice(first, second)
	asks(1, second)
	asks(2, first)
}

// Who asks a node for what it says itself, or has heard that nobody knows better, stays.
func TestWhoStaysThoughAnotherCoordinates(t *testing.T) {
	for name, begin := range map[string]func(*Client){
		"directly": func(c *Client) { c.Direct = true },
		"settled": func(c *Client) {
			c.passedOn("a:1", "c:1") // whom it would have looked for
			c.Settle()
		},
	} {
		voter := &node{voter: true, quorum: true, voters: []string{"a:1"}}
		coordinator := &node{voter: true, quorum: true}
		_, http := serve(t, map[string]*node{"a:1": voter, "b:1": coordinator})
		c := New(http, []string{"a:1"})
		if _, err := c.locate(t.Context()); err != nil {
			t.Fatal(err)
		}
		looked := voter.located.Load()
		inOffice(coordinator, voter)
		begin(c)
		for range 3 {
			response, err := c.Site().Status(t.Context(), connect.NewRequest(&skerryv1.StatusRequest{}))
			if err != nil {
				t.Fatal(err)
			}
			if answered := response.Msg.GetCoordinator(); answered != "a:1" {
				t.Errorf("%s: %s answered", name, answered)
			}
		}
		if again := voter.located.Load() - looked; again != 0 {
			t.Errorf("%s: it looked for somebody else %d times", name, again)
		}
	}
}

// The node that was given is gone, and so is the voter that came of it: others were named.
func TestWhoWasNamedIsAskedWhenTheGivenAreGone(t *testing.T) {
	site := map[string]*node{"n:1": {}, "a:1": {}, "b:1": {}, "c:1": {}}
	for _, n := range site {
		n.voter, n.quorum = true, true
	}
	reached, http := serve(t, site)
	inOffice(site["a:1"], site["b:1"], site["n:1"])
	c := New(http, []string{"n:1"})
	asks := func() (string, error) {
		response, err := c.Site().Status(t.Context(), connect.NewRequest(&skerryv1.StatusRequest{}))
		if err != nil {
			return "", err
		}
		return response.Msg.GetCoordinator(), nil
	}
	for _, step := range []struct{ gone, next, further string }{{"n:1", "a:1", "b:1"}, {"a:1", "b:1", "c:1"}, {"b:1", "c:1", "c:1"}} {
		if got, err := asks(); err != nil {
			t.Fatal(got, err)
		}
		http.CloseIdleConnections()
		delete(reached.at, step.gone)
		inOffice(site[step.next], site[step.further])
		_, _ = asks() // it may find out only now
		if got, err := asks(); got != step.next || err != nil {
			t.Errorf("without %s it asked %q, %v; want %s", step.gone, got, err, step.next)
		}
	}
}

// A coordinator that is out of reach is looked for now and then, not with each request,
// and the voter that passes them on is kept although nobody else is found.
func TestACoordinatorOutOfReachIsLookedForNowAndThen(t *testing.T) {
	voter := &node{voter: true, quorum: true, voters: []string{"c:1", "a:1"}, passesTo: "c:1"}
	_, http := serve(t, map[string]*node{"a:1": voter})
	c := New(http, []string{"a:1"})
	for _, want := range []int32{1, 2} {
		for range 5 {
			if _, err := c.Site().Status(t.Context(), connect.NewRequest(&skerryv1.StatusRequest{})); err != nil {
				t.Fatal(err)
			}
		}
		if looked := voter.located.Load(); looked != want {
			t.Errorf("it looked %d times, want %d", looked, want)
		}
		c.rest.end()
	}
	// It does not say any more who else there is.
	voter.mute.Store(true)
	for range 2 {
		if _, err := c.Site().Status(t.Context(), connect.NewRequest(&skerryv1.StatusRequest{})); err != nil {
			t.Fatal(err)
		}
	}
}

// A voter with quorum that does not say in time who else there is is not left for one
// that is cut off.
func TestNobodyIsLeftForOneWithoutQuorum(t *testing.T) {
	voter := &node{voter: true, quorum: true, voters: []string{"c:1", "a:1"}, passesTo: "c:1"}
	_, http := serve(t, map[string]*node{"cut:1": {voter: true, voters: []string{"cut:1"}}, "a:1": voter})
	c := New(http, []string{"cut:1", "a:1"})
	voter.mute.Store(true)
	c.base = "a:1"
	for range 3 {
		status, err := c.Site().Status(t.Context(), connect.NewRequest(&skerryv1.StatusRequest{}))
		if err != nil {
			t.Fatal(err)
		}
		if got := status.Msg.GetCoordinator(); got != "a:1" {
			t.Errorf("it asked %s", got)
		}
	}
	if voter.located.Load() == 0 {
		t.Error("it never looked for the coordinator")
	}
}

// Who has heard that nobody knows better looks again only when asked to, or when
// the node fails.
func TestWhoSettlesLooksOnce(t *testing.T) {
	serves := map[string]*node{"a:1": {voter: true, voters: []string{"a:1", "b:1"}}, "b:1": {silent: true}}
	_, http := serve(t, serves)
	c := New(http, []string{"a:1"})
	ask := func() {
		t.Helper()
		if _, err := c.Site().Status(t.Context(), connect.NewRequest(&skerryv1.StatusRequest{})); err != nil {
			t.Fatal(err)
		}
	}
	ask()
	ask()
	if looked := serves["a:1"].located.Load(); looked != 2 {
		t.Errorf("it looked %d times for two answers that were out of date", looked)
	}
	c.Settle()
	for range 3 {
		ask()
	}
	if looked := serves["a:1"].located.Load(); looked != 2 {
		t.Errorf("it looked %d times, want no more", looked)
	}
	c.forget("a:1", true)
	ask()
	ask()
	if looked := serves["a:1"].located.Load(); looked != 4 {
		t.Errorf("it looked %d times: a node that failed is left", looked)
	}
}
