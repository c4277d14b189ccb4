package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"skerry.dev/chaos/hosts"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/endpoints"
	"skerry.dev/shared/manifest"
)

const (
	// rolledReplicas are rolled, rolledAtOnce in a wave, until rolledAll
	// placements were replaced.
	rolledReplicas = 30
	rolledAtOnce   = 10
	rolledAll      = 1000
	// besideAll were replaced by others that were healthy beside them first.
	besideAll = 150
	// rollTime bounds one roll.
	rollTime = 4 * time.Minute
	// callersPort tells how the calls of a node went, callersEach make them.
	callersPort = 18200
	callersEach = 2
)

// rolledBy are the ways in which the workload is updated, one after the other, with
// how many placements are replaced.
var rolledBy = []struct {
	name   string
	all    int
	update *skerryv1.Update
}{
	{"rolling", rolledAll, &skerryv1.Update{MaxUnavailable: rolledAtOnce}},
	{"blue_green", besideAll, &skerryv1.Update{Strategy: manifest.BlueGreen, MaxUnavailable: rolledAtOnce, PromoteAfter: "2s"}},
	{"canary", besideAll, &skerryv1.Update{Strategy: manifest.Canary, Canary: 3, MaxUnavailable: rolledAtOnce, PromoteAfter: "2s"}},
}

// rollout measures, on a site of three hosts, how fast a web workload is rolled
// in waves, each gated by health checks, while containers on every host call it
// by its name without pause; and counts the calls that were lost. Then it is updated
// as blue and green, and by canaries.
func rollout(ctx context.Context, binary, dir string) (result, error) {
	r, err := newSite(ctx, binary, dir, 3)
	if err != nil {
		return nil, err
	}
	defer closeRig(r)
	caller, err := buildCaller(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := loadImage(ctx, r, caller); err != nil {
		return nil, err
	}
	c, err := r.Client()
	if err != nil {
		return nil, err
	}
	s := &rolling{Rig: r, client: c}
	if _, err := s.roll(ctx, rolledBy[0].update); err != nil {
		return nil, err
	}
	if err := startCallers(ctx, r, c); err != nil {
		return nil, err
	}
	var measured result
	for _, by := range rolledBy {
		speeds, called, err := s.rollAll(ctx, by.name, by.all, by.update)
		if err != nil {
			return nil, err
		}
		if measured == nil {
			measured = summary(speeds, "placements/s")
			measured["placements"], measured["at_once"] = len(speeds)*rolledReplicas, rolledAtOnce
			measured["requests"], measured["lost"] = called.Calls, called.Lost
			continue
		}
		measured[by.name], measured[by.name+"_placements"] = middle(speeds), len(speeds)*rolledReplicas
		measured[by.name+"_requests"], measured[by.name+"_lost"] = called.Calls, called.Lost
	}
	return measured, nil
}

// rolling is a site on which web is updated again and again.
type rolling struct {
	*hosts.Rig
	client *client.Client
	// rolls that there were.
	rolls int
}

// rollAll rolls until so many placements were replaced, and counts the calls
// meanwhile.
func (s *rolling) rollAll(ctx context.Context, name string, all int, update *skerryv1.Update) (speeds []float64, called calls, err error) {
	before, err := howCallsWent(ctx, s.Rig)
	if err != nil {
		return nil, calls{}, err
	}
	for len(speeds)*rolledReplicas < all {
		took, err := s.roll(ctx, update)
		if err != nil {
			return nil, calls{}, err
		}
		speeds = append(speeds, rolledReplicas/took.Seconds())
		if called, err = howCallsWent(ctx, s.Rig); err != nil {
			return nil, calls{}, err
		}
		called.Calls, called.Lost, called.Why = called.Calls-before.Calls, called.Lost-before.Lost, called.Why[min(len(before.Why), len(called.Why)):]
		progress("%s %d: %d placements in %.1f s; %d requests so far, %d lost %v", name, len(speeds), rolledReplicas, took.Seconds(), called.Calls, called.Lost, called.Why)
	}
	return speeds, called, nil
}

// buildCaller builds the program that calls others by their names.
func buildCaller(ctx context.Context, r *hosts.Rig) (string, error) {
	path := filepath.Join(r.Dir, "caller")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "./chaos/hosts/caller")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the caller: %w: %s", err, out)
	}
	return path, nil
}

