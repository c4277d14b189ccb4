package state

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// recoverVersion is the version of the chain that begins the next site epoch.
func (s *site) recoverVersion(epoch uint64) *sitev1.TrustVersion {
	s.t.Helper()
	chain := s.store.View().Trust()
	last := &sitev1.TrustBody{}
	if err := proto.Unmarshal(chain[len(chain)-1].GetBody(), last); err != nil {
		s.t.Fatal(err)
	}
	digest := sha256.Sum256(chain[len(chain)-1].GetBody())
	body, err := proto.Marshal(&sitev1.TrustBody{
		Site: last.GetSite(), Version: last.GetVersion() + 1, Previous: digest[:], Authorities: last.GetAuthorities(),
		Recover: &sitev1.RecoverRecord{SiteEpoch: epoch, Id: make([]byte, 16)},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return &sitev1.TrustVersion{Body: body}
}

func (s *site) recoverOn(node string) *sitev1.Outcome {
	return s.ok(&sitev1.Entry{Principal: "spiffe://harbour/node/" + node, Change: &sitev1.Entry_RecoverSite{RecoverSite: &sitev1.RecoverSite{
		Version: s.recoverVersion(2), Node: &skerryv1.Node{Name: node, RaftId: s.store.View().RaftIDAfter()},
		From: &skerryv1.Recovery{How: "recover", Index: s.index},
	}}})
}

func (s *site) adopt(node string, running ...*skerryv1.Placement) *sitev1.Outcome {
	return s.ok(&sitev1.Entry{Principal: "coordinator", Change: &sitev1.Entry_AdoptNode{AdoptNode: &sitev1.AdoptNode{Node: node, Placements: running}}})
}

// ordered is a placement as orders name it.
func ordered(w *skerryv1.Workload, generation, number uint64, node string) *skerryv1.Placement {
	spec := proto.CloneOf(w)
	spec.Generation = generation
	return &skerryv1.Placement{
		Kind: "Placement", Name: fmt.Sprintf("%s-%d", w.GetName(), number), Project: w.GetProject(), Workload: w.GetName(), Generation: generation,
		Node: node, Desired: skerryv1.DesiredState_DESIRED_STATE_RUN, Spec: spec, ImageDigest: "sha256:1",
	}
}

func (s *site) differences() string {
	var all []string
	for _, d := range s.store.View().Recovery().GetDifferences() {
		all = append(all, d.GetWhat()+" "+d.GetResource()+" on "+d.GetNode())
	}
	return strings.Join(all, ", ")
}

func TestARecoveryLeavesTheFormerVotersBehind(t *testing.T) {
	s := newSite(t, 3)
	s.ok(applyEntry(testWorkload("web", 2)))
	before := s.store.View()
	s.refused("conflict", &sitev1.Entry{Change: &sitev1.Entry_RecoverSite{RecoverSite: &sitev1.RecoverSite{
		Version: s.recoverVersion(3), Node: &skerryv1.Node{Name: "n2", RaftId: 5000}, From: &skerryv1.Recovery{},
	}}})
	s.refused("conflict", &sitev1.Entry{Change: &sitev1.Entry_RecoverSite{RecoverSite: &sitev1.RecoverSite{
		Version: s.recoverVersion(2), Node: &skerryv1.Node{Name: "n2", RaftId: 1}, From: &skerryv1.Recovery{},
	}}})
	s.refused("not_found", &sitev1.Entry{Change: &sitev1.Entry_RecoverSite{RecoverSite: &sitev1.RecoverSite{
		Version: s.recoverVersion(2), Node: &skerryv1.Node{Name: "n9", RaftId: 5000}, From: &skerryv1.Recovery{},
	}}})
	s.recoverOn("n2")
	s.restart()
	view := s.store.View()
	if view.SiteEpoch() != 2 || view.Recovery().GetSiteEpoch() != 2 || len(view.Tokens()) != 0 {
		t.Errorf("site epoch %d, %v, %d tokens", view.SiteEpoch(), view.Recovery(), len(view.Tokens()))
	}
	for _, node := range view.Nodes() {
		voter, ready := node.GetVoter() == skerryv1.VoterRole_VOTER_ROLE_VOTER, node.GetState() == skerryv1.NodeState_NODE_STATE_READY
		if first := node.GetName() == "n2"; voter != first || ready != first || (node.GetRaftId() != 0) != first || view.Adopted(node) != first {
			t.Errorf("%s: %v", node.GetName(), node)
		}
	}
	if got := view.Awaited(); !slices.Equal(got, []string{"n1", "n3"}) || view.Calls() != "n2" {
		t.Errorf("awaited are %v, by %q", got, view.Calls())
	}
	if view.Node("n2").GetRaftId() <= before.RaftIDAfter()-nameGap {
		t.Error("the replica's ID may have been there already")
	}
}

// Leaves from before are on no machine of the new epoch, unless it began on one that had them.
func TestVotersOfARestoredSiteDoNotWaitForLeavesFromBefore(t *testing.T) {
	for _, fresh := range []bool{true, false} {
		s := newSite(t, 3)
		before, node := s.store.View().Audit().Size, &skerryv1.Node{Name: "n2", RaftId: s.store.View().RaftIDAfter()}
		if fresh {
			node.Name, node.Address, node.KeyFingerprint = "n9", "n9:7600", bytes.Repeat([]byte{9}, sha256.Size)
		}
		s.ok(&sitev1.Entry{Principal: "spiffe://harbour/node/" + node.GetName(), Change: &sitev1.Entry_RecoverSite{RecoverSite: &sitev1.RecoverSite{
			Version: s.recoverVersion(2), Node: node, Fresh: fresh, From: &skerryv1.Recovery{Index: s.index},
		}}})
		s.restart()
		first := uint64(0)
		if fresh {
			first = before
		}
		if got := s.store.View().Audit(); got.First != first || got.Size != before+1 || before == 0 {
			t.Errorf("fresh %t: of %d leaves those from %d on are kept, before there were %d", fresh, got.Size, got.First, before)
		}
	}
}

func TestWhatANodeRunsIsAdopted(t *testing.T) {
	s := newSite(t, 3)
	web := testWorkload("web", 2)
	s.ok(applyEntry(web))
	s.want(0, &sitev1.Plan{BaseIndex: s.index, Create: []*sitev1.NewPlacement{
		{Project: "default", Workload: "web", Generation: 1}, {Project: "default", Workload: "web", Generation: 1},
	}})
	s.want(0, &sitev1.Plan{BaseIndex: s.index, Assign: []*sitev1.Assignment{
		{Project: "default", Placement: "web-1", Node: "n1"}, {Project: "default", Placement: "web-2", Node: "n3"},
	}})
	s.recoverOn("n2")
	if s.store.View().Placement("default", "web-1").GetLostSince() == nil {
		t.Error("what runs on a node that was not heard is not lost")
	}
	other := testWorkload("shop", 2)
	other.Project = "kiosk"
	s.adopt("n1", ordered(web, 1, 1, "n1"), ordered(web, 2, 7, "n1"), ordered(other, 4, 3, "n1"))
	s.adopt("n3", ordered(web, 1, 7, "n3"))
	view := s.store.View()
	if got := view.Awaited(); len(got) > 0 || view.Calls() != "" {
		t.Errorf("still awaited are %v, by %q", got, view.Calls())
	}
	for _, name := range []string{"web-1", "web-7"} {
		if p := view.Placement("default", name); p.GetNode() != "n1" || p.GetLostSince() != nil || p.GetDesired() != skerryv1.DesiredState_DESIRED_STATE_RUN {
			t.Errorf("%s is %v", name, p)
		}
	}
	if view.Placement("default", "web-2") != nil {
		t.Error("a phantom is left")
	}
	if got := view.Workload("default", "web").GetGeneration(); got != 2 {
		t.Errorf("the workload went back to generation %d", got)
	}
	if view.Workload("kiosk", "shop").GetGeneration() != 4 || view.Placement("kiosk", "shop-3").GetNode() != "n1" {
		t.Error("a workload that was made after the backup is not there")
	}
	const want = "newer Placement/default/web-7 on n1, adopted Placement/default/web-7 on n1, " +
		"newer Placement/kiosk/shop-3 on n1, adopted Placement/kiosk/shop-3 on n1, ended Placement/default/web-7 on n3, gone Placement/default/web-2 on n3"
	if got := s.differences(); got != want {
		t.Errorf("the report is\n%s, want\n%s", got, want)
	}
	s.restart()
	s.adopt("n1") // once more: it is adopted already
	if s.store.View().Placement("default", "web-1") == nil {
		t.Error("a repeated call took everything away")
	}
	s.want(0, &sitev1.Plan{BaseIndex: s.index, Create: []*sitev1.NewPlacement{{Project: "kiosk", Workload: "shop", Generation: 4}}})
	if s.store.View().Placement("kiosk", "shop-4") == nil && s.store.View().Placement("kiosk", fmt.Sprintf("shop-%d", nameGap+1)) == nil {
		t.Error("the next placement has a name that was there before")
	}
}

func TestWhatFindsNoRoomForItsWorkloadIsNotAdopted(t *testing.T) {
	s := newSite(t, 2)
	for i := range maxWorkloads {
		s.ok(applyEntry(testWorkload(fmt.Sprintf("w%d", i), 0)))
	}
	s.recoverOn("n1")
	s.adopt("n2", ordered(testWorkload("web", 1), 1, 1, "n2"))
	if got, want := s.differences(), "ended Placement/default/web-1 on n2"; got != want {
		t.Errorf("the report is %q, want %q", got, want)
	}
	s.restart()
	if view := s.store.View(); len(view.Workloads()) != maxWorkloads || view.Placement("default", "web-1") != nil {
		t.Errorf("there are %d workloads, and %v", len(view.Workloads()), view.Placement("default", "web-1"))
	}
}

func TestWhatIsConfirmedOffIsNotAdoptedAnyMore(t *testing.T) {
	s := newSite(t, 2)
	db := testWorkload("db", 1)
	db.Partition = &skerryv1.Partition{Mode: "stay", ReplaceAfter: "0s"}
	s.ok(applyEntry(db))
	s.want(0, &sitev1.Plan{BaseIndex: s.index, Create: []*sitev1.NewPlacement{{Project: "default", Workload: "db", Generation: 1}}})
	s.want(0, &sitev1.Plan{BaseIndex: s.index, Assign: []*sitev1.Assignment{{Project: "default", Placement: "db-1", Node: "n1"}}})
	s.recoverOn("n2")
	s.ok(&sitev1.Entry{Change: &sitev1.Entry_ConfirmOff{ConfirmOff: &sitev1.ConfirmOff{Node: "n1"}}})
	s.adopt("n1", ordered(db, 1, 1, "n1"))
	if s.store.View().Placement("default", "db-1") != nil {
		t.Error("what may run elsewhere by now was adopted")
	}
}
