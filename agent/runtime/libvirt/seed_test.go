package libvirt

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

// readISO reads the files of the root directory by their Joliet names.
func readISO(t *testing.T, disk []byte) map[string]string {
	t.Helper()
	descriptor := disk[17*sector:]
	if string(descriptor[1:6]) != "CD001" || descriptor[0] != isoJoliet {
		t.Fatal("there is no Joliet descriptor")
	}
	root := descriptor[156:]
	at := int(binary.LittleEndian.Uint32(root[2:])) * sector
	files := map[string]string{}
	for record := disk[at:]; record[0] != 0; record = record[record[0]:] {
		name := record[33 : 33+int(record[32])]
		if len(name) < 2 {
			continue // . and ..
		}
		var text []byte
		for i := 1; i < len(name); i += 2 {
			text = append(text, name[i])
		}
		begin, size := int(binary.LittleEndian.Uint32(record[2:]))*sector, int(binary.LittleEndian.Uint32(record[10:]))
		files[string(text)] = string(disk[begin : begin+size])
	}
	return files
}

func TestSeed(t *testing.T) {
	spec := runtime.Spec{Project: "p", Placement: "vm-1", VM: &skerryv1.VirtualMachine{}}
	if files, err := seedFiles(spec); err != nil || files != nil {
		t.Errorf("without cloud-init it gets %v, %v", files, err)
	}
	keys := []string{"ssh-ed25519 AAAA anna"}
	for name, test := range map[string]struct {
		given *skerryv1.CloudInit
		want  map[string]string
	}{
		"nothing but a host name": {&skerryv1.CloudInit{Hostname: "scada"}, map[string]string{
			"meta-data": `{"instance-id":"p.vm-1","local-hostname":"scada","public-keys":null}` + "\n", "user-data": "#cloud-config\n{}\n",
		}},
		"keys": {&skerryv1.CloudInit{SshKeys: keys}, map[string]string{
			"meta-data": `{"instance-id":"p.vm-1","local-hostname":"vm-1","public-keys":["ssh-ed25519 AAAA anna"]}` + "\n",
			"user-data": "#cloud-config\n" + `{"ssh_authorized_keys":["ssh-ed25519 AAAA anna"]}` + "\n",
		}},
		"all of it": {&skerryv1.CloudInit{UserData: "#!/bin/sh\ntrue", NetworkConfig: "version: 2\n"}, map[string]string{
			"meta-data": `{"instance-id":"p.vm-1","local-hostname":"vm-1","public-keys":null}` + "\n",
			"user-data": "#!/bin/sh\ntrue\n", "network-config": "version: 2\n",
		}},
	} {
		spec.VM.CloudInit = test.given
		files, err := seedFiles(spec)
		if err != nil {
			t.Fatal(err)
		}
		got := readISO(t, iso("cidata", files))
		for file, want := range test.want {
			if got[file] != want {
				t.Errorf("%s: %s holds %q, want %q", name, file, got[file], want)
			}
		}
		if len(got) != len(test.want) {
			t.Errorf("%s: the files are %v", name, got)
		}
	}
}

func TestTheSeedIsFoundByItsLabel(t *testing.T) {
	file := filepath.Join(t.TempDir(), "seed.iso")
	content := bytes.Repeat([]byte("x"), 100_000)
	if err := os.WriteFile(file, iso("cidata", []isoFile{{name: "user-data", content: content}}), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("blkid", "-p", "-o", "value", "-s", "LABEL", "-s", "TYPE", file).CombinedOutput()
	if err != nil {
		t.Skipf("blkid does not look at files here: %v", err)
	}
	if string(out) != "cidata\niso9660\n" {
		t.Errorf("blkid says %q", out)
	}
}
