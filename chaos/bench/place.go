package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

const (
	placeNodes    = 5000
	placeZones    = 50
	placeRuns     = 3
	placePatience = 2 * time.Minute
	// joiners at once: as many strangers as one host may have.
	placeJoiners = 40
	// dialers at once: as many handshakes as one host may have.
	placeDialers = 32
	// lookEvery is how often it is asked whether all have a node.
	placeLook = 4 * time.Millisecond
)

// placeFigures are named in the JSON.
type placeFigures struct {
	register, rss, streamsCPU float64

	committed, delivered, running, cpu, agents []float64
}

// place measures one workload of as many placements as there are nodes, from
// the API through the log to agents on sync streams of their own. SKERRY_NODES
// overrides how many those are.
func place(ctx context.Context, binary, dir string) (result, error) {
	nodes := placeNodes
	if text := os.Getenv("SKERRY_NODES"); text != "" {
		given, err := strconv.Atoi(text)
		if err != nil || given < 1 {
			return nil, fmt.Errorf("SKERRY_NODES=%q is not a number of nodes", text)
		}
		nodes = given
	}
	one, spread, err := placeOn(ctx, binary, dir+"/one", 1, nodes, true)
	if err != nil {
		return nil, err
	}
	three, _, err := placeOn(ctx, binary, dir+"/three", 3, nodes, false)
	if err != nil {
		return nil, err
	}
	out := summary(one.committed, "placements/s")
	out["nodes"] = nodes
	out["committed_one"], out["committed_three"] = out["median"], middle(three.committed)
	out["spread"], out["delivered"] = middle(spread.committed), middle(one.delivered)
	out["running"], out["rss_mib"], out["register"] = middle(one.running), one.rss, one.register
	out["cpu_seconds"], out["cpu_seconds_agents"], out["cpu_seconds_idle"] = middle(one.cpu), middle(one.agents), one.streamsCPU
	out["delivered_three"], out["register_three"], out["rss_mib_three"] = middle(three.delivered), three.register, three.rss
	return out, nil
}

func middle(samples []float64) float64 { return median(slices.Sorted(slices.Values(samples))) }

