package state

import (
	"testing"

	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// mounting is a workload of containers with a volume.
func mounting(name, volume string, change ...func(*skerryv1.Workload)) *skerryv1.Workload {
	return testWorkload(name, 1, append([]func(*skerryv1.Workload){func(w *skerryv1.Workload) {
		w.Container.Mounts = []*skerryv1.Mount{{Target: "/data", Volume: volume, Size: "1Gi"}}
	}}, change...)...)
}

func volumeEntry(v *skerryv1.Volume) *sitev1.Entry {
	v.Kind, v.Project = "Volume", "default"
	if v.Class == "" {
		v.Class = "local"
	}
	return &sitev1.Entry{Change: &sitev1.Entry_ApplyResources{ApplyResources: &sitev1.ApplyResources{
		Resources: []*skerryv1.Resource{{Kind: &skerryv1.Resource_Volume{Volume: v}}},
	}}}
}

// gets a node for a new placement of a workload; false: it does not.
func (s *site) gets(workload, placement, node string) bool {
	s.t.Helper()
	s.plan(&sitev1.Plan{Create: []*sitev1.NewPlacement{create(workload, s.store.View().Workload("default", workload).GetGeneration())}})
	return s.plan(&sitev1.Plan{Assign: []*sitev1.Assignment{assign(placement, node)}}) == 0
}

func TestAContainersVolumeIsADirectoryOnOneNode(t *testing.T) {
	s := newSite(t, 2)
	volume := func() *skerryv1.Volume { return s.store.View().Volume("default", "data") }
	s.ok(volumeEntry(&skerryv1.Volume{Name: "data", Size: "2Gi"}))
	s.ok(applyEntry(mounting("db", "data")))
	if v := volume(); v.GetAs() != "" || v.GetSize() != "2Gi" {
		t.Fatalf("before its first use the volume is %v", v)
	}
	if !s.gets("db", "db-1", "n2") {
		t.Fatal("db-1 does not get n2")
	}
	if v := volume(); v.GetNode() != "n2" || v.GetAs() != "directory" {
		t.Errorf("after its first use the volume is %v", v)
	}
	s.refused("conflict", volumeEntry(&skerryv1.Volume{Name: "data", Size: "2Gi", As: "disk"}))
	s.says("n2", &sitev1.NodeFacts{Capacity: testNode(2).GetCapacity(), Volumes: []*sitev1.HeldVolume{{Project: "default", Name: "data", Used: 7, As: "directory"}}})
	if v := volume(); !v.GetStatus().GetMade() || v.GetStatus().GetUsed() != 7 {
		t.Errorf("once it is made the volume is %v", v)
	}
	s.refused("conflict", deleteEntry("Volume", "data"))
	s.ok(deleteEntry("Workload", "db"))
	s.report("n2", "db-1", nil, true)

	s.ok(applyEntry(mounting("db", "data")))
	if s.gets("db", "db-2", "n1") {
		t.Error("db-2 gets n1, away from its volume")
	}
	if !s.gets("db", "db-2", "n2") {
		t.Error("db-2 does not get the node of its volume")
	}
	s.restart()
}

func TestVolumesThatContainersCannotHave(t *testing.T) {
	s := withMachines(t)
	s.ok(applyEntry(mounting("db", "data"), aVM(func(w *skerryv1.Workload) {
		w.Vm.Disks = []*skerryv1.Disk{{Name: "disk", Volume: "disk", Size: "1Gi"}}
	})))
	s.ok(volumeEntry(&skerryv1.Volume{Name: "far", Size: "1Gi", Node: "n2"}))
	if !s.gets("db", "db-1", "n1") {
		t.Fatal("db-1 does not get n1")
	}
	two := uint32(2)
	for name, test := range map[string]struct {
		kind string
		w    *skerryv1.Workload
	}{
		"that of another workload":    {"conflict", mounting("thief", "data")},
		"the disk of a machine":       {"conflict", mounting("thief", "disk")},
		"one that is not there":       {"invalid", mounting("new", "none", func(w *skerryv1.Workload) { w.Container.Mounts[0].Size = "" })},
		"one of several replicas":     {"invalid", mounting("new", "new", func(w *skerryv1.Workload) { w.Replicas = &two })},
		"one that would be elsewhere": {"invalid", mounting("new", "new", func(w *skerryv1.Workload) { w.Partition = &skerryv1.Partition{Mode: "replicate"} })},
		"one away from where it is": {"conflict", mounting("db", "data", func(w *skerryv1.Workload) {
			w.Container.Mounts = append(w.Container.Mounts, &skerryv1.Mount{Target: "/far", Volume: "far"})
		})},
	} {
		t.Log(name)
		s.refused(test.kind, applyEntry(test.w))
	}
	s.refused("conflict", applyEntry(aVM(func(w *skerryv1.Workload) {
		w.Name = "thief"
		w.Vm.Disks = []*skerryv1.Disk{{Name: "data", Volume: "data"}}
	})))
}

func TestAVolumeThatWasFilledFirstIsADisk(t *testing.T) {
	s := newSite(t, 1)
	s.ok(volumeEntry(&skerryv1.Volume{Name: "data", Size: "1Gi", Node: "n1"}))
	s.says("n1", &sitev1.NodeFacts{Capacity: testNode(1).GetCapacity(), Volumes: []*sitev1.HeldVolume{{Project: "default", Name: "data", Used: 7, As: "disk"}}})
	s.refused("conflict", applyEntry(mounting("db", "data")))
	s.refused("invalid", volumeEntry(&skerryv1.Volume{Name: "other", Size: "1Gi", As: "tape"}))
}

func TestADirectoryOfANodeIsNeitherMadeNorDeleted(t *testing.T) {
	s := newSite(t, 2)
	feed := func(node, path string) *sitev1.Entry {
		return volumeEntry(&skerryv1.Volume{Name: "feed", Class: "hostPath", Node: node, Path: path})
	}
	s.refused("invalid", feed("n2", "/srv/../etc"))
	s.refused("invalid", feed("", "/srv/feed"))
	s.ok(feed("n2", "/srv/feed"))
	s.refused("conflict", feed("n1", "/srv/feed"))
	s.refused("conflict", feed("n2", "/etc"))
	s.refused("conflict", volumeEntry(&skerryv1.Volume{Name: "feed", Size: "1Gi"}))
	s.ok(applyEntry(mounting("reader", "feed")))
	if s.gets("reader", "reader-1", "n1") || !s.gets("reader", "reader-1", "n2") {
		t.Error("what has a directory of n2 goes elsewhere")
	}
	s.says("n2", &sitev1.NodeFacts{Capacity: testNode(2).GetCapacity(), Volumes: []*sitev1.HeldVolume{{Project: "default", Name: "feed", Gone: true}}})
	if v := s.store.View().Volume("default", "feed"); v.GetPath() != "/srv/feed" || v.GetStatus().GetMade() {
		t.Errorf("it is %v", v)
	}
	s.ok(deleteEntry("Workload", "reader"))
	for _, p := range s.names("reader") {
		s.report("n2", p, nil, true)
	}
	withData := deleteEntry("Volume", "feed")
	withData.GetDeleteResource().WithData = true
	s.refused("invalid", withData)
	s.ok(deleteEntry("Volume", "feed"))
	s.restart()
}
