package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"skerry.dev/certs/mtls"
	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
)

const (
	healRuns       = 3
	healNodes      = 25
	healPlacements = 1000
	// healCut is how long a zone is cut off, if SKERRY_CUT does not say.
	healCut = time.Minute
	// longCut is measured once.
	longCut = 10 * time.Minute
)

// heal measures, on a site of three hosts in three zones with 1,000 placements on light
// nodes, from the end of a cut of one zone: until the coordinator and the voter that
// was cut off both see every host (one view), and until that voter's state is as new
// as the coordinator's was then (state). Meanwhile a write goes on every 100 ms.
func heal(ctx context.Context, binary, dir string) (result, error) {
	cut := healCut
	if text := os.Getenv("SKERRY_CUT"); text != "" {
		given, err := time.ParseDuration(text)
		if err != nil || given <= 0 {
			return nil, fmt.Errorf("SKERRY_CUT=%q is not a length of time", text)
		}
		cut = given
	}
	r, err := newSite(ctx, binary, dir, 3)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	if err := loadImage(ctx, r); err != nil {
		return nil, err
	}
	s, err := newPlacing(ctx, r)
	if err != nil {
		return nil, err
	}
	if _, err := s.register(ctx, healNodes); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var streams errgroup.Group
	defer func() {
		cancel()
		_ = streams.Wait() // they end because they were told to
	}()
	if _, err := s.connect(ctx, &streams); err != nil {
		return nil, err
	}
	w := plainPlacing(healPlacements)
	begun := time.Now()
	if _, err := s.client.Resources().Apply(ctx, connect.NewRequest(&skerryv1.ApplyRequest{
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: w}}},
	})); err != nil {
		return nil, err
	}
	if _, err := s.committed(ctx, w, begun); err != nil {
		return nil, err
	}
	_, follower, err := r.Coordinator(ctx)
	if err != nil {
		return nil, err
	}
	var views, states []float64
	runs := healRuns
	if cut >= longCut {
		runs = 1
	}
	for run := range runs {
		view, state, err := healOnce(ctx, r, s, follower, cut)
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

func healOnce(ctx context.Context, r *hosts.Rig, s *placing, follower *hosts.Host, cut time.Duration) (view, state time.Duration, err error) {
	var rest []*hosts.Host
	for _, h := range r.Hosts {
		if h != follower {
			rest = append(rest, h)
		}
	}
	if err := r.Cut(ctx, []*hosts.Host{follower}, rest); err != nil {
		return 0, 0, err
	}
	for begun := time.Now(); time.Since(begun) < cut; {
		if _, err := firstWrite(ctx, s.client.Resources(), fmt.Sprint("cut-", time.Now().UnixNano()), time.Now()); err != nil {
			return 0, 0, err
		}
		if err := hosts.Sleep(ctx, 100*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
	now, err := s.client.Site().Status(ctx, connect.NewRequest(&skerryv1.StatusRequest{}))
	if err != nil {
		return 0, 0, err
	}
	dialer, err := r.OperatorDialer(r.Home())
	if err != nil {
		return 0, 0, err
	}
	there := skerryv1connect.NewSiteServiceClient(dialer.HTTPClient(mtls.API2, mtls.ExpectNode("")), "https://"+follower.API())
	if err := r.Heal(ctx); err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	for view == 0 || state == 0 {
		if time.Since(begun) > patience {
			return 0, 0, errors.New("it did not heal")
		}
		callCtx, cancel := context.WithTimeout(ctx, attemptTime)
		here, hereErr := s.client.Site().Status(callCtx, connect.NewRequest(&skerryv1.StatusRequest{Stale: true}))
		behind, thereErr := there.Status(callCtx, connect.NewRequest(&skerryv1.StatusRequest{Stale: true}))
		cancel()
		if hereErr == nil && thereErr == nil {
			if view == 0 && seesAll(r, here.Msg) && seesAll(r, behind.Msg) {
				view = time.Since(begun)
			}
			if state == 0 && behind.Msg.GetFreshness().GetQuorum() && behind.Msg.GetFreshness().GetIndex() >= now.Msg.GetFreshness().GetIndex() {
				state = time.Since(begun)
			}
		}
		if err := hosts.Sleep(ctx, 20*time.Millisecond); err != nil {
			return 0, 0, err
		}
	}
	return view, state, nil
}

// seesAll hosts as ready, and a quorum.
func seesAll(r *hosts.Rig, status *skerryv1.StatusResponse) bool {
	ready := 0
	for _, node := range status.GetNodes() {
		if r.Host(node.GetName()) != nil && node.GetState() == skerryv1.NodeState_NODE_STATE_READY {
			ready++
		}
	}
	return ready == len(r.Hosts) && status.GetFreshness().GetQuorum()
}
