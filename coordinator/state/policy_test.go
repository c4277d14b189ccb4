package state

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestRoomIsWhatMayBePromised(t *testing.T) {
	has := &skerryv1.Capacity{CpuMilli: 4000, MemoryBytes: 1000, DiskBytes: math.MaxInt64, Devices: map[string]uint32{"gpu": 2}}
	policy := Policy{CPUPercent: 250, MemoryPercent: 100, DiskPercent: 50, ReservedCPUMilli: 400, ReservedMemoryBytes: 2000}
	want := &skerryv1.Capacity{CpuMilli: 9000, MemoryBytes: 0, DiskBytes: math.MaxInt64 / 100 * 50, Devices: has.Devices}
	if diff := cmp.Diff(want, policy.Room(has), protocmp.Transform()); diff != "" {
		t.Errorf("room (-want +got):\n%s", diff)
	}
	if got := DefaultPolicy().Room(has); got != has {
		t.Errorf("by default the room is %v", got)
	}
}

func TestThePolicyIsThatOfTheSettings(t *testing.T) {
	s := newSite(t, 1)
	if got := s.store.View().Policy(); got != DefaultPolicy() {
		t.Errorf("without settings it is %+v", got)
	}
	s.ok(declareEntry(&skerryv1.Settings{Kind: "Settings", Name: "site", Scheduling: &skerryv1.Scheduling{
		Strategy: "pack", CpuPercent: 200, MemoryPercent: 10001, ReservedCpu: "500m", ReservedDisk: "1Gi", ReservedMemory: "much",
	}}))
	want := Policy{Pack: true, CPUPercent: 200, MemoryPercent: 100, DiskPercent: 100, ReservedCPUMilli: 500, ReservedDiskBytes: 1 << 30}
	if got := s.store.View().Policy(); got != want {
		t.Errorf("it is %+v, want %+v", got, want)
	}
	// The node has two cores: 3 of them can be promised.
	s.ok(applyEntry(testWorkload("web", 7))) // of 500m each
	s.want(0, creates(create("web", 1), create("web", 1), create("web", 1), create("web", 1), create("web", 1), create("web", 1), create("web", 1)))
	s.want(1, assigns(assign("web-1", "n1"), assign("web-2", "n1"), assign("web-3", "n1"), assign("web-4", "n1"),
		assign("web-5", "n1"), assign("web-6", "n1"), assign("web-7", "n1")))
}

func TestDevicesAndDiskAreNeverPromisedTwice(t *testing.T) {
	w := &skerryv1.Workload{Container: &skerryv1.Container{Resources: &skerryv1.Resources{
		Cpu: "1m", Memory: "4Mi", Disk: "2Gi", Devices: map[string]uint32{"gpu": 1, "tty": 2},
	}}}
	needs, err := NeedsOf(w)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		room *skerryv1.Capacity
		fits int
	}{
		{"disk is what is scarce", &skerryv1.Capacity{CpuMilli: 1000, MemoryBytes: 1 << 30, DiskBytes: 5 << 30, Devices: map[string]uint32{"gpu": 9, "tty": 9}}, 2},
		{"a device is what is scarce", &skerryv1.Capacity{CpuMilli: 1000, MemoryBytes: 1 << 30, DiskBytes: 1 << 40, Devices: map[string]uint32{"gpu": 9, "tty": 7}}, 3},
		{"there is no such device", &skerryv1.Capacity{CpuMilli: 1000, MemoryBytes: 1 << 30, DiskBytes: 1 << 40, Devices: map[string]uint32{"tty": 7}}, 0},
		{"nothing is known of the disk", &skerryv1.Capacity{CpuMilli: 1000, MemoryBytes: 1 << 30, Devices: map[string]uint32{"gpu": 9, "tty": 7}}, 0},
	} {
		usage, fits := UsageOf(nil), 0
		for usage.Fits(test.room, needs) && fits < 100 {
			usage.Add("web", needs)
			fits++
		}
		if fits != test.fits {
			t.Errorf("%s: %d fit, want %d", test.name, fits, test.fits)
		}
	}
}

func TestNeedsOutOfRangeAreRefused(t *testing.T) {
	many := map[string]uint32{}
	for _, name := range "abcdefghijklmnopq" {
		many[string(name)] = 1
	}
	for name, resources := range map[string]*skerryv1.Resources{
		"a negative disk":      {Cpu: "1", Memory: "4Mi", Disk: "-1"},
		"a disk too large":     {Cpu: "1", Memory: "4Mi", Disk: "1025Ti"},
		"more than is counted": {Cpu: "1", Memory: "4Mi", Disk: "999999999999999999Ti"},
		"devices too many":     {Cpu: "1", Memory: "4Mi", Devices: map[string]uint32{"gpu": math.MaxUint32}},
		"kinds too many":       {Cpu: "1", Memory: "4Mi", Devices: many},
	} {
		if needs, err := NeedsOf(&skerryv1.Workload{Container: &skerryv1.Container{Resources: resources}}); err == nil {
			t.Errorf("%s was taken as %v", name, needs)
		}
	}
}
