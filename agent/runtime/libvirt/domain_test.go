package libvirt

import (
	"encoding/xml"
	"strings"
	"testing"

	golibvirtxml "libvirt.org/go/libvirtxml"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const nasty = `'"><!--</metadata></domain>&amp;]]>` + "\n"

// Whatever a field holds, it stays in its field.
func TestNoTextBecomesXML(t *testing.T) {
	d := &Driver{owner: "me"}
	site := nasty
	d.site.Store(&site)
	spec := runtime.Spec{ID: "p.vm-1", Project: nasty, Placement: nasty, Workload: nasty, MemoryBytes: 1 << 30, VM: &skerryv1.VirtualMachine{
		Cpu: 2, Boot: &skerryv1.Boot{Kernel: nasty, Initrd: nasty, Cmdline: nasty},
		Networks: []*skerryv1.Nic{{Bridge: nasty, Mac: nasty}, {Nat: true, Mac: "auto"}},
	}}
	text, err := d.xml(machine{spec: spec, accel: accelTCG, root: nasty, seed: nasty, log: nasty, console: nasty, disks: []volumeDisk{{nasty, nasty, nasty, true}}})
	if err != nil {
		t.Fatal(err)
	}
	parsed := &golibvirtxml.Domain{}
	if err := parsed.Unmarshal(text); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if parsed.Name != "skerry-p.vm-1" || parsed.OS.Cmdline != nasty || len(parsed.Devices.Disks) != 3 || len(parsed.Devices.Interfaces) != 2 ||
		parsed.Devices.Interfaces[0].Source.Bridge.Bridge != nasty || parsed.Devices.Disks[1].Serial != nasty || parsed.Devices.Disks[1].ReadOnly == nil {
		t.Errorf("it is another domain:\n%s", text)
	}
	if id, mine := d.ours(parsed.Metadata.XML); !mine || id != "p.vm-1" {
		t.Errorf("its metadata is %s", parsed.Metadata.XML)
	}
}

func TestCPUsAndMemoryOfADomain(t *testing.T) {
	d := &Driver{owner: "me", Config: Config{Dir: "/vms"}}
	for name, test := range map[string]struct {
		accel string
		vm    *skerryv1.VirtualMachine
		want  []string
		not   string
	}{
		"as many CPUs as it has":    {accelKVM, &skerryv1.VirtualMachine{Cpu: 2, CpuSet: "3,5"}, []string{`<vcpupin vcpu="1" cpuset="5">`, `cpuset="3,5">2</vcpu>`}, "hugepages"},
		"more of them":              {accelKVM, &skerryv1.VirtualMachine{Cpu: 2, CpuSet: "3-5"}, []string{`cpuset="3-5">2</vcpu>`}, "vcpupin"},
		"emulation, one process":    {accelTCG, &skerryv1.VirtualMachine{Cpu: 2, CpuSet: "3,5"}, []string{`cpuset="3,5">2</vcpu>`}, "vcpupin"},
		"huge pages":                {accelTCG, &skerryv1.VirtualMachine{Cpu: 2, Hugepages: "1Gi"}, []string{`<page size="1048576" unit="KiB">`}, "cpuset"},
		"firmware with secure boot": {accelTCG, &skerryv1.VirtualMachine{Boot: &skerryv1.Boot{Firmware: "uefi", SecureBoot: true}}, []string{`enabled="yes" name="secure-boot"`, "/p.vm-1/vars-secure.fd</nvram>"}, "no" + `"`},
		"firmware without":          {accelTCG, &skerryv1.VirtualMachine{Boot: &skerryv1.Boot{Firmware: "uefi"}}, []string{`enabled="no" name="secure-boot"`, "/p.vm-1/vars.fd</nvram>"}, "yes"},
		"none of it":                {accelTCG, &skerryv1.VirtualMachine{Cpu: 2}, nil, "nvram"},
	} {
		text, err := d.xml(machine{accel: test.accel, spec: runtime.Spec{ID: "p.vm-1", VM: test.vm}})
		for _, want := range test.want {
			if err != nil || !strings.Contains(text, want) {
				t.Errorf("%s: %v, and no %s in\n%s", name, err, want, text)
			}
		}
		if strings.Contains(text, test.not) {
			t.Errorf("%s: there is %s in\n%s", name, test.not, text)
		}
	}
}

func TestWhoseADomainIs(t *testing.T) {
	d := &Driver{owner: "me"}
	good, err := d.metadata(runtime.Spec{ID: "p.vm-1"})
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		text string
		mine bool
	}{
		"ours":                   {good, true},
		"without its space":      {strings.Replace(good, ` xmlns="`+metadataSpace+`"`, "", 1), true},
		"that of another agent":  {strings.Replace(good, `owner="me"`, `owner="you"`, 1), false},
		"without an owner":       {strings.Replace(good, `owner="me"`, "", 1), false},
		"an ID that leads out":   {strings.Replace(good, "p.vm-1", "../p.vm-1", 1), false},
		"no XML":                 {"owner=me", false},
		"nothing":                {"", false},
		"another element of all": {"<other/>", false},
	} {
		if _, mine := d.ours(test.text); mine != test.mine {
			t.Errorf("%s: %s is taken for ours: %t", name, test.text, mine)
		}
	}
}

func TestAddressesOfCardsDifferAndStay(t *testing.T) {
	d, seen := &Driver{owner: "me"}, map[string]bool{}
	for _, id := range []string{"p.vm-1", "p.vm-2", "q.vm-1"} {
		for card := range 3 {
			mac := d.macOf(id, card)
			if seen[mac] || mac != d.macOf(id, card) || !strings.HasPrefix(mac, "52:54:00:") {
				t.Errorf("card %d of %s has the address %s", card, id, mac)
			}
			seen[mac] = true
		}
	}
}

func FuzzMetadata(f *testing.F) {
	f.Add(`<instance owner="me" id="p.vm-1"/>`)
	d := &Driver{owner: "me"}
	f.Fuzz(func(t *testing.T, text string) {
		if id, mine := d.ours(text); mine && (runtime.CheckID(id) != nil || xml.Unmarshal([]byte(text), new(metadata)) != nil) {
			t.Errorf("%q is taken for ours", text)
		}
	})
}
