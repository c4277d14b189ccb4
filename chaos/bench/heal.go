package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"skerry.dev/certs/mtls"
	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
)

const (
	healRuns  = 3
	healZones = 3
	// healNodes are light ones, as many in each zone.
	healNodes      = 8 * healZones
	healPlacements = 1000
	// healCut is how long a zone is cut off, if SKERRY_CUT does not say.
	healCut = 30 * time.Second
	// longCut is measured once.
	longCut = 10 * time.Minute
)

// heal measures, on a site of three zones with a voter and a third of 1,000 placements
// in each, from the end of a cut of one zone:
//
//   - until the coordinator and the voter that was cut off both see every node, the
//     light ones too, as ready (one view),
//   - until both list the same 1,000 placements, each as running and on the node whose
//     orders name it, with nothing left of any other (state). The site has replaced the
//     third that was cut off, and so this includes the end of the surplus third.
//
// A run counts only when the whole zone was lost and replaced. What ran before the cut
// must run after it where it was: the site ends what it started last. Meanwhile a write
// goes on every 100 ms.
func heal(ctx context.Context, binary, dir string) (result, error) {
	cut := healCut
	if text := os.Getenv("SKERRY_CUT"); text != "" {
		given, err := time.ParseDuration(text)
		if err != nil || given <= 0 {
			return nil, fmt.Errorf("SKERRY_CUT=%q is not a length of time", text)
		}
		cut = given
	}
	r, err := newSite(ctx, binary, dir, healZones)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	if err := loadImage(ctx, r); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var streams errgroup.Group
	defer func() {
		cancel()
		_ = streams.Wait() // they end because they were told to
	}()
	z, err := newZones(ctx, r, &streams)
	if err != nil {
		return nil, err
	}
	var views, states []float64
	runs := healRuns
	if cut >= longCut {
		runs = 1
	}
	for run := range runs {
		view, state, err := z.healOnce(ctx, cut)
		if err != nil {
			return nil, fmt.Errorf("run %d: %w", run+1, err)
		}
		progress("run %d: one view after %.3f s, state equal after %.3f s", run+1, view.Seconds(), state.Seconds())
		views, states = append(views, view.Seconds()), append(states, state.Seconds())
	}
	out := summary(states, "s")
	out["one_view_median"], out["cut_s"], out["placements"] = middle(views), cut.Seconds(), healPlacements
	return out, nil
}

// zones is a site with light nodes in the networks of its hosts.
type zones struct {
	*placing
	rig *hosts.Rig
	// away is the voter that is cut off, with all nodes of its zone.
	away  *hosts.Host
	nodes map[string]*zoneNode
	// sides are the coordinator and the voter that is cut off.
	sides [2]side
}

// side is what one node of the site tells.
type side struct {
	skerryv1connect.SiteServiceClient
	skerryv1connect.ResourceServiceClient
}

// newZones lets light nodes join in each zone, and waits until all placements run.
func newZones(ctx context.Context, r *hosts.Rig, streams *errgroup.Group) (*zones, error) {
	s, err := newPlacing(ctx, r)
	if err != nil {
		return nil, err
	}
	z := &zones{placing: s, rig: r, nodes: map[string]*zoneNode{}}
	leader, follower, err := r.Coordinator(ctx)
	if err != nil {
		return nil, err
	}
	z.away = follower
	dialer, err := r.OperatorDialer(r.Home())
	if err != nil {
		return nil, err
	}
	for i, h := range []*hosts.Host{leader, follower} {
		http := dialer.HTTPClient(mtls.API2, mtls.ExpectNode(h.Name))
		z.sides[i] = side{skerryv1connect.NewSiteServiceClient(http, "https://"+h.API()), skerryv1connect.NewResourceServiceClient(http, "https://"+h.API())}
	}
	if _, err := s.register(ctx, healNodes, healZones); err != nil {
		return nil, err
	}
	for i, a := range s.fleet.agents {
		n, err := newZoneNode(a, r.Hosts[i%healZones], filepath.Join(r.Dir, "light"))
		if err != nil {
			return nil, err
		}
		z.nodes[a.name] = n
		streams.Go(func() error { return n.session.Run(ctx) })
	}
	if _, err := s.client.Resources().Apply(ctx, connect.NewRequest(&skerryv1.ApplyRequest{
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: plainPlacing(healPlacements)}}},
	})); err != nil {
		return nil, err
	}
	_, _, err = z.whole(ctx, 0)
	return z, err
}

// hostOf a light node.
func (z *zones) hostOf(n *zoneNode) *hosts.Host { return z.rig.Hosts[n.index%healZones] }

