package mtls

import (
	"net/http"
	"net/http/httptrace"
	"sync"
	"testing"

	"skerry.dev/shared/env"
)

// TestWhoAsksForMoreThanAConnectionTakesOpensAnother: a client keeps to what the server
// announces, and nothing fails for it.
func TestWhoAsksForMoreThanAConnectionTakesOpensAnother(t *testing.T) {
	tr := newTrust(t)
	_, address := tr.node("n1", tr.authority).serve()
	client := (&Dialer{Net: env.NewSystem().Net, Source: tr.node("n2", tr.authority)}).HTTPClient(API2, ExpectNode("n1"))
	defer client.CloseIdleConnections()
	streams := map[string]int{}
	var mu sync.Mutex
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		mu.Lock()
		defer mu.Unlock()
		streams[got.Conn.LocalAddr().String()]++
	}})
	for range maxStreams + 1 { // each goes on
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/stream", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
	}
	most := 0
	for _, n := range streams {
		most = max(most, n)
	}
	if len(streams) != 2 || most != maxStreams {
		t.Errorf("streams of each connection: %v", streams)
	}
}
