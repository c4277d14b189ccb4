package years

import (
	"context"
	"net/http"
	"time"

	"skerry.dev/agent/identity"
	"skerry.dev/agent/ledger"
	"skerry.dev/certs"
	"skerry.dev/certs/mtls"
	"skerry.dev/coordinator/api"
	"skerry.dev/shared/api/skerry/site/v1/sitev1connect"
	"skerry.dev/shared/env"
	"skerry.dev/shared/sitetime"
)

// host is one machine.
type host struct {
	world   *world
	name    string
	votes   bool
	disk    *disk
	offset  time.Duration // of the wall clock against the true time
	rate    float64       // of both clocks
	on      bool
	booted  time.Time // true time of the last boot
	node    *identity.Node
	dialer  *mtls.Dialer
	stop    func()
	renewed int
	// retiring are the CAs that issue no more, by its last orders.
	retiring [][]byte
}

const stateDir = "/state"

func (h *host) address() string { return h.name + ":7600" }

// Now implements env.Clock: the wall clock.
func (h *host) Now() time.Time {
	h.world.clocks.RLock()
	defer h.world.clocks.RUnlock()
	return h.world.now.Add(h.offset + time.Duration(float64(h.world.now.Sub(begun))*(h.rate-1)))
}

// Elapsed implements env.Clock.
func (h *host) Elapsed() time.Duration {
	h.world.clocks.RLock()
	defer h.world.clocks.RUnlock()
	return time.Duration(float64(h.world.now.Sub(h.booted)) * h.rate)
}

// NewTimer implements env.Clock for what needs one on the way: real time.
func (h *host) NewTimer(d time.Duration) env.Timer { return env.NewSystem().Clock.NewTimer(d) }

func (h *host) system() env.System {
	return env.System{Clock: h, Rand: env.NewSystem().Rand, Net: &h.world.net, FS: h.disk}
}

// boot starts the agent's part that is looked at here.
func (h *host) boot() {
	h.on = true
	h.world.turn(func() { h.booted = h.world.now })
	node, err := identity.Load(h.system(), identity.Dir(stateDir))
	h.world.must(err)
	kept, err := ledger.Open(h.disk, stateDir)
	h.world.must(err)
	node.KnowTime(sitetime.NewKeeper(h, kept.Time(), time.Time{}))
	node.Gate().Orders = func() [][]byte { return h.retiring }
	h.node = node
	source := h.source()
	h.dialer = &mtls.Dialer{Net: &h.world.net, Source: source}
	server := mtls.NewServer(source, h.world.logger)
	anybody := func(certs.Peer) error { return nil }
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	server.HandleHTTP([]string{mtls.Peer, mtls.API2}, anybody, ok)
	joins, renewals := http.NewServeMux(), http.NewServeMux()
	if h.votes {
		joins.Handle(sitev1connect.NewJoinServiceHandler(api.Join{Store: h.world.store}))
		renewals.Handle(sitev1connect.NewRenewServiceHandler(api.Renew{
			Log: model{}, Store: h.world.store, Authority: node.Authority, SiteTime: clocks{keeper: node.SiteTime(), world: h.world},
		}))
	}
	server.HandleHTTP([]string{mtls.Join}, nil, joins)
	server.HandleHTTP([]string{mtls.Renew}, anybody, renewals)
	ctx, cancel := context.WithCancel(context.Background())
	listener, err := h.world.net.Listen(ctx, "tcp", h.address())
	h.world.must(err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = server.Serve(ctx, listener) // ends with ctx
	}()
	h.stop = func() {
		cancel()
		<-ended
	}
}

// source is by whom and by what time this host judges.
func (h *host) source() mtls.Source {
	if h.world.bug == JudgeByWallClock {
		return wallClock{h.node, h}
	}
	return h.node
}

// powerOff ends it; what is on the disk stays.
func (h *host) powerOff() {
	if h.on {
		h.on = false
		h.world.net.forget(h.address())
		h.stop()
	}
}

// keep writes site time down, as the agent does every few minutes.
func (h *host) keep() {
	kept, err := ledger.Open(h.disk, stateDir)
	h.world.must(err)
	h.world.must(kept.KeepTime(h.node.SiteTime().Read()))
}

// reach makes one call to another host: both have to accept each other.
func (h *host) reach(to *host) error { return call(h.world, h.dialer, to.address(), mtls.Peer) }

// renew does what the agent does when its SVID is due, or when it is refused.
func (h *host) renew(refused bool) {
	due := h.node.Due()
	if h.world.bug == RenewOnlyWhenDue {
		refused = false
	}
	if !due && !refused {
		return
	}
	var voters []string
	for _, other := range h.world.hosts {
		if other.votes && other.on {
			voters = append(voters, other.address())
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTime)
	defer cancel()
	renewed, err := identity.Renew(ctx, h.system(), h.node, voters, due)
	if renewed {
		h.renewed++
	}
	if err != nil {
		h.world.notef("%s is not renewed: %v", h.name, err)
	}
}

// wallClock is the planted bug of judging certificates by the host's clock.
type wallClock struct {
	*identity.Node
	host *host
}

func (w wallClock) Now() time.Time { return w.host.Now() }
