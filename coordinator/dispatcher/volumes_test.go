package dispatcher

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
)

func (s *testSite) volumeOrders(node string) string {
	var all []string
	for _, v := range SiteOf(s.store.View()).Own(node, 2).GetVolumes() {
		text := v.GetName()
		if v.GetStatus().GetDeleting() {
			text += " to be deleted"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

// moving is a site on which vm-1 is on its way from n1 to n2 with its volume; says
// reports for a node.
func moving(t *testing.T) (s *testSite, says func(node string, report *sitev1.PlacementReport, held ...*sitev1.HeldVolume), held *sitev1.HeldVolume) {
	t.Helper()
	s = newTestSite(t)
	s.must(&sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{Image: &skerryv1.Image{
		Name: "disk", Digest: fmt.Sprintf("sha256:%x", key("disk")), Size: 10, DiskBytes: 1 << 30, Nodes: []string{"n1"},
	}}}})
	says = func(node string, report *sitev1.PlacementReport, held ...*sitev1.HeldVolume) {
		facts := &sitev1.NodeFacts{
			Capacity: &skerryv1.Capacity{CpuMilli: 4000, MemoryBytes: 1 << 32, DiskBytes: 1 << 40},
			Vms:      &skerryv1.VmFacts{Emulation: true, Firmware: []string{"bios"}}, Volumes: held,
		}
		all := &sitev1.NodeReport{Node: node, Facts: facts}
		if report != nil {
			report.Project, report.Placement = "default", "vm-1"
			all.Placements = []*sitev1.PlacementReport{report}
		}
		s.must(&sitev1.Entry{Change: &sitev1.Entry_StatusBatch{StatusBatch: &sitev1.StatusBatch{Reports: []*sitev1.NodeReport{all}}}})
		s.must(&sitev1.Entry{Change: &sitev1.Entry_SetNodeState{SetNodeState: &sitev1.SetNodeState{Node: node, State: skerryv1.NodeState_NODE_STATE_READY}}})
	}
	says("n1", nil)
	says("n2", nil)
	w := &skerryv1.Workload{Kind: "Workload", Name: "vm", Project: "default", Replicas: proto.Uint32(1), Partition: &skerryv1.Partition{Mode: manifest.Stay},
		Vm: &skerryv1.VirtualMachine{Image: "disk", Cpu: 1, Memory: "512Mi", Disks: []*skerryv1.Disk{{Name: "data", Volume: "data", Size: "1Gi"}}}}
	manifest.Default(w)
	s.place(w, "n1")
	held = &sitev1.HeldVolume{Project: "default", Name: "data", As: manifest.DiskVolume}
	says("n1", &sitev1.PlacementReport{Status: &skerryv1.PlacementStatus{Phase: skerryv1.Phase_PHASE_RUNNING, Accel: "tcg"}}, held)
	s.must(&sitev1.Entry{Change: &sitev1.Entry_SetPower{SetPower: &sitev1.SetPower{Project: "default", Placement: "vm-1", Migrate: true, To: "n2"}}})
	return s, says, held
}

func (s *testSite) wantVolumes(t *testing.T, when, n1, n2 string) {
	t.Helper()
	if got := [2]string{s.volumeOrders("n1"), s.volumeOrders("n2")}; got != [2]string{n1, n2} {
		t.Errorf("%s the orders are %q", when, got)
	}
}

// An old copy of a volume goes by an order, and only when its node has nothing left
// that may use it.
func TestTheOldCopyOfAVolumeIsDeletedByAnOrder(t *testing.T) {
	s, says, held := moving(t)
	s.wantVolumes(t, "on its way", "data", "")
	attempt := s.store.View().Placement("default", "vm-1").GetMigration().GetAttempt()
	says("n2", &sitev1.PlacementReport{Migration: &sitev1.MigrationReport{Attempt: attempt, Arrived: true}}, held)
	s.wantVolumes(t, "once it has come", "", "data")
	says("n1", &sitev1.PlacementReport{Gone: true}, held)
	s.wantVolumes(t, "when its machine has left", "data to be deleted", "data")
	says("n1", nil, &sitev1.HeldVolume{Project: "default", Name: "data", Gone: true})
	s.wantVolumes(t, "at the end", "", "data")
}

// A node whose word the site waits for in vain may have the volume: it is told of
// it, as of one with data.
func TestANodeIsToldOfAVolumeThatMayHaveCome(t *testing.T) {
	s, _, _ := moving(t)
	s.must(&sitev1.Entry{Change: &sitev1.Entry_SetNodeState{SetNodeState: &sitev1.SetNodeState{Node: "n1", State: skerryv1.NodeState_NODE_STATE_LOST}}})
	s.must(&sitev1.Entry{Change: &sitev1.Entry_ConfirmOff{ConfirmOff: &sitev1.ConfirmOff{Node: "n1"}}})
	s.wantVolumes(t, "when its old node is off", "data", "data")
	if v := SiteOf(s.store.View()).Own("n2", 2).GetVolumes()[0]; !v.GetStatus().GetMade() {
		t.Errorf("it is told of %v", v)
	}
}
