package agent

import (
	"slices"

	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"

	"skerry.dev/agent/runtime"
)

// machines is what a runtime may be able to do beside: virtual machines.
type machines interface {
	runtime.VolumeKeeper
	// Facts are what this node can do for virtual machines; nil: nothing.
	Facts() *skerryv1.VmFacts
	// Conditions say what needs attention.
	Conditions() []*skerryv1.Condition
	// Belong tells of which site the node is.
	Belong(site string)
}

// machineFacts adds what this node can do for virtual machines, and the volumes
// that it holds or has deleted. What cannot be found out stays as it was.
func (f *facts) machineFacts(next *sitev1.NodeFacts) {
	vms, ok := f.Runtime.(machines)
	if !ok {
		return
	}
	next.Vms = vms.Facts()
	held, err := vms.HeldVolumes()
	if err != nil {
		f.Logger.Warn("the volumes of this node are not known", "error", err)
		return
	}
	next.Volumes = nil
	for _, v := range held {
		told := &sitev1.HeldVolume{Project: v.Project, Name: v.Name, Used: v.Used}
		for _, s := range v.Snapshots {
			told.Snapshots = append(told.Snapshots, &skerryv1.Snapshot{Name: s.Name, Created: timestamppb.New(s.Created), Used: s.Used, Quiet: s.Quiet})
		}
		next.Volumes = append(next.Volumes, told)
	}
	for _, v := range f.ledger.Current().GetVolumes() {
		gone := !slices.ContainsFunc(held, func(h runtime.HeldVolume) bool { return h.Project == v.GetProject() && h.Name == v.GetName() })
		if v.GetStatus().GetDeleting() && gone {
			next.Volumes = append(next.Volumes, &sitev1.HeldVolume{Project: v.GetProject(), Name: v.GetName(), Gone: true})
		}
	}
}

// machineConditions are those of what runs virtual machines.
func (f *facts) machineConditions() []*skerryv1.Condition {
	if vms, ok := f.Runtime.(machines); ok {
		return vms.Conditions()
	}
	return nil
}
