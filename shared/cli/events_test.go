package cli

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

type sendEvent = func(*skerryv1.EventsResponse) error

// eventStreams serves one stream after the other, and notes what was asked.
type eventStreams struct {
	site  *fakeSite
	asked []*skerryv1.EventsRequest
}

func streams(serve ...func(send func(...*skerryv1.Event)) error) *eventStreams {
	s := &eventStreams{site: harbour()}
	s.site.events = func(request *skerryv1.EventsRequest, send sendEvent) error {
		s.asked = append(s.asked, request)
		return serve[min(len(s.asked), len(serve))-1](func(events ...*skerryv1.Event) {
			for _, event := range events {
				// A caller that is gone is noticed by what it prints.
				_ = send(&skerryv1.EventsResponse{Event: event, Freshness: s.site.freshness})
			}
		})
	}
	return s
}

const eventLines = `2026-11-21 03:08:00Z  warning  NodeLost            node/node-2       nothing was heard of it, and a direct call failed
2026-11-21 03:08:00Z  warning  PlacementReplaced   placement/web-2   its node node-2 is lost: web-4 replaces it
2026-11-21 03:08:00Z  warning  PlacementPending    placement/web-4   1 node lost, port 8080/tcp is taken on 2 nodes
2026-11-21 03:11:00Z  info     PlacementHealthy    placement/till-1 in shop  on node-1
`

func TestEvents(t *testing.T) {
	all := func(send func(...*skerryv1.Event)) error { send(siteEvents()...); return nil }
	expect(t, streams(all).site, "events", 0, eventLines, "")
	one := func(send func(...*skerryv1.Event)) error { send(siteEvents()[2:]...); return nil }
	expect(t, streams(one).site, "events -o json", 0, `
{"index":"805","sub":1,"at":"2026-11-21T03:08:00Z","severity":"SEVERITY_WARNING","kind":"Placement","name":"web-4","project":"default","reason":"PlacementPending","message":"1 node lost, port 8080/tcp is taken on 2 nodes"}
{"index":"811","at":"2026-11-21T03:11:00Z","severity":"SEVERITY_INFO","kind":"Placement","name":"till-1","project":"shop","reason":"PlacementHealthy","message":"on node-1"}
`, "")
	site := streams(one)
	new(run).main(t, site.site, "events", "no", "node-2", "-n", "5", "-o", "yaml")
	wantProto(t, site.asked[0], &skerryv1.EventsRequest{Kind: "Node", Name: "node-2", Limit: 5})
}

func TestEventsAreMarkedStaleOnceForAsLongAsTheyAre(t *testing.T) {
	site, stale := harbour(), cutOff().freshness
	site.events = func(_ *skerryv1.EventsRequest, send sendEvent) error {
		for i, freshness := range []*skerryv1.Freshness{stale, stale, site.freshness, stale} {
			if err := send(&skerryv1.EventsResponse{Event: siteEvents()[i], Freshness: freshness}); err != nil {
				return err
			}
		}
		return nil
	}
	mark := "! stale: answered by node-3 without quorum, state as of 12s ago (epoch 1.4)\n"
	expect(t, site, "events", 0, eventLines, mark+mark)
}

