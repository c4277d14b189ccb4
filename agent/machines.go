package agent

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/manifest"
)

// machines is what a runtime may be able to do beside: virtual machines.
type machines interface {
	runtime.VolumeKeeper
	// Facts are what this node can do for virtual machines; nil: nothing.
	Facts() *skerryv1.VmFacts
	// Conditions say what needs attention.
	Conditions() []*skerryv1.Condition
	// RootDisks of virtual machines, and the bytes that they take.
	RootDisks() (count uint32, bytes int64)
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
	ordered := f.ledger.Current().GetVolumes()
	next.Volumes, f.overSize = ToldVolumes(held, ordered), overSize(ordered, held)
}

// ToldVolumes are what a node tells of the volumes that it holds, and of those that
// it has deleted because its orders say so.
func ToldVolumes(held []runtime.HeldVolume, ordered []*skerryv1.Volume) []*sitev1.HeldVolume {
	var all []*sitev1.HeldVolume
	for _, v := range held {
		told := &sitev1.HeldVolume{Project: v.Project, Name: v.Name, Used: v.Used, As: manifest.DiskVolume}
		if v.Directory {
			told.As = manifest.DirectoryVolume
		}
		for _, s := range v.Snapshots {
			told.Snapshots = append(told.Snapshots, &skerryv1.Snapshot{Name: s.Name, Created: timestamppb.New(s.Created), Used: s.Used, Quiet: s.Quiet})
		}
		all = append(all, told)
	}
	for _, v := range ordered {
		gone := !slices.ContainsFunc(held, func(h runtime.HeldVolume) bool { return h.Project == v.GetProject() && h.Name == v.GetName() })
		if v.GetStatus().GetDeleting() && gone {
			all = append(all, &sitev1.HeldVolume{Project: v.GetProject(), Name: v.GetName(), Gone: true})
		}
	}
	return all
}

// overSize says which directories take more than their volumes have; empty: none.
func overSize(volumes []*skerryv1.Volume, held []runtime.HeldVolume) string {
	var texts []string
	for _, h := range held {
		for _, v := range volumes {
			size, err := manifest.Memory(v.GetSize())
			if err == nil && h.Directory && v.GetProject() == h.Project && v.GetName() == h.Name && h.Used > size {
				texts = append(texts, fmt.Sprintf("%s of project %s takes %d MiB, and has %s", h.Name, h.Project, h.Used>>20, v.GetSize()))
			}
		}
	}
	if len(texts) > maxOverSize {
		texts = append(texts[:maxOverSize], fmt.Sprintf("and %d more", len(texts)-maxOverSize))
	}
	if len(texts) > 0 {
		texts[len(texts)-1] += ": nothing stops what writes there; make room, or let it grow"
	}
	return strings.Join(texts, "; ")
}

// maxOverSize volumes are named in a condition.
const maxOverSize = 5

// machineConditions are those of what runs virtual machines.
func (f *facts) machineConditions() []*skerryv1.Condition {
	if vms, ok := f.Runtime.(machines); ok {
		return vms.Conditions()
	}
	return nil
}
