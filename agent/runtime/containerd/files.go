package containerd

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"skerry.dev/agent/runtime"
)

const (
	hostResolvConf = "/etc/resolv.conf"
	// stubResolvConf has the true servers where systemd-resolved listens on
	// loopback, which a container does not share.
	stubResolvConf = "/run/systemd/resolve/resolv.conf"
	hostHosts      = "/etc/hosts"
)

func (d *Driver) hostsFile(id string) string  { return filepath.Join(d.instanceDir(id), "hosts") }
func (d *Driver) resolvFile(id string) string { return filepath.Join(d.instanceDir(id), "resolv.conf") }

// writeFiles writes what is mounted over the container's /etc.
func (d *Driver) writeFiles(spec runtime.Spec, address string) error {
	hosts := []byte("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	own := "127.0.0.1"
	if spec.Container.GetNetwork() == networkHost {
		if given, err := readIfThere(hostHosts); err != nil {
			return err
		} else if given != nil {
			hosts = append(bytes.TrimRight(given, "\n"), '\n')
		}
	} else if address != "" {
		own = address
	}
	hosts = fmt.Appendf(hosts, "%s\t%s\n", own, hostname(spec.Placement))
	if err := writeForAll(d.hostsFile(spec.ID), hosts); err != nil {
		return err
	}
	if own := d.ownResolver(spec.Project, spec.Container.GetNetwork()); own != nil {
		return writeForAll(d.resolvFile(spec.ID), own)
	}
	resolv, err := readIfThere(hostResolvConf)
	if err != nil {
		return err
	}
	if spec.Container.GetNetwork() != networkHost {
		if resolv, err = withoutLoopback(resolv); err != nil {
			return err
		}
	}
	return writeForAll(d.resolvFile(spec.ID), resolv)
}

// writeForAll writes a file that any user in the container may read, whatever
// the agent's umask.
func writeForAll(path string, content []byte) error {
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	return os.Chmod(path, 0o644)
}

// openToAll makes a directory that any user in a container may enter, whatever
// the agent's umask. One that is there stays the same: it is mounted.
func openToAll(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.Chmod(dir, 0o755)
}

func readIfThere(name string) ([]byte, error) {
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

// withoutLoopback drops name servers that only the host reaches; when none is
// left, those behind systemd-resolved take their place.
func withoutLoopback(resolv []byte) ([]byte, error) {
	kept, servers := reachableServers(resolv)
	if servers > 0 {
		return kept, nil
	}
	behind, err := readIfThere(stubResolvConf)
	if err != nil || behind == nil {
		return kept, err
	}
	kept, _ = reachableServers(behind)
	return kept, nil
}

func reachableServers(resolv []byte) (kept []byte, servers int) {
	for line := range strings.Lines(string(resolv)) {
		fields := strings.Fields(line)
		if len(fields) >= 2 && fields[0] == "nameserver" {
			if address, err := netip.ParseAddr(fields[1]); err == nil && address.IsLoopback() {
				continue
			}
			servers++
		}
		kept = append(kept, line...)
	}
	return kept, servers
}

// hostname is the placement's name, cut to what the kernel takes.
func hostname(placement string) string {
	const longest = 63
	return placement[:min(len(placement), longest)]
}
