// Package gossip is this node's place in the site's pool: who is there. Gossip
// proposes, the replicated state decides: that somebody is in the pool makes
// nobody a node of the site.
//
// It is memberlist without Serf, whose queries cannot be switched off: with one
// of them anybody who has a key can change the keys of all others (SAFETY, rule
// 18; docs/decisions/0022-eviction.md). Keys come with the orders, over mTLS.
package gossip

import (
	"bytes"
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
	// Keys decrypt gossip, the first one encrypts it; 32 bytes each.
	Keys [][]byte
	// Book are the peers that ought to be in the pool, this node left out or
	// not. It is asked again and again.
	Book func() []Peer
	// Changed is told of every member that comes or goes. It must not block.
	Changed func(name string, alive bool)
	Env     env.System
	Logger  *slog.Logger
}

// Pool is a member of the site's gossip.
type Pool struct {
	Config
	list   *memberlist.Memberlist
	ring   *memberlist.Keyring
	events chan memberlist.NodeEvent
}

// Open joins nobody yet; Run does. The caller must run Run, which closes the
// pool.
func Open(config Config) (*Pool, error) {
	host, port, err := splitAddress(config.Address)
	if err != nil {
		return nil, err
	}
	ring, err := memberlist.NewKeyring(config.Keys[1:], config.Keys[0])
	if err != nil {
		return nil, problem.New(problem.Internal, "gossip", "its keys are of no use: %w", err)
	}
	p := &Pool{Config: config, ring: ring, events: make(chan memberlist.NodeEvent, eventBuffer)}
	c := memberlist.DefaultLANConfig()
	c.Name = config.Name
	c.BindAddr, c.BindPort = host, port
	c.AdvertiseAddr, c.AdvertisePort = host, port
	c.ProbeInterval, c.ProbeTimeout = probeInterval, probeTimeout
	c.SuspicionMult = suspicionMult
	c.GossipInterval = gossipInterval
	c.PushPullInterval = pushPullInterval
	c.Keyring = ring
	c.Events = events{p}
	c.LogOutput = nil
	c.Logger = logger(config.Logger)
	p.list, err = memberlist.Create(c)
	if err != nil {
		return nil, problem.New(problem.Internal, "gossip", "it cannot listen on %s: %w", config.Address, err).
			WithHint("is the address that of this machine, and the port free (ss -lntup)?")
	}
	return p, nil
}

// events passes on what memberlist sees. It is called with a lock held and must
// not block: what does not fit is found out by heartbeats.
type events struct{ *Pool }

// NotifyJoin implements memberlist.EventDelegate, as do the others.
func (e events) NotifyJoin(n *memberlist.Node) { e.pass(memberlist.NodeJoin, n) }

// NotifyLeave is called for members that left or died.
func (e events) NotifyLeave(n *memberlist.Node) { e.pass(memberlist.NodeLeave, n) }

// NotifyUpdate is of no interest: members say nothing of themselves.
func (e events) NotifyUpdate(*memberlist.Node) {}

func (e events) pass(kind memberlist.NodeEventType, n *memberlist.Node) {
	select {
	case e.events <- memberlist.NodeEvent{Event: kind, Node: n}:
	default:
	}
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
	for _, m := range p.list.Members() {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return names
}

// SetKeys changes the keys: the first encrypts, all of them decrypt. What comes
// under any other is not read.
func (p *Pool) SetKeys(keys [][]byte) error {
	for _, key := range keys {
		if err := p.ring.AddKey(key); err != nil {
			return err
		}
	}
	if err := p.ring.UseKey(keys[0]); err != nil {
		return err
	}
	for _, old := range slices.Clone(p.ring.GetKeys()) {
		if slices.ContainsFunc(keys, func(key []byte) bool { return bytes.Equal(key, old) }) {
			continue
		}
		if err := p.ring.RemoveKey(old); err != nil {
			return err
		}
	}
	return nil
}

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

func (p *Pool) tell(event memberlist.NodeEvent) {
	switch event.Event {
	case memberlist.NodeJoin:
		p.Logger.Info("pool: member joined", "node", event.Node.Name)
		p.Changed(event.Node.Name, true)
	case memberlist.NodeLeave:
		p.Logger.Info("pool: member lost", "node", event.Node.Name)
		p.Changed(event.Node.Name, false)
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
		if _, err := p.list.Join([]string{addresses[name]}); err != nil {
			p.Logger.Debug("a missing peer does not answer", "peer", name, "address", addresses[name], "error", err)
		}
	}
}

func (p *Pool) close() {
	if err := p.list.Shutdown(); err != nil {
		p.Logger.Warn("gossip was not closed in order", "error", err)
	}
}

// logger brings what memberlist prints into our log: what they call an
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
