package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"skerry.dev/certs/mtls"
	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/problem"
)

const (
	// clients work at once, spread over all nodes.
	clients = 20
	// registers of one window.
	registers = 10
	// attemptTime bounds one attempt of an operation, attempts how often another
	// node is tried with the same request.
	attemptTime = 1500 * time.Millisecond
	attempts    = 4
	attemptGap  = 20 * time.Millisecond
)

// load reads and writes registers all the time, through every node.
type load struct {
	rig   *hosts.Rig
	begun time.Time
	past  *history

	mu sync.Mutex
	// ways into the site, one for each host.
	ways []way
	// window is the number of the registers in use: each injection has its own, so
	// that a history is short. underWay tells in which one each client is.
	window   int
	underWay [clients]int
	// serial makes each value and request unique.
	serial atomic.Int64
	pause  time.Duration
	group  sync.WaitGroup
}

// way into the site through one host: straight to it, or as it sends callers on.
type way struct {
	straight, sent skerryv1connect.ResourceServiceClient
}

// startLoad begins with about so many operations a second, until ctx ends.
func startLoad(ctx context.Context, r *hosts.Rig, rate int, seed uint64) (*load, error) {
	l := &load{rig: r, begun: time.Now(), past: &history{}, pause: clients * time.Second / time.Duration(rate)}
	if err := l.look(); err != nil {
		return nil, err
	}
	for i := range clients {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		l.group.Go(func() { l.client(ctx, i, rng) })
	}
	return l, nil
}

// look up where the hosts are: one may have moved.
func (l *load) look() error {
	dialer, err := l.rig.OperatorDialer(l.rig.Home())
	if err != nil {
		return err
	}
	var ways []way
	for _, h := range l.rig.Hosts {
		c, err := l.rig.Client(h)
		if err != nil {
			return err
		}
		ways = append(ways, way{
			straight: skerryv1connect.NewResourceServiceClient(dialer.HTTPClient(mtls.API2, mtls.ExpectNode("")), "https://"+h.API()),
			sent:     c.Resources(),
		})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ways = ways
	return nil
}

// way of an attempt of a client.
func (l *load) way(number int) way {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ways[number%len(l.ways)]
}

// now in the time of the history.
func (l *load) now() time.Duration { return time.Since(l.begun) }

func (l *load) client(ctx context.Context, number int, rng *rand.Rand) {
	ticker := time.NewTicker(l.pause)
	defer ticker.Stop()
	known := map[string]uint64{}
	for ctx.Err() == nil {
		key := fmt.Sprintf("reg-%d-%d", l.enter(number), rng.IntN(registers))
		o := operation{Client: number, Key: key, Kind: reads}
		switch draw := rng.IntN(10); {
		case draw < 4:
		case draw < 6 && known[key] > 0:
			o.Kind, o.Expect = swaps, known[key]
		default:
			o.Kind = writes
		}
		l.do(ctx, &o)
		if o.Outcome == done {
			known[key] = o.Version
		}
		l.past.add(o)
		l.leave(number)
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
}

// enter the window that is open now.
func (l *load) enter(client int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.underWay[client] = l.window
	return l.window
}

func (l *load) leave(client int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.underWay[client] = -1
}

// next opens a window and returns what was done in the one before it, when
// nothing in that is under way any more.
func (l *load) next(ctx context.Context) ([]operation, error) {
	l.mu.Lock()
	old := l.window
	l.window++
	l.mu.Unlock()
	err := l.rig.Until(ctx, "the last operations", 2*attempts*attemptTime, func(context.Context) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if slices.Contains(l.underWay[:], old) {
			return errors.New("some are under way")
		}
		return nil
	})
	return l.past.of(old), err
}

// do an operation, again and again through other nodes until its outcome is
// known.
func (l *load) do(ctx context.Context, o *operation) {
	o.Before, o.Call = l.past.acknowledged(), l.now()
	request := ""
	if o.Kind != reads {
		o.Value = fmt.Sprint(l.serial.Add(1))
		request = "partition-" + o.Value
	}
	for o.Tries = range attempts {
		err := l.way(o.Client+o.Tries).attempt(ctx, o, request)
		o.Return = l.now()
		if err == nil || ctx.Err() != nil {
			break
		}
		o.Outcome, o.Err = unknown, err.Error()
		if o.Kind == swaps && problem.KindOf(problem.FromConnect(err)) == problem.Conflict {
			o.Outcome = refused
			break
		}
		select {
		case <-time.After(attemptGap):
		case <-ctx.Done():
		}
	}
	if o.Outcome == "" {
		o.Outcome = unknown
	}
}

// attempt an operation through one host.
func (w way) attempt(ctx context.Context, o *operation, request string) error {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	err := o.call(ctx, w.straight, request)
	if sentOn(err) {
		err = o.call(ctx, w.sent, request)
	}
	return err
}

// sentOn: the node does not vote and named one that does.
func sentOn(err error) bool {
	return err != nil && strings.Contains(err.Error(), "307")
}

func (o *operation) call(ctx context.Context, c skerryv1connect.ResourceServiceClient, request string) error {
	if o.Kind == reads {
		return o.read(ctx, c)
	}
	answer, err := c.Apply(ctx, connect.NewRequest(&skerryv1.ApplyRequest{
		RequestId: request,
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: &skerryv1.Workload{
			Kind: "Workload", Name: o.Key, ResourceVersion: o.Expect,
			Labels:    map[string]string{"n": o.Value},
			Replicas:  proto.Uint32(0),
			Container: &skerryv1.Container{Image: "site.local/none:1"},
		}}}},
	}))
	if err != nil {
		return err
	}
	results := answer.Msg.GetResults()
	if len(results) != 1 || results[0].GetResource().GetWorkload().GetLabels()["n"] != o.Value {
		return fmt.Errorf("a write of %s was answered with %v", o.Value, results)
	}
	o.Node, o.Index = answer.Msg.GetFreshness().GetNode(), answer.Msg.GetFreshness().GetIndex()
	o.Version, o.Outcome, o.Err = results[0].GetResource().GetWorkload().GetResourceVersion(), done, ""
	return nil
}

func (o *operation) read(ctx context.Context, c skerryv1connect.ResourceServiceClient) error {
	answer, err := c.Get(ctx, connect.NewRequest(&skerryv1.GetRequest{Kind: "Workload", Name: o.Key}))
	if problem.KindOf(problem.FromConnect(err)) == problem.NotFound {
		// An answer: what a node cannot know for sure it does not say so.
		o.Value, o.Version, o.Outcome, o.Err, o.Index = "", 0, done, "", o.Before
		return nil
	}
	if err != nil {
		return err
	}
	f, w := answer.Msg.GetFreshness(), answer.Msg.GetResource().GetWorkload()
	o.Node, o.Index, o.Value, o.Version, o.Outcome, o.Err = f.GetNode(), f.GetIndex(), w.GetLabels()["n"], w.GetResourceVersion(), done, ""
	if f.GetStale() {
		o.Outcome = stale
	}
	return nil
}
