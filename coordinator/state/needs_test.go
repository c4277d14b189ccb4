package state

import (
	"testing"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

func TestEachPlacementPublishesTheFirstFreePortOfItsRange(t *testing.T) {
	web := &skerryv1.Workload{Container: &skerryv1.Container{
		Resources: &skerryv1.Resources{Cpu: "100m", Memory: "32Mi"},
		Ports: []*skerryv1.Port{
			{Name: "admin", Port: 9000, Protocol: "tcp"},
			{Name: "http", Port: 8080, HostPort: 80, HostPortLast: 82, Protocol: "tcp"},
		},
	}}
	needs, err := NeedsOf(web)
	if err != nil {
		t.Fatal(err)
	}
	usage := UsageOf(nil)
	usage.Ports["81/tcp"] = "other"
	for _, want := range []uint32{80, 82} {
		if port, holder, taken := usage.Taken(needs.HostPorts); taken {
			t.Fatalf("%s is taken by %s", port, holder)
		}
		settled := usage.published(web, needs.HostPorts).GetContainer().GetPorts()
		usage.Add("web", needs)
		if got := settled[1]; got.GetHostPort() != want || got.GetHostPortLast() != 0 || settled[0].GetHostPort() != 0 {
			t.Fatalf("published at %v, want %d", settled, want)
		}
	}
	port, holder, taken := usage.Taken(needs.HostPorts)
	if !taken || holder != "web" || port.String() != "80-82/tcp" {
		t.Fatalf("a full range gave %s, %q, %v", port, holder, taken)
	}
	if web.GetContainer().GetPorts()[1].GetHostPort() != 80 {
		t.Fatal("the workload's template was changed")
	}
}

func TestAChangeOfTheReplicasKeepsPublishedPorts(t *testing.T) {
	container := func(first, last uint32) *skerryv1.Workload {
		return &skerryv1.Workload{Container: &skerryv1.Container{Ports: []*skerryv1.Port{
			{Name: "http", Port: 8080, HostPort: first, HostPortLast: last},
		}}}
	}
	got := withPorts(container(80, 89), container(83, 0)).GetContainer().GetPorts()[0]
	if got.GetHostPort() != 83 || got.GetHostPortLast() != 0 {
		t.Fatalf("published at %v", got)
	}
}

func TestNoPlacementPublishesThePortsOfTheAgent(t *testing.T) {
	usage := UsageOf(nil).Reserve(&skerryv1.Node{Address: "[2001:db8::1]:7600", GossipAddress: "[2001:db8::1]:7601"})
	for port, free := range map[HostPort]bool{
		{7600, 7600, "tcp"}: false, {7601, 7601, "tcp"}: false, {7601, 7601, "udp"}: false, {7600, 7600, "udp"}: true, {7602, 7602, "tcp"}: true,
	} {
		if _, holder, taken := usage.Taken([]HostPort{port}); taken == free {
			t.Errorf("%s is taken: %t, by %s", port, taken, holder)
		}
	}
	if got := usage.choose([]HostPort{{7600, 7609, "tcp"}}); got[0] != 7602 {
		t.Errorf("the first free port is %d", got[0])
	}
	UsageOf(nil).Reserve(nil)
}