// roll changes the template and waits until nothing else is left.
func (s *rolling) roll(ctx context.Context, update *skerryv1.Update) (time.Duration, error) {
	version := strconv.Itoa(s.rolls)
	s.rolls++
	begun := time.Now()
	err := applyWorkload(ctx, s.client, &skerryv1.Workload{
		Kind: "Workload", Name: "web", Replicas: proto.Uint32(rolledReplicas), StopGrace: "2s",
		Container: &skerryv1.Container{
			Image: testImage, Env: map[string]string{"ROLL": version},
			Ports:     []*skerryv1.Port{{Name: "http", Port: 8080, HostPort: webPort, HostPortLast: webPort + 2*rolledReplicas}},
			Resources: &skerryv1.Resources{Cpu: "50m", Memory: "16Mi"},
		},
		Health: &skerryv1.Health{Http: &skerryv1.HttpCheck{Port: "http", Path: "/healthz"}},
		Update: update,
	})
	if err != nil {
		return 0, err
	}
	err = s.Until(ctx, "roll "+version, rollTime, func(ctx context.Context) error {
		working, others, err := counted(ctx, s.client, "web", func(p *skerryv1.Placement) bool {
			return p.GetSpec().GetContainer().GetEnv()["ROLL"] == version
		})
		if err == nil && (working != rolledReplicas || others != 0) {
			err = fmt.Errorf("%d of %d work, %d others are there", working, rolledReplicas, others)
		}
		return err
	})
	return time.Since(begun), err
}

// startCallers on every host.
func startCallers(ctx context.Context, r *hosts.Rig, c *client.Client) error {
	err := applyWorkload(ctx, c, &skerryv1.Workload{
		Kind: "Workload", Name: "caller", Replicas: proto.Uint32(uint32(len(r.Hosts))),
		Container: &skerryv1.Container{
			Image:     testImage,
			Command:   []string{"/bin/caller", "load", ":9090", "web.default." + endpoints.Domain(hosts.Site), strconv.Itoa(callersEach)},
			Ports:     []*skerryv1.Port{{Name: "http", Port: 9090, HostPort: callersPort}},
			Resources: &skerryv1.Resources{Cpu: "500m", Memory: "64Mi"},
		},
	})
	if err != nil {
		return err
	}
	return r.Until(ctx, "callers on every host", patience, func(ctx context.Context) error {
		called, err := howCallsWent(ctx, r)
		if err == nil && called.Calls == 0 {
			err = fmt.Errorf("nobody has called")
		}
		return err
	})
}

func applyWorkload(ctx context.Context, c *client.Client, w *skerryv1.Workload) error {
	_, err := c.Resources().Apply(ctx, connect.NewRequest(&skerryv1.ApplyRequest{
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Workload{Workload: w}}},
	}))
	return err
}

// counted are the placements of a workload that are wanted and work, and all
// the others.
func counted(ctx context.Context, c *client.Client, workload string, wanted func(*skerryv1.Placement) bool) (working, others int, err error) {
	got, err := c.Resources().List(ctx, connect.NewRequest(&skerryv1.ListRequest{Kind: "Placement", Stale: true}))
	if err != nil {
		return 0, 0, err
	}
	for _, resource := range got.Msg.GetResources() {
		switch p := resource.GetPlacement(); {
		case p.GetWorkload() != workload:
		case wanted(p) && p.GetDesired() == skerryv1.DesiredState_DESIRED_STATE_RUN && endpoints.Works(p.GetSpec(), p.GetStatus()):
			working++
		default:
			others++
		}
	}
	return working, others, nil
}

// calls are those of all callers.
type calls struct {
	Calls, Lost int
	Why         []string
}

func howCallsWent(ctx context.Context, r *hosts.Rig) (calls, error) {
	var all calls
	for _, h := range r.Hosts {
		var one calls
		if err := ask(ctx, r.PlainHTTP(), "http://"+net.JoinHostPort(h.Address, strconv.Itoa(callersPort))+"/", &one); err != nil {
			return calls{}, fmt.Errorf("the caller on %s: %w", h.Name, err)
		}
		all.Calls, all.Lost, all.Why = all.Calls+one.Calls, all.Lost+one.Lost, append(all.Why, one.Why...)
	}
	return all, nil
}

func ask(ctx context.Context, client *http.Client, url string, into any) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }() // read to its end
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}