func TestEventsGoOnWhereTheStreamWasLost(t *testing.T) {
	e := siteEvents()
	s := streams(
		func(send func(...*skerryv1.Event)) error { send(e[0], e[1]); panic(http.ErrAbortHandler) },
		func(func(...*skerryv1.Event)) error {
			return problem.ToConnect(problem.New(problem.Unavailable, "site", "there is no coordinator"))
		},
		// The second event of the log entry 805 was not seen yet.
		func(send func(...*skerryv1.Event)) error { send(e[1], e[2]); return nil },
		func(send func(...*skerryv1.Event)) error { send(e[2], e[3]); return nil },
		func(func(...*skerryv1.Event)) error { return missing("Site", "harbour") },
	)
	r := &run{clock: &fakeClock{}}
	if code := r.main(t, s.site, "events", "-f"); code != 3 {
		t.Errorf("exit code %d, want that of the last stream, 3", code)
	}
	if diff := cmp.Diff(eventLines, r.out.String()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	wantIn(t, r.err.String(), "! the connection was lost: trying again\nskerry: Site/harbour: there is no such site\n")
	first := &skerryv1.EventsRequest{Follow: true, Limit: 100}
	then := func(after uint64) *skerryv1.EventsRequest {
		return &skerryv1.EventsRequest{Follow: true, Limit: 4096, After: after}
	}
	want := []*skerryv1.EventsRequest{first, then(804), then(804), then(804), then(810)}
	if diff := cmp.Diff(want, s.asked, protocmp.Transform()); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}

func TestEventsGoOnWithTheNextCoordinator(t *testing.T) {
	e := siteEvents()
	var server *httptest.Server
	dies := streams(func(send func(...*skerryv1.Event)) error {
		send(e[0], e[1])
		_ = server.Listener.Close() // it was open
		server.CloseClientConnections()
		return nil
	})
	dies.site.voters = []string{nodeAddress}
	lives := streams(
		// The second event may have been lost with the connection, or not: what was
		// printed already is not printed again.
		func(send func(...*skerryv1.Event)) error { send(e...); return nil },
		func(func(...*skerryv1.Event)) error { return missing("Site", "harbour") },
	)
	lives.site.voters = []string{nodeAddress, "node-2.example.com:7600"}
	server = serve(t, dies.site.handler())
	r := &run{}
	code := r.against(t, map[string]*httptest.Server{
		nodeAddress: server, "node-2.example.com:7600": serve(t, lives.site.handler()),
	}, "events", "-f")
	if code != 3 {
		t.Errorf("exit code %d, want that of the last stream, 3: %s", code, r.err.String())
	}
	if diff := cmp.Diff(eventLines, r.out.String()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestFollowGivesUpAfterSomeTries(t *testing.T) {
	s := streams(func(func(...*skerryv1.Event)) error { return problem.ToConnect(harbour().refusal()) })
	r := &run{clock: &fakeClock{}}
	if code := r.main(t, s.site, "events", "-f"); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
	want := "! there is no coordinator: trying again\nskerry: site: there is no coordinator\n  hint: reads work with --stale\n"
	if diff := cmp.Diff(want, r.err.String()); diff != "" {
		t.Errorf("standard error (-want +got):\n%s", diff)
	}
	waits := []time.Duration{100, 200, 400, 800, 1600, 2000, 2000, 2000, 2000, 2000}
	for i := range waits {
		waits[i] *= time.Millisecond
	}
	if diff := cmp.Diff(waits, r.clock.waits); diff != "" {
		t.Errorf("waits (-want +got):\n%s", diff)
	}
}

func TestFollowSurvivesAnyNumberOfLossesThatAreFarApart(t *testing.T) {
	r := &run{clock: &fakeClock{}}
	var s *eventStreams
	s = streams(func(func(...*skerryv1.Event)) error {
		if len(s.asked) > 5*followTries {
			return missing("Site", "harbour")
		}
		r.clock.advance(followSteady)
		return nil
	})
	if code := r.main(t, s.site, "events", "-f"); code != 3 {
		t.Errorf("exit code %d after %d streams, want 3", code, len(s.asked))
	}
}

func TestFollowEndsWithCtrlC(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	s := streams(func(send func(...*skerryv1.Event)) error {
		send(siteEvents()[0])
		cancel()
		<-ended
		return nil
	})
	r := &run{ctx: ctx}
	if code := r.main(t, s.site, "events", "-f"); code != 130 {
		t.Errorf("exit code %d, want 130", code)
	}
	close(ended)
	if strings.Contains(r.err.String(), "skerry:") || len(s.asked) != 1 {
		t.Errorf("after %d streams it says %q", len(s.asked), r.err.String())
	}
}