// placeOn measures on a site with so many voters; with spread also a workload
// that spreads over a label and has a preference.
func placeOn(ctx context.Context, binary, dir string, voters, nodes int, withSpread bool) (plain, spread placeFigures, err error) {
	r, err := newSite(ctx, binary, dir, voters)
	if err != nil {
		return plain, spread, err
	}
	defer closeRig(r)
	if err := loadImage(ctx, r); err != nil {
		return plain, spread, err
	}
	s, err := newPlacing(ctx, r)
	if err != nil {
		return plain, spread, err
	}
	if plain.register, err = s.register(ctx, nodes, placeZones); err != nil {
		return plain, spread, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var streams errgroup.Group
	defer func() {
		cancel()
		_ = streams.Wait() // they end because they were told to
	}()
	if plain.streamsCPU, err = s.connect(ctx, &streams); err != nil {
		return plain, spread, err
	}
	for range placeRuns {
		if err := s.measure(ctx, plainPlacing(nodes), &plain); err != nil {
			return plain, spread, err
		}
	}
	for range placeRuns {
		if !withSpread {
			break
		}
		if err := s.measure(ctx, spreadPlacing(nodes), &spread); err != nil {
			return plain, spread, err
		}
	}
	plain.rss, err = s.coordinator.memory()
	progress("%d voter(s): the coordinator has %.0f MiB in memory", voters, plain.rss)
	return plain, spread, err
}

// placing is a site with light agents.
type placing struct {
	client      *client.Client
	coordinator coordinatorProcess
	fleet       *fleet
	// numbers of placements that there were, by workload.
	numbers map[string]int
}

// spent is processor time in seconds: of the coordinator, and of this process,
// which is all light agents and the operator.
type spent struct{ coordinator, agents float64 }

func (s *placing) spent() spent {
	return spent{coordinator: s.coordinator.cpu(), agents: coordinatorProcess(os.Getpid()).cpu()}
}

func (s spent) since(before spent) spent {
	return spent{coordinator: s.coordinator - before.coordinator, agents: s.agents - before.agents}
}

// String implements fmt.Stringer.
func (s spent) String() string {
	return fmt.Sprintf("%.2f s of the coordinator, %.2f s of the agents", s.coordinator, s.agents)
}

func newPlacing(ctx context.Context, r *hosts.Rig) (*placing, error) {
	leader, _, err := r.Coordinator(ctx)
	if err != nil {
		return nil, err
	}
	pid, err := leader.AgentPID()
	if err != nil {
		return nil, err
	}
	c, err := r.Client(leader)
	if err != nil {
		return nil, err
	}
	dialer, err := r.OperatorDialer(r.Home())
	if err != nil {
		return nil, err
	}
	progress("the coordinator is process %d", pid)
	return &placing{client: c, coordinator: coordinatorProcess(pid), fleet: newFleet(dialer.Net, leader.API()), numbers: map[string]int{}}, nil
}

// register lets the nodes join, each with a token of its own, in the zones zone-1,
// zone-2 and so on by turns; the tokens are there before. It returns nodes a second.
func (s *placing) register(ctx context.Context, nodes, zones int) (float64, error) {
	tokens := make([]string, nodes)
	s.fleet.agents = make([]*lightAgent, nodes)
	if err := each(ctx, placeJoiners, nodes, func(ctx context.Context, i int) error {
		made, err := s.client.Site().CreateToken(ctx, connect.NewRequest(&skerryv1.CreateTokenRequest{
			Role: "node", Ttl: durationpb.New(time.Hour), Name: fmt.Sprintf("light-%d", i+1), Zone: fmt.Sprintf("zone-%d", i%zones+1),
			Labels: map[string]string{"light": "yes", "rack": fmt.Sprintf("rack-%d", i%(10*zones))}, MayVote: proto.Bool(false),
		}))
		if err == nil {
			tokens[i] = made.Msg.GetToken()
		}
		return err
	}); err != nil {
		return 0, err
	}
	start, begun := s.spent(), time.Now()
	err := each(ctx, placeJoiners, nodes, func(ctx context.Context, i int) (err error) {
		s.fleet.agents[i], err = s.fleet.join(ctx, tokens[i], fmt.Sprintf("light-%d", i+1), i)
		return err
	})
	rate := float64(nodes) / time.Since(begun).Seconds()
	progress("%d nodes joined: %.0f/s; CPU: %s; %d attempts failed", nodes, rate, s.spent().since(start), s.fleet.again.Load())
	return rate, err
}

// connect opens all streams and waits until the site has heard of every node.
// It returns what the streams cost when nothing happens, in CPU seconds of the
// coordinator a second.
func (s *placing) connect(ctx context.Context, streams *errgroup.Group) (float64, error) {
	start, begun := s.spent(), time.Now()
	streams.Go(func() error { return s.fleet.beat(ctx) })
	if err := each(ctx, placeDialers, len(s.fleet.agents), func(_ context.Context, i int) error {
		first, err := s.fleet.agents[i].open(ctx)
		if err == nil {
			streams.Go(func() error { return s.fleet.agents[i].run(ctx, first) })
		}
		return err
	}); err != nil {
		return 0, err
	}
	if err := s.await(ctx, "the nodes' first reports", func() bool { return int(s.fleet.acked.Load()) == len(s.fleet.agents) }); err != nil {
		return 0, err
	}
	progress("%d streams are open after %.1f s; CPU: %s; %d came again, %d attempts failed", len(s.fleet.agents),
		time.Since(begun).Seconds(), s.spent().since(start), s.fleet.ended.Load(), s.fleet.refused.Load())
	if err := hosts.Sleep(ctx, 10*time.Second); err != nil {
		return 0, err
	}
	start, begun = s.spent(), time.Now()
	if err := hosts.Sleep(ctx, 5*time.Second); err != nil {
		return 0, err
	}
	idle, seconds := s.spent().since(start), time.Since(begun).Seconds()
	memory, err := s.coordinator.memory()
	progress("at rest for %.1f s; CPU: %s; %.0f MiB in memory", seconds, idle, memory)
	return idle.coordinator / seconds, err
}

func plainPlacing(n int) *skerryv1.Workload {
	return &skerryv1.Workload{
		Kind: "Workload", Name: "wide", Project: "default", Replicas: proto.Uint32(uint32(n)),
		Container: &skerryv1.Container{Image: testImage, Resources: &skerryv1.Resources{Cpu: "100m", Memory: "64Mi"}},
		Place:     &skerryv1.Place{Require: []*skerryv1.Requirement{{Label: "light", In: []string{"yes"}}}},
	}
}

func spreadPlacing(n int) *skerryv1.Workload {
	w := plainPlacing(n)
	w.Name, w.Place.Spread = "spread", "rack"
	w.Place.Prefer = []*skerryv1.Preference{{Node: &skerryv1.Requirement{Label: "zone", In: []string{"zone-1", "zone-2"}}, Weight: 10}}
	return w
}

// measure one workload from its apply to its end. What is measured is what the
// log and the agents do: nothing is listed before they are done.
func (s *placing) measure(ctx context.Context, w *skerryv1.Workload, into *placeFigures) error {
	n := int64(w.GetReplicas())
	s.fleet.placed.Store(0)
	s.fleet.known.Store(0)
	start, begun := s.spent(), time.Now()
	if _, err := s.client.Resources().Apply(ctx, connect.NewRequest(&skerryv1.ApplyRequest{
		RequestId: fmt.Sprintf("%s-%d", w.GetName(), time.Now().UnixNano()),
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: w}}},
	})); err != nil {
		return err
	}
	placed, err := s.committed(ctx, w, begun)
	if err != nil {
		return err
	}
	committed := s.spent().since(start)
	if err := s.await(ctx, "all placements to be delivered", func() bool { return s.fleet.placed.Load() == n }); err != nil {
		return err
	}
	delivered := time.Unix(0, s.fleet.delivered.Load()).Sub(begun)
	if err := s.await(ctx, "all of them to be known to run", func() bool { return s.fleet.known.Load() == n }); err != nil {
		return err
	}
	running := time.Since(begun)
	all := s.spent().since(start)
	if err := s.allPlaced(ctx, w); err != nil {
		return err
	}
	rate := func(took time.Duration) float64 { return float64(n) / took.Seconds() }
	into.committed = append(into.committed, rate(placed))
	into.delivered = append(into.delivered, rate(delivered))
	into.running = append(into.running, rate(running))
	into.cpu, into.agents = append(into.cpu, all.coordinator), append(into.agents, all.agents)
	progress("%s: committed %.0f/s, delivered %.0f/s, running %.0f/s; CPU until committed %s, until running %s", w.GetName(),
		rate(placed), rate(delivered), rate(running), committed, all)
	return s.remove(ctx, w)
}

