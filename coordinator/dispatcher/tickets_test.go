package dispatcher

import (
	"fmt"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/ticket"
)

func (s *testSite) imageKey() {
	s.must(&sitev1.Entry{Change: &sitev1.Entry_RotateImageKey{RotateImageKey: &sitev1.RotateImageKey{Key: key("images")}}})
}

func (s *testSite) image(name string, nodes ...string) string {
	digest := fmt.Sprintf("sha256:%x", key(name))
	s.must(&sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{Image: &skerryv1.Image{
		Name: name, Digest: digest, Size: 1, Nodes: nodes,
	}}}})
	return digest
}

// admits tells whether one node would get an image from another one, each by its
// own orders.
func (s *testSite) admits(from, to, digest string) bool {
	source, asker := SiteOf(s.store.View()).Own(from, 2), SiteOf(s.store.View()).Own(to, 2)
	for _, image := range asker.GetImages() {
		if at := slices.Index(image.GetNodes(), from); at >= 0 && at < len(image.GetTickets()) && image.GetDigest() == digest {
			return ticket.Valid(source.GetImageKeys(), s.store.View().Node(to).GetKeyFingerprint(), digest, image.GetTickets()[at])
		}
	}
	return false
}

// bind a placement of the image to a node; the function removes it.
func (s *testSite) bind(node, image string) (leave func()) {
	s.t.Helper()
	w := &skerryv1.Workload{Kind: "Workload", Name: "web", Project: "default", Replicas: proto.Uint32(1), Container: &skerryv1.Container{Image: image},
		Partition: &skerryv1.Partition{Mode: manifest.Stay}}
	manifest.Default(w)
	s.place(w, node)
	if len(s.store.View().PlacementsOn(node)) != 1 {
		s.t.Fatal("it was not bound")
	}
	return func() {
		s.plan(&sitev1.Plan{Remove: []*sitev1.Removal{{Project: "default", Placement: "web-1"}}})
		s.must(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{
			{Node: node, Placements: []*sitev1.PlacementReport{{Project: "default", Placement: "web-1", Gone: true}}},
		}}}})
	}
}

// ticketSite has the voters n1 to n3, the plain nodes n4 to n6, and an image that
// was loaded on n1.
func ticketSite(t *testing.T) (s *testSite, digest string) {
	t.Helper()
	s = newTestSite(t)
	for n := 3; n <= 6; n++ {
		s.join(fmt.Sprintf("n%d", n), fmt.Sprintf("n%d", n))
	}
	s.changeVoters(&sitev1.VoterChange{AddNode: "n2", AddRaftId: 2, Role: skerryv1.VoterRole_VOTER_ROLE_VOTER})
	s.changeVoters(&sitev1.VoterChange{AddNode: "n3", AddRaftId: 3, Role: skerryv1.VoterRole_VOTER_ROLE_VOTER})
	for n := 1; n <= 6; n++ {
		s.report(fmt.Sprintf("n%d", n))
	}
	s.imageKey()
	return s, s.image("site.local/web:1", "n1")
}

// report that a node is there and which images it says that it holds.
func (s *testSite) report(node string, images ...string) {
	s.must(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{
		{Node: node, Facts: &sitev1.NodeFacts{Capacity: &skerryv1.Capacity{CpuMilli: 4000, MemoryBytes: 1 << 30}, Images: images}},
	}}}})
	s.must(&sitev1.Entry{Change: &sitev1.Entry_SetNodeState{SetNodeState: &sitev1.SetNodeState{Node: node, State: skerryv1.NodeState_NODE_STATE_READY}}})
}

func TestARightToAnImageComesAndGoesWithThePlacement(t *testing.T) {
	s, digest := ticketSite(t)
	leave := s.bind("n4", "site.local/web:1")
	for node, want := range map[string]bool{"n2": true, "n3": true, "n4": true, "n5": false} {
		if s.admits("n1", node, digest) != want {
			t.Errorf("%s may fetch it: %v", node, !want)
		}
	}
	s.report("n4", digest)
	if !s.admits("n4", "n2", digest) || s.admits("n4", "n5", digest) {
		t.Error("the plain node that has it gives it to the wrong ones")
	}
	leave()
	if s.admits("n1", "n4", digest) {
		t.Error("it may fetch it after its placement has left")
	}
	if s.report("n5", digest); !s.admits("n4", "n2", digest) {
		t.Error("who has no right any more gives it to nobody")
	}
}

func TestSayingThatOneHoldsAnImageGivesNoRightToIt(t *testing.T) {
	s, digest := ticketSite(t)
	s.report("n5", digest)
	if s.admits("n1", "n5", digest) {
		t.Error("n5 may fetch what it says that it holds")
	}
	if keep := keepers(s.store.View().ImageByDigest(digest), s.store.View().Nodes()); !slices.Equal(keep, []string{"n1", "n2", "n3"}) {
		t.Errorf("kept by %v", keep)
	}
}

func TestAnEvictedNodeGetsNoTickets(t *testing.T) {
	s, digest := ticketSite(t)
	s.bind("n4", "site.local/web:1")
	s.must(&sitev1.Entry{Change: &sitev1.Entry_EvictNode{EvictNode: &sitev1.EvictNode{Node: "n4"}}})
	orders := SiteOf(s.store.View()).Own("n4", 2)
	if len(orders.GetPlacements()) != 1 || len(orders.GetImageKeys()) > 0 || s.admits("n1", "n4", digest) {
		t.Error("it gets them")
	}
}

func TestAStreamBringsTheTicketsOfANewKey(t *testing.T) {
	s, digest := ticketSite(t)
	s.bind("n2", "site.local/web:1")
	opened := s.sync()
	for {
		orders, err := opened.orders()
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(orders.GetImages(), func(i *sitev1.ImageSource) bool { return i.GetDigest() == digest })
		if len(orders.GetImageKeys()) > 0 && at >= 0 && len(orders.GetImages()[at].GetTickets()) == len(orders.GetImages()[at].GetNodes()) {
			return
		}
	}
}
