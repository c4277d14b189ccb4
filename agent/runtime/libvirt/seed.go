package libvirt

import (
	"encoding/json"
	"path/filepath"
	"strings"

	"skerry.dev/agent/runtime"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
)

const seedFile = "seed.iso"

// seed writes the disk that cloud-init in the guest reads (NoCloud) and returns
// its path; empty when the machine has none.
func (d *Driver) seed(spec runtime.Spec) (string, error) {
	files, err := seedFiles(spec)
	if err != nil || files == nil {
		return "", err
	}
	path := filepath.Join(d.instanceDir(spec.ID), seedFile)
	return path, d.Env.FS.WriteFile(path, iso("cidata", files), 0o600)
}

// seedFiles are sorted by name. Text of users never becomes part of other YAML:
// meta-data is JSON, which YAML contains, and user data is as it is given.
func seedFiles(spec runtime.Spec) ([]isoFile, error) {
	given := spec.VM.GetCloudInit()
	if given == nil {
		return nil, nil
	}
	host := given.GetHostname()
	if host == "" {
		host = spec.Placement
	}
	meta, err := json.Marshal(map[string]any{
		"instance-id": spec.Project + "." + spec.Placement, "local-hostname": host, "public-keys": given.GetSshKeys(),
	})
	if err != nil {
		return nil, err
	}
	files := []isoFile{{name: "meta-data", content: append(meta, '\n')}}
	if network := given.GetNetworkConfig(); network != "" {
		files = append(files, isoFile{name: "network-config", content: []byte(network)})
	}
	user, err := userData(given)
	if err != nil {
		return nil, err
	}
	return append(files, isoFile{name: "user-data", content: user}), nil
}

// userData is what the user gave, or else a little that lets the keys in.
func userData(given *skerryv1.CloudInit) ([]byte, error) {
	if text := given.GetUserData(); text != "" {
		if !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		return []byte(text), nil
	}
	config := map[string]any{}
	if len(given.GetSshKeys()) > 0 {
		config["ssh_authorized_keys"] = given.GetSshKeys()
	}
	text, err := json.Marshal(config)
	return append([]byte("#cloud-config\n"), append(text, '\n')...), err
}