func (z *zones) healOnce(ctx context.Context, cut time.Duration) (view, state time.Duration, err error) {
	before, err := z.placements(ctx, plainPlacing(healPlacements))
	if err != nil {
		return 0, 0, err
	}
	var rest []*hosts.Host
	for _, h := range z.rig.Hosts {
		if h != z.away {
			rest = append(rest, h)
		}
	}
	if err := z.rig.Cut(ctx, []*hosts.Host{z.away}, rest); err != nil {
		return 0, 0, err
	}
	for begun := time.Now(); time.Since(begun) < cut; {
		if _, err := firstWrite(ctx, z.client.Resources(), fmt.Sprint("cut-", time.Now().UnixNano()), time.Now()); err != nil {
			return 0, 0, err
		}
		if err := hosts.Sleep(ctx, 100*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
	if err := z.isLost(ctx); err != nil {
		return 0, 0, err
	}
	now, err := z.client.Site().Status(ctx, connect.NewRequest(&skerryv1.StatusRequest{}))
	if err != nil {
		return 0, 0, err
	}
	if err := z.rig.Heal(ctx); err != nil {
		return 0, 0, err
	}
	if view, state, err = z.whole(ctx, now.Msg.GetFreshness().GetIndex()); err != nil {
		return 0, 0, err
	}
	return view, state, z.stayed(ctx, before)
}

// isLost tells why the cut has not cost the site the whole zone, if it has not.
func (z *zones) isLost(ctx context.Context) error {
	placements, err := z.placements(ctx, plainPlacing(healPlacements))
	if err != nil {
		return err
	}
	lost, elsewhere := 0, 0
	for _, p := range placements {
		n := z.nodes[p.GetNode()]
		switch {
		case n == nil:
			return fmt.Errorf("placement %s is on node %q", p.GetName(), p.GetNode())
		case z.hostOf(n) != z.away:
			elsewhere++
		case p.GetLostSince() == nil:
			return fmt.Errorf("%s in the zone that is cut off is not lost", p.GetName())
		default:
			lost++
		}
	}
	progress("cut off: %d placements lost, %d elsewhere", lost, elsewhere)
	if lost < healPlacements/(2*healZones) || elsewhere != healPlacements {
		return fmt.Errorf("%d placements were cut off, and %d run elsewhere: want a third of %d, and all", lost, elsewhere, healPlacements)
	}
	return nil
}

// stayed tells what was ended or moved by the cut and its end, if anything was.
func (z *zones) stayed(ctx context.Context, before []*skerryv1.Placement) error {
	after, err := z.placements(ctx, plainPlacing(healPlacements))
	if err != nil {
		return err
	}
	nodes := map[string]string{}
	for _, p := range after {
		nodes[p.GetName()] = p.GetNode()
	}
	for _, p := range before {
		if nodes[p.GetName()] != p.GetNode() {
			return fmt.Errorf("%s ran on %s before the cut, and now on %q", p.GetName(), p.GetNode(), nodes[p.GetName()])
		}
	}
	return nil
}

// whole waits until both sides see every node, and until both list what the nodes run
// and nothing else, from an index of the log on.
func (z *zones) whole(ctx context.Context, index uint64) (view, state time.Duration, err error) {
	var unseen, unequal error
	for begun := time.Now(); view == 0 || state == 0; {
		if view == 0 {
			if unseen = z.both(ctx, z.seesAll); unseen == nil {
				view = time.Since(begun)
			}
		}
		if state == 0 {
			if unequal = z.equal(ctx, index); unequal == nil {
				state = time.Since(begun)
			}
		}
		if time.Since(begun) > patience {
			return 0, 0, fmt.Errorf("it is not whole after %s: %w", patience, errors.Join(unseen, unequal))
		}
		if err := hosts.Sleep(ctx, 20*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
	return view, state, nil
}

// both sides find nothing wrong.
func (z *zones) both(ctx context.Context, look func(context.Context, side) error) error {
	ctx, cancel := context.WithTimeout(ctx, 4*attemptTime)
	defer cancel()
	return errors.Join(look(ctx, z.sides[0]), look(ctx, z.sides[1]))
}

// seesAll nodes as ready, and a quorum.
func (z *zones) seesAll(ctx context.Context, from side) error {
	status, err := from.Status(ctx, connect.NewRequest(&skerryv1.StatusRequest{Stale: true}))
	if err != nil {
		return err
	}
	ready := 0
	for _, node := range status.Msg.GetNodes() {
		if node.GetState() == skerryv1.NodeState_NODE_STATE_READY {
			ready++
		}
	}
	if ready != healZones+healNodes || !status.Msg.GetFreshness().GetQuorum() {
		return fmt.Errorf("%d nodes are ready", ready)
	}
	return nil
}

// equal tells what is not as it should be. The sides are asked only once the nodes
// themselves have as much to run as there is.
func (z *zones) equal(ctx context.Context, index uint64) error {
	told := 0
	for _, n := range z.nodes {
		some, all := n.told()
		if !all {
			return fmt.Errorf("%s is to stop something", n.name)
		}
		told += some
	}
	if told != healPlacements {
		return fmt.Errorf("the nodes are told of %d placements", told)
	}
	return z.both(ctx, func(ctx context.Context, from side) error { return z.lists(ctx, from, index) })
}

// lists what the nodes run, each as running.
func (z *zones) lists(ctx context.Context, from side, index uint64) error {
	listed, err := from.List(ctx, connect.NewRequest(&skerryv1.ListRequest{Kind: "Placement", Project: "default", Stale: true}))
	if err != nil {
		return err
	}
	if fresh := listed.Msg.GetFreshness(); !fresh.GetQuorum() || fresh.GetIndex() < index || len(listed.Msg.GetResources()) != healPlacements {
		return fmt.Errorf("it lists %d placements at %d", len(listed.Msg.GetResources()), fresh.GetIndex())
	}
	for _, resource := range listed.Msg.GetResources() {
		p := resource.GetPlacement()
		n := z.nodes[p.GetNode()]
		if n == nil || !n.runs(p.GetName()) || p.GetLostSince() != nil || p.GetStatus().GetPhase() != skerryv1.Phase_PHASE_RUNNING {
			return fmt.Errorf("%s on %q: %s", p.GetName(), p.GetNode(), p.GetStatus().GetPhase())
		}
	}
	return nil
}
