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

	committed, delivered, running, cpu []float64
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
	out["cpu_seconds"], out["cpu_seconds_idle"] = middle(one.cpu), one.streamsCPU
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
	if plain.register, err = s.register(ctx, nodes); err != nil {
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
	return &placing{client: c, coordinator: coordinatorProcess(pid), fleet: newFleet(dialer.Net, leader.API())}, nil
}

// register lets the nodes join, each with a token of its own; the tokens are
// there before. It returns nodes a second.
func (s *placing) register(ctx context.Context, nodes int) (float64, error) {
	tokens := make([]string, nodes)
	s.fleet.agents = make([]*lightAgent, nodes)
	if err := each(ctx, placeJoiners, nodes, func(ctx context.Context, i int) error {
		made, err := s.client.Site().CreateToken(ctx, connect.NewRequest(&skerryv1.CreateTokenRequest{
			Role: "node", Ttl: durationpb.New(time.Hour), Name: fmt.Sprintf("light-%d", i+1), Zone: fmt.Sprintf("zone-%d", i%placeZones),
			Labels: map[string]string{"light": "yes", "rack": fmt.Sprintf("rack-%d", i%(10*placeZones))}, MayVote: proto.Bool(false),
		}))
		if err == nil {
			tokens[i] = made.Msg.GetToken()
		}
		return err
	}); err != nil {
		return 0, err
	}
	cpu, begun := s.coordinator.cpu(), time.Now()
	err := each(ctx, placeJoiners, nodes, func(ctx context.Context, i int) (err error) {
		s.fleet.agents[i], err = s.fleet.join(ctx, tokens[i], fmt.Sprintf("light-%d", i+1), i)
		return err
	})
	rate := float64(nodes) / time.Since(begun).Seconds()
	progress("%d nodes joined: %.0f/s, %.2f s of the coordinator's CPU", nodes, rate, s.coordinator.cpu()-cpu)
	return rate, err
}

// connect opens all streams and waits until the site has heard of every node.
// It returns what the streams cost when nothing happens, in CPU seconds of the
// coordinator a second.
func (s *placing) connect(ctx context.Context, streams *errgroup.Group) (float64, error) {
	cpu, begun := s.coordinator.cpu(), time.Now()
	if err := each(ctx, placeDialers, len(s.fleet.agents), func(_ context.Context, i int) error {
		first, err := s.fleet.agents[i].open(ctx)
		if err == nil {
			streams.Go(func() error { return s.fleet.agents[i].run(ctx, first) })
		}
		return err
	}); err != nil {
		return 0, err
	}
	streams.Go(func() error { return s.fleet.beat(ctx) })
	if err := s.await(ctx, "the nodes' first reports", func() bool { return int(s.fleet.acked.Load()) == len(s.fleet.agents) }); err != nil {
		return 0, err
	}
	progress("%d streams are open after %.1f s, %.2f s of the coordinator's CPU; %d came again, %d attempts failed", len(s.fleet.agents),
		time.Since(begun).Seconds(), s.coordinator.cpu()-cpu, s.fleet.ended.Load(), s.fleet.refused.Load())
	if err := sleep(ctx, 10*time.Second); err != nil {
		return 0, err
	}
	cpu, begun = s.coordinator.cpu(), time.Now()
	if err := sleep(ctx, 5*time.Second); err != nil {
		return 0, err
	}
	idle := (s.coordinator.cpu() - cpu) / time.Since(begun).Seconds()
	memory, err := s.coordinator.memory()
	progress("at rest: %.2f of a core, %.0f MiB in memory", idle, memory)
	return idle, err
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

// measure one workload from its apply to its end.
func (s *placing) measure(ctx context.Context, w *skerryv1.Workload, into *placeFigures) error {
	n := float64(w.GetReplicas())
	s.fleet.placed.Store(0)
	cpu := s.coordinator.cpu()
	if _, err := s.client.Resources().Apply(ctx, connect.NewRequest(&skerryv1.ApplyRequest{
		RequestId: fmt.Sprintf("%s-%d", w.GetName(), time.Now().UnixNano()),
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: w}}},
	})); err != nil {
		return err
	}
	begun := time.Now()
	placed, err := s.committed(ctx, w, begun)
	if err != nil {
		return err
	}
	committedCPU := s.coordinator.cpu() - cpu
	if err := s.await(ctx, "all placements to be delivered", func() bool { return s.fleet.placed.Load() == int64(n) }); err != nil {
		return err
	}
	delivered := time.Unix(0, s.fleet.delivered.Load()).Sub(begun)
	deliveredCPU := s.coordinator.cpu() - cpu
	running, err := s.healthy(ctx, int(n), begun)
	if err != nil {
		return err
	}
	into.committed = append(into.committed, n/placed.Seconds())
	into.delivered = append(into.delivered, n/delivered.Seconds())
	into.running = append(into.running, n/running.Seconds())
	into.cpu = append(into.cpu, s.coordinator.cpu()-cpu)
	progress("%s: committed %.0f/s, delivered %.0f/s, running %.0f/s; CPU of the coordinator until then %.2f, %.2f, %.2f s", w.GetName(),
		n/placed.Seconds(), n/delivered.Seconds(), n/running.Seconds(), committedCPU, deliveredCPU, s.coordinator.cpu()-cpu)
	return s.remove(ctx, w)
}

// committed waits until every placement has a node in the log. One that has
// none is asked for again and again: a cheap read through the quorum.
func (s *placing) committed(ctx context.Context, w *skerryv1.Workload, begun time.Time) (time.Duration, error) {
	missing := ""
	for took := time.Duration(0); ; {
		if missing != "" {
			got, err := askAgain(ctx, s.client.Resources().Get, &skerryv1.GetRequest{Kind: "Placement", Project: w.GetProject(), Name: missing})
			if err != nil {
				return 0, err
			}
			took = time.Since(begun)
			if got.Msg.GetResource().GetPlacement().GetNode() == "" {
				if took > placePatience {
					return 0, fmt.Errorf("placement %s has no node after %s: %s", missing, took, got.Msg.GetResource().GetPlacement().GetDecision().GetSummary())
				}
				if err := sleep(ctx, placeLook); err != nil {
					return 0, err
				}
				continue
			}
		}
		all, err := s.placements(ctx, w)
		if err != nil {
			return 0, err
		}
		if took == 0 {
			took = time.Since(begun)
		}
		missing = ""
		for _, p := range all {
			if p.GetNode() == "" {
				missing = p.GetName() // the last one without a node
			}
		}
		if missing == "" && len(all) == int(w.GetReplicas()) {
			return took, nil
		}
		if err := sleep(ctx, placeLook); err != nil {
			return 0, err
		}
	}
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

// healthy waits until the site knows of every placement that it runs.
func (s *placing) healthy(ctx context.Context, n int, begun time.Time) (time.Duration, error) {
	for time.Since(begun) < placePatience {
		status, err := askAgain(ctx, s.client.Site().Status, &skerryv1.StatusRequest{})
		if err != nil {
			return 0, err
		}
		if int(status.Msg.GetHealthy()) >= n {
			return time.Since(begun), nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("not all of %d placements run after %s", n, placePatience)
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
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
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
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return nil, err
		}
	}
}
