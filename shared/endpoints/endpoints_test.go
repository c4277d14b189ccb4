package endpoints

import (
	"bytes"
	"compress/flate"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestWhereAPlacementIsReached(t *testing.T) {
	ports := []*skerryv1.Port{{Name: "http", Port: 80, HostPort: 8080, Protocol: "tcp"}, {Name: "admin", Port: 81, Protocol: "tcp"}}
	for name, c := range map[string]struct {
		container *skerryv1.Container
		want      *skerryv1.Endpoint
	}{
		"what publishes a port, at that port of its node": {
			&skerryv1.Container{Ports: ports},
			&skerryv1.Endpoint{Ports: []*skerryv1.EndpointPort{{Name: "http", Port: 8080, Protocol: "tcp"}}}},
		"what is on the node's network, at its own ports": {
			&skerryv1.Container{Ports: ports[1:], Network: "host"},
			&skerryv1.Endpoint{Ports: []*skerryv1.EndpointPort{{Name: "admin", Port: 81, Protocol: "tcp"}}}},
		"what publishes nothing, by its own node": {
			&skerryv1.Container{Ports: ports[1:]},
			&skerryv1.Endpoint{LocalAddress: "10.88.0.2", LocalPorts: []*skerryv1.EndpointPort{{Name: "admin", Port: 81, Protocol: "tcp"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			got := Of(&skerryv1.Placement{
				Name: "web-1", Project: "shop", Workload: "web", Node: "n1",
				Spec: &skerryv1.Workload{Container: c.container}, Status: &skerryv1.PlacementStatus{Address: "10.88.0.2"},
			})
			c.want.Project, c.want.Workload, c.want.Placement, c.want.Node = "shop", "web", "web-1", "n1"
			if diff := cmp.Diff(c.want, got, protocmp.Transform()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestWhatIsPackedComesOutAgain(t *testing.T) {
	want := &sitev1.EndpointChanges{Set: []*skerryv1.Endpoint{{Project: "shop", Placement: "web-1"}}, Removed: []string{"shop/web-0"}}
	got, err := Unpack(Pack(want))
	if err != nil || !proto.Equal(got, want) {
		t.Errorf("%v %v", got, err)
	}
}

func TestWhatUnfoldsToTooMuchIsRefused(t *testing.T) {
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 1<<20)
	for range maxUnpacked>>20 + 1 {
		if _, err := w.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(packed.Bytes()); err == nil {
		t.Errorf("%d bytes that unfold to more than %d were taken", packed.Len(), maxUnpacked)
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(Pack(&sitev1.EndpointChanges{Removed: []string{"shop/web-1"}}))
	f.Fuzz(func(t *testing.T, packed []byte) {
		if changes, err := Unpack(packed); err == nil {
			if again, err := Unpack(Pack(changes)); err != nil || !proto.Equal(again, changes) {
				t.Fatalf("%v becomes %v (%v)", changes, again, err)
			}
		}
	})
}
