package naming

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/endpoints"
)

func placement(name string, change ...func(*skerryv1.Placement)) *skerryv1.Placement {
	p := &skerryv1.Placement{
		Name: name, Project: "default", Workload: "web", Node: "n1", Desired: skerryv1.DesiredState_DESIRED_STATE_RUN,
		Spec: &skerryv1.Workload{
			Container: &skerryv1.Container{Ports: []*skerryv1.Port{{Name: "http", Port: 80, HostPort: 8080, Protocol: "tcp"}}},
			Health:    &skerryv1.Health{},
		},
		Status: &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Readiness: skerryv1.Readiness_READINESS_HEALTHY, Address: "10.88.0.2"},
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func TestOnlyWhatDoesItsWorkServes(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*skerryv1.Placement)
		want   skerryv1.EndpointState
	}{
		"it is healthy": {func(*skerryv1.Placement) {}, skerryv1.EndpointState_ENDPOINT_STATE_SERVING},
		"it has not been checked yet": {func(p *skerryv1.Placement) { p.Status.Readiness = skerryv1.Readiness_READINESS_STARTING },
			skerryv1.EndpointState_ENDPOINT_STATE_NOT_READY},
		"it runs, and nothing is checked": {func(p *skerryv1.Placement) { p.Spec.Health, p.Status.Readiness = nil, 0 },
			skerryv1.EndpointState_ENDPOINT_STATE_SERVING},
		"it starts again": {func(p *skerryv1.Placement) { p.Status.Phase = skerryv1.Phase_PHASE_BACKOFF },
			skerryv1.EndpointState_ENDPOINT_STATE_NOT_READY},
		"it is to stop": {func(p *skerryv1.Placement) { p.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP },
			skerryv1.EndpointState_ENDPOINT_STATE_LEAVING},
		"its rollout holds it back": {func(*skerryv1.Placement) {}, skerryv1.EndpointState_ENDPOINT_STATE_HELD},
		"its node is lost": {func(p *skerryv1.Placement) { p.LostSince = &timestamppb.Timestamp{Seconds: 1} },
			skerryv1.EndpointState_ENDPOINT_STATE_LOST},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Endpoint(placement("web-1", c.change), name != "its rollout holds it back").GetState(); got != c.want {
				t.Errorf("it is %s, want %s", got, c.want)
			}
		})
	}
	if e := Endpoint(placement("web-1", func(p *skerryv1.Placement) { p.Node = "" }), true); e != nil {
		t.Errorf("what has no node yet is %v", e)
	}
}

// node is what one node has taken in.
type node struct {
	set      *endpoints.Set
	term, at uint64
}

// begin a stream with what the node has.
func (n *node) begin(r *rapid.T, h *Hub) {
	response, term, at := h.Begin(n.set.Digest())
	n.take(r, response)
	n.term, n.at = term, at
}

func (n *node) take(r *rapid.T, response *sitev1.EndpointsResponse) {
	changes, err := endpoints.Unpack(response.GetChanges())
	if err != nil {
		r.Fatal(err)
	}
	if response.GetWhole() {
		n.set = endpoints.NewSet()
	}
	for _, key := range changes.GetRemoved() {
		n.set.Remove(key)
	}
	for _, e := range changes.GetSet() {
		n.set.Put(e)
	}
	if n.set.Digest() != response.GetDigest() {
		r.Fatalf("the node has %x, the hub says %x", n.set.Digest(), response.GetDigest())
	}
}

// follow until there is nothing more.
func (n *node) follow(r *rapid.T, h *Hub) {
	for range 10_000 {
		response, to, moved, over := h.Next(n.term, n.at)
		if over {
			n.begin(r, h)
			continue
		}
		if moved != nil {
			return
		}
		n.take(r, response)
		n.at = to
	}
	r.Fatal("it never ends")
}

// TestNodesGetToKnowWhatTheCoordinatorKnows: however slow they are, whoever
// coordinates, and whatever they knew before.
func TestNodesGetToKnowWhatTheCoordinatorKnows(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		h := New(nil, nil, nil, nil)
		placements := map[string]*skerryv1.Placement{}
		order := &sitev1.Order{SiteEpoch: 1, Term: 1}
		look := func() {
			order = &sitev1.Order{SiteEpoch: 1, Term: order.GetTerm(), Index: order.GetIndex() + 1}
			h.take(order, slices.Collect(maps.Values(placements)), state.IsHealthy)
		}
		look()
		nodes := []*node{{set: endpoints.NewSet()}, {set: endpoints.NewSet()}}
		for _, n := range nodes {
			n.begin(r, h)
		}
		for range rapid.IntRange(1, 60).Draw(r, "steps") {
			switch name := fmt.Sprintf("web-%d", rapid.IntRange(1, 4).Draw(r, "placement")); rapid.IntRange(0, 6).Draw(r, "what") {
			case 0:
				delete(placements, name)
			case 1:
				placements[name] = placement(name)
			case 2:
				placements[name] = placement(name, func(p *skerryv1.Placement) { p.Desired = skerryv1.DesiredState_DESIRED_STATE_STOP })
			case 3:
				order = &sitev1.Order{Term: order.GetTerm() + 1}
			case 4:
				h.forget()
			case 5:
				look()
				nodes[0].follow(r, h)
			case 6: // it was away, and comes back with what it has
				look()
				nodes[1].begin(r, h)
			}
			look()
		}
		var want []*skerryv1.Endpoint
		for _, p := range placements {
			want = append(want, Endpoint(p, state.IsHealthy(p)))
		}
		for i, n := range nodes {
			n.follow(r, h)
			if n.set.Digest() != endpoints.NewSet(want...).Digest() {
				r.Fatalf("node %d knows %v, want %v", i, n.set.All(), want)
			}
		}
	})
}

func TestWhatIsKeptForNodesThatComeBackIsBounded(t *testing.T) {
	h := New(nil, nil, nil, nil)
	h.take(&sitev1.Order{Term: 1, Index: 1}, nil, state.IsHealthy)
	empty := endpoints.NewSet()
	_, _, first := h.Begin(empty.Digest())
	for i := range maxSteps + 10 {
		h.take(&sitev1.Order{Term: 1, Index: uint64(i + 2)}, []*skerryv1.Placement{placement(fmt.Sprintf("web-%d", i))}, state.IsHealthy)
	}
	if len(h.steps) != maxSteps {
		t.Errorf("%d differences are kept", len(h.steps))
	}
	if response, _, _, _ := h.Next(1, first); !response.GetWhole() {
		t.Error("a node that was too slow does not get everything anew")
	}
	if response, _, _ := h.Begin(h.steps[5].GetDigest()); response.GetWhole() {
		t.Error("a node that was away for a moment gets everything anew")
	}
	if a, b := h.all(), h.all(); a != b {
		t.Error("everything is encoded anew for each node")
	}
}
