package mtls

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"skerry.dev/certs"
)

// Recorder is a Source that knows the site's records. With one, a certificate
// whose CA has left the chain of trust still counts for the key on record: what
// an evicted voter once issued to others is not what somebody issues with its
// stolen key.
type Recorder interface {
	Source
	// OnRecord tells whether the site has this key on record for this ID.
	OnRecord(certs.Peer) bool
}

// identify finds out who shows a chain, by what is believed now; a certificate
// that begins later than the given time is judged at its beginning.
func identify(source Source, chain []*x509.Certificate, now time.Time) (certs.Peer, error) {
	peer, err := certs.VerifyPeer(chain, source.Bundle(), now)
	recorder, ok := source.(Recorder)
	if !ok || !errors.Is(err, certs.ErrUnknownAuthority) {
		return peer, err
	}
	former, formerErr := certs.VerifyFormer(chain, source.Bundle(), now)
	if formerErr != nil || !recorder.OnRecord(former) {
		return certs.Peer{}, err
	}
	return former, nil
}

// guests are the open connections whose other end has an identity.
type guests struct {
	mu   sync.Mutex
	open map[*guest]struct{}
}

// guest is one of them. What it was let in by may cease to count.
type guest struct {
	source Source
	judge  judge
	conn   net.Conn
	chain  []*x509.Certificate
	// seen is the version of the chain of trust that it was last judged by.
	seen atomic.Uint64
}

// enter notes a connection whose peer was identified by a version; leave
// forgets it.
func (g *guests) enter(source Source, by judge, conn net.Conn, chain []*x509.Certificate, version uint64) (entered *guest, leave func()) {
	entered = &guest{source: source, judge: by, conn: conn, chain: chain}
	entered.seen.Store(version)
	g.mu.Lock()
	if g.open == nil {
		g.open = map[*guest]struct{}{}
	}
	g.open[entered] = struct{}{}
	g.mu.Unlock()
	return entered, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.open, entered)
	}
}

// recheck cuts the connections of all who do not count any more, and tells how
// many those were.
func (g *guests) recheck() int {
	g.mu.Lock()
	all := make([]*guest, 0, len(g.open))
	for one := range g.open {
		all = append(all, one)
	}
	g.mu.Unlock()
	cut := 0
	for _, one := range all {
		if one.check() != nil {
			cut++
		}
	}
	return cut
}

// check judges the guest by the chain of trust of this moment, and cuts the
// connection when it does not count any more. It costs nothing while the chain
// is the same.
func (g *guest) check() error {
	version := g.source.Bundle().Version()
	if g.seen.Load() == version {
		return nil
	}
	if _, err := g.judge(g.source, g.chain); err != nil {
		_ = g.conn.Close() // it is being thrown out
		return err
	}
	g.seen.Store(version)
	return nil
}

// onEveryCall checks the guest before each of its calls.
func (g *guest) onEveryCall(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.check() != nil {
			panic(http.ErrAbortHandler) // nobody is there any more to be told
		}
		next.ServeHTTP(w, r)
	})
}
