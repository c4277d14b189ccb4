// Package gossip is this node's place in the site's Serf pool: who is there,
// and what they say of themselves. Gossip proposes, the replicated state
// decides: that somebody is in the pool makes nobody a node of the site.
//
// User events, queries and Serf's key manager are not used (SAFETY, rule 18).
package gossip

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/serf/serf"

	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// A failed node is known to all within about a second and a half.
	probeInterval    = 300 * time.Millisecond
	probeTimeout     = 150 * time.Millisecond
	suspicionMult    = 3
	gossipInterval   = 100 * time.Millisecond
	pushPullInterval = 15 * time.Second
	// rejoinEvery is how often the pool is held against the peer book.
	rejoinEvery = time.Second
	eventBuffer = 256
)

// Peer of the book.
type Peer struct{ Name, Address string }

// Config of a pool. All fields are required.
type Config struct {
	Name string
	// Address to listen on and to advertise, host:port.
	Address string
	// Key encrypts gossip; 32 bytes.
	Key []byte
	// Tags that others see, such as id, zone, version and role.
	Tags map[string]string
	// Book are the peers that ought to be in the pool, this node left out or
	// not. It is asked again and again.
	Book func() []Peer
	// Changed is told of every member that comes or goes. It must not block.
	Changed func(name string, alive bool)
	Env     env.System
	Logger  *slog.Logger
	// Tune changes Serf's configuration; for tests. May be nil.
	Tune func(*serf.Config)
}

// Pool is a member of the site's gossip.
type Pool struct {
	Config
	serf   *serf.Serf
	events chan serf.Event
}

// Open joins nobody yet; Run does. The caller must run Run, which closes the
// pool.
func Open(config Config) (*Pool, error) {
	host, port, err := splitAddress(config.Address)
	if err != nil {
		return nil, err
	}
	p := &Pool{Config: config, events: make(chan serf.Event, eventBuffer)}
	lists := memberlist.DefaultLANConfig()
	lists.Name = config.Name
	lists.BindAddr, lists.BindPort = host, port
	lists.AdvertiseAddr, lists.AdvertisePort = host, port
	lists.ProbeInterval, lists.ProbeTimeout = probeInterval, probeTimeout
	lists.SuspicionMult = suspicionMult
	lists.GossipInterval = gossipInterval
	lists.PushPullInterval = pushPullInterval
	lists.SecretKey = config.Key
	lists.LogOutput = nil
	lists.Logger = logger(config.Logger)

	c := serf.DefaultConfig()
	c.NodeName = config.Name
	c.Tags = config.Tags
	c.EventCh = p.events
	c.MemberlistConfig = lists
	c.Logger = lists.Logger
	c.LogOutput = nil
	c.DisableCoordinates = true
	c.EnableNameConflictResolution = false // the replicated state decides who is who
	c.UserEventSizeLimit = 0
	c.LeavePropagateDelay = 200 * time.Millisecond
	if config.Tune != nil {
		config.Tune(c)
	}
	p.serf, err = serf.Create(c)
	if err != nil {
		return nil, problem.New(problem.Internal, "gossip", "it cannot listen on %s: %w", config.Address, err).
			WithHint("is the address that of this machine, and the port free (ss -lntup)?")
	}
	return p, nil
}

func splitAddress(address string) (string, int, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, problem.New(problem.Invalid, "gossip", "%q is not host:port", address)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return "", 0, problem.New(problem.Invalid, "gossip", "%q is not host:port", address)
	}
	return host, port, nil
}

// Alive are the names of the members that are there, this node among them,
// sorted.
func (p *Pool) Alive() []string {
	var names []string
	for _, m := range p.serf.Members() {
		if m.Status == serf.StatusAlive {
			names = append(names, m.Name)
		}
	}
	slices.Sort(names)
	return names
}

// SetTags changes what others see of this node.
func (p *Pool) SetTags(tags map[string]string) error { return p.serf.SetTags(tags) }

// Run keeps the pool whole until ctx ends, then closes it. It does not say
// goodbye: a node that stops comes back, and nobody should take it for gone.
func (p *Pool) Run(ctx context.Context) error {
	defer p.close()
	rejoin := NewRejoin()
	timer := p.Env.Clock.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case event := <-p.events:
			p.tell(event)
		case <-timer.C():
			p.rejoin(rejoin)
			timer.Reset(rejoinEvery)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *Pool) tell(event serf.Event) {
	members, ok := event.(serf.MemberEvent)
	if !ok {
		return
	}
	for _, m := range members.Members {
		switch members.EventType() {
		case serf.EventMemberJoin:
			p.Logger.Info("pool: member joined", "node", m.Name)
			p.Changed(m.Name, true)
		case serf.EventMemberFailed, serf.EventMemberLeave:
			p.Logger.Info("pool: member lost", "node", m.Name)
			p.Changed(m.Name, false)
		}
	}
}

// rejoin calls missing peers. A call blocks for as long as TCP takes, at most
// memberlist's timeout.
func (p *Pool) rejoin(rejoin *Rejoin) {
	alive := map[string]bool{}
	for _, name := range p.Alive() {
		alive[name] = true
	}
	addresses := map[string]string{}
	var book []string
	for _, peer := range p.Book() {
		if peer.Name != p.Name && peer.Address != "" {
			addresses[peer.Name] = peer.Address
			book = append(book, peer.Name)
		}
	}
	for _, name := range rejoin.Step(p.Env.Clock.Elapsed(), alive, book, p.Env.Rand.Uint64()) {
		if _, err := p.serf.Join([]string{addresses[name]}, true); err != nil {
			p.Logger.Debug("a missing peer does not answer", "peer", name, "address", addresses[name], "error", err)
		}
	}
}

func (p *Pool) close() {
	if err := p.serf.Shutdown(); err != nil {
		p.Logger.Warn("gossip was not closed in order", "error", err)
	}
}

// logger brings what Serf and memberlist print into our log: what they call an
// error is a warning, all else is for somebody who debugs gossip.
func logger(to *slog.Logger) *log.Logger {
	return log.New(writer{to}, "", 0)
}

type writer struct{ to *slog.Logger }

var _ io.Writer = writer{}

func (w writer) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	level := slog.LevelDebug
	if strings.HasPrefix(text, "[ERR]") {
		level = slog.LevelInfo
	}
	w.to.Log(context.Background(), level, fmt.Sprintf("gossip: %s", text))
	return len(line), nil
}
