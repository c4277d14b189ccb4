package naming

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/endpoints"
)

func sent(order *sitev1.Order, whole bool, digest uint64, changes *sitev1.EndpointChanges) *sitev1.EndpointsResponse {
	return &sitev1.EndpointsResponse{Order: order, Whole: whole, Changes: endpoints.Pack(changes), Digest: digest}
}

func TestCopyFollowsTheCoordinator(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		book, truth := NewBook(nil), endpoints.NewSet()
		for range rapid.IntRange(1, 30).Draw(r, "changes") {
			changes := &sitev1.EndpointChanges{}
			for range rapid.IntRange(0, 4).Draw(r, "of it") {
				e := endpoint(rapid.SampledFrom([]string{"web", "db"}).Draw(r, "workload"),
					rapid.SampledFrom([]string{"a-1", "a-2", "a-3"}).Draw(r, "placement"), "n1",
					rapid.SampledFrom([]skerryv1.EndpointState{serving, notReady}).Draw(r, "state"))
				if rapid.Bool().Draw(r, "goes") {
					changes.Removed = append(changes.Removed, endpoints.Key(e))
					truth.Remove(endpoints.Key(e))
				}
			}
			for range rapid.IntRange(0, 4).Draw(r, "more") {
				e := endpoint(rapid.SampledFrom([]string{"web", "db"}).Draw(r, "workload"),
					rapid.SampledFrom([]string{"a-1", "a-2", "a-3"}).Draw(r, "placement"), "n1", serving)
				changes.Set = append(changes.Set, e)
				truth.Put(e)
			}
			if err := book.Take(sent(&sitev1.Order{Term: 1}, false, truth.Digest(), changes)); err != nil {
				r.Fatal(err)
			}
			// What was kept on the disk is the same again.
			encoded, err := proto.Marshal(book.Copy())
			if err != nil {
				r.Fatal(err)
			}
			kept := &sitev1.EndpointCopy{}
			if err := proto.Unmarshal(encoded, kept); err != nil || NewBook(kept).Digest() != truth.Digest() {
				r.Fatalf("what is kept is %v (%v)", kept, err)
			}
			count := 0
			for _, workload := range []string{"web", "db"} {
				count += len(book.workload("shop", workload))
			}
			if count != len(truth.All()) || book.hasProject("shop") != (count > 0) {
				r.Fatalf("%d endpoints are found by workload, there are %d", count, len(truth.All()))
			}
		}
	})
}

func TestCopyRefusesWhatItCannotTrust(t *testing.T) {
	one := endpoint("web", "web-1", "n1", serving)
	digest := endpoints.NewSet(one).Digest()
	set := &sitev1.EndpointChanges{Set: []*skerryv1.Endpoint{one}}
	for name, c := range map[string]struct {
		response *sitev1.EndpointsResponse
		accepted bool
	}{
		"of this coordinator":          {sent(&sitev1.Order{SiteEpoch: 1, Term: 5}, false, digest, set), true},
		"of the next":                  {sent(&sitev1.Order{SiteEpoch: 1, Term: 6}, true, digest, set), true},
		"of one that was replaced":     {sent(&sitev1.Order{SiteEpoch: 1, Term: 4, Index: 99}, true, digest, set), false},
		"of an earlier site":           {sent(&sitev1.Order{Term: 9}, true, digest, set), false},
		"with something missing":       {sent(&sitev1.Order{SiteEpoch: 1, Term: 5}, false, digest, &sitev1.EndpointChanges{}), false},
		"that cannot be uncompressed":  {&sitev1.EndpointsResponse{Order: &sitev1.Order{SiteEpoch: 1, Term: 5}, Changes: []byte("?")}, false},
		"that is empty, without flate": {&sitev1.EndpointsResponse{Order: &sitev1.Order{SiteEpoch: 1, Term: 5}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			book := NewBook(&sitev1.EndpointCopy{Order: &sitev1.Order{SiteEpoch: 1, Term: 5, Index: 7}})
			if err := book.Take(c.response); (err == nil) != c.accepted {
				t.Errorf("accepted %v: %v", err == nil, err)
			}
		})
	}
}