// committed waits until the last of a workload's placements has a node in the
// log. Placements are numbered, and get their nodes in that order, so that one is
// asked for, from what the coordinator has applied: a read that costs nothing
// while others work. That all have one is looked up when nothing is measured.
func (s *placing) committed(ctx context.Context, w *skerryv1.Workload, begun time.Time) (time.Duration, error) {
	last := fmt.Sprintf("%s-%d", w.GetName(), s.numbers[w.GetName()]+int(w.GetReplicas()))
	for {
		got, err := s.client.Resources().Get(ctx, connect.NewRequest(&skerryv1.GetRequest{
			Kind: "Placement", Project: "default", Name: last, Stale: true,
		}))
		took := time.Since(begun)
		switch {
		case err == nil && got.Msg.GetResource().GetPlacement().GetNode() != "":
			s.numbers[w.GetName()] += int(w.GetReplicas())
			return took, nil
		case took > placePatience:
			return 0, fmt.Errorf("placement %s has no node after %s: %v", last, took, err)
		case err != nil && connect.CodeOf(err) != connect.CodeNotFound && connect.CodeOf(err) != connect.CodeUnavailable:
			return 0, err
		}
		if err := hosts.Sleep(ctx, placeLook); err != nil {
			return 0, err
		}
	}
}

// allPlaced tells whether every placement has a node, and no more than one is on
// any.
func (s *placing) allPlaced(ctx context.Context, w *skerryv1.Workload) error {
	all, err := s.placements(ctx, w)
	if err != nil {
		return err
	}
	on := map[string]int{}
	for _, p := range all {
		if on[p.GetNode()]++; p.GetNode() == "" || on[p.GetNode()] > 1 {
			return fmt.Errorf("placement %s is on %q, with %d others", p.GetName(), p.GetNode(), on[p.GetNode()]-1)
		}
	}
	if len(all) != int(w.GetReplicas()) {
		return fmt.Errorf("%s has %d placements, want %d", w.GetName(), len(all), w.GetReplicas())
	}
	return nil
}

func (s *placing) placements(ctx context.Context, w *skerryv1.Workload) ([]*skerryv1.Placement, error) {
	listed, err := askAgain(ctx, s.client.Resources().List, &skerryv1.ListRequest{Kind: "Placement", Project: w.GetProject()})
	if err != nil {
		return nil, err
	}
	var of []*skerryv1.Placement
	for _, r := range listed.Msg.GetResources() {
		if r.GetPlacement().GetWorkload() == w.GetName() {
			of = append(of, r.GetPlacement())
		}
	}
	return of, nil
}

// remove the workload and wait until nothing of it is left.
func (s *placing) remove(ctx context.Context, w *skerryv1.Workload) error {
	if _, err := askAgain(ctx, s.client.Resources().Delete, &skerryv1.DeleteRequest{
		RequestId: fmt.Sprintf("delete-%d", time.Now().UnixNano()), Kind: "Workload", Project: w.GetProject(), Name: w.GetName(),
	}); err != nil {
		return err
	}
	begun := time.Now()
	for time.Since(begun) < placePatience {
		left, err := s.placements(ctx, w)
		if err != nil || len(left) == 0 {
			return err
		}
		if err := hosts.Sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("placements of %s are left %s after it was deleted", w.GetName(), placePatience)
}

// askAgain while no answer comes: on a machine that is busy a connection of the
// operator's may be given up. Writes carry a request ID.
func askAgain[Q, A any](ctx context.Context, call func(context.Context, *connect.Request[Q]) (*connect.Response[A], error), q *Q) (*connect.Response[A], error) {
	for begun := time.Now(); ; {
		answer, err := call(ctx, connect.NewRequest(q))
		if connect.CodeOf(err) != connect.CodeUnavailable || time.Since(begun) > placePatience {
			return answer, err
		}
		if err := hosts.Sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}