func TestOwnPlacementsAreAsTheyAreNow(t *testing.T) {
	const held = skerryv1.EndpointState_ENDPOINT_STATE_HELD
	order := func(desired skerryv1.DesiredState) *sitev1.Assignments {
		return &sitev1.Assignments{Placements: []*skerryv1.Placement{{
			Project: "shop", Workload: "web", Name: "web-1", Desired: desired, Spec: &skerryv1.Workload{Health: &skerryv1.Health{}},
		}}}
	}
	status := func(readiness skerryv1.Readiness) []*sitev1.PlacementReport {
		return []*sitev1.PlacementReport{{Project: "shop", Placement: "web-1", Status: &skerryv1.PlacementStatus{
			Phase: skerryv1.Phase_PHASE_RUNNING, Readiness: readiness,
		}}}
	}
	const run, stop = skerryv1.DesiredState_DESIRED_STATE_RUN, skerryv1.DesiredState_DESIRED_STATE_STOP
	const healthy, unhealthy = skerryv1.Readiness_READINESS_HEALTHY, skerryv1.Readiness_READINESS_UNHEALTHY
	for name, c := range map[string]struct {
		copied  skerryv1.EndpointState
		orders  *sitev1.Assignments
		reports []*sitev1.PlacementReport
		want    skerryv1.EndpointState
	}{
		"healthy, and the site thinks it lost": {skerryv1.EndpointState_ENDPOINT_STATE_LOST, order(run), status(healthy), serving},
		"healthy, and the site has not heard":  {notReady, order(run), status(healthy), serving},
		"unhealthy, and nobody knows yet":      {serving, order(run), status(unhealthy), notReady},
		"to be stopped, and nobody knows yet":  {serving, order(stop), status(healthy), skerryv1.EndpointState_ENDPOINT_STATE_LEAVING},
		"held back by its rollout":             {held, order(run), status(healthy), held},
		"not looked at yet by this agent":      {serving, order(run), nil, serving},
		"not looked at, and unknown":           {skerryv1.EndpointState_ENDPOINT_STATE_UNSPECIFIED, order(run), nil, skerryv1.EndpointState_ENDPOINT_STATE_UNSPECIFIED},
	} {
		t.Run(name, func(t *testing.T) {
			others := endpoint("web", "web-2", "n2", serving)
			kept := []*skerryv1.Endpoint{others}
			if c.copied != skerryv1.EndpointState_ENDPOINT_STATE_UNSPECIFIED {
				kept = append(kept, endpoint("web", "web-1", "n1", c.copied))
			}
			d := NewDirectory("n1", NewBook(&sitev1.EndpointCopy{Endpoints: kept}))
			d.Know(c.orders, c.reports)
			for _, all := range [][]*skerryv1.Endpoint{d.Workload("shop", "web"), d.All()} {
				got := map[string]skerryv1.EndpointState{}
				for _, e := range all {
					got[e.GetPlacement()] = e.GetState()
				}
				if len(all) != 2 || got["web-1"] != c.want || got["web-2"] != serving {
					t.Errorf("the states are %v, want %s", got, c.want)
				}
			}
		})
	}
}

func TestPlacementsThatAreGoneFromThisNodeAreNotFoundInTheCopy(t *testing.T) {
	d := NewDirectory("n1", NewBook(&sitev1.EndpointCopy{Endpoints: []*skerryv1.Endpoint{endpoint("web", "web-1", "n1", serving)}}))
	d.Know(&sitev1.Assignments{Peers: []*sitev1.Peer{{Name: "n1", Address: "10.0.0.1:7600"}}}, nil)
	if got := d.Workload("shop", "web"); len(got) != 0 {
		t.Errorf("the workload has %v", got)
	}
	if address, ok := d.Node("n1"); !ok || address.String() != "10.0.0.1" {
		t.Errorf("the node's address is %s", address)
	}
}
