// Package config is the agent's configuration: one type, one source of
// defaults, read from /etc/skerry/agent.yaml.
//
// Everything in it is local to this machine. What concerns the site is in the
// site's replicated state.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// DefaultPath of the configuration file.
const DefaultPath = "/etc/skerry/agent.yaml"

// maxSize of the file in bytes.
const maxSize = 64 << 10

// Config of one agent.
type Config struct {
	// Name of the node; default: the host name up to its first dot. Used at
	// site init and join; after that the node's identity holds it.
	Name string `yaml:"name"`
	// Zone and Labels of the first node of a site; a node that joins gets its
	// own from the token.
	Zone   string            `yaml:"zone"`
	Labels map[string]string `yaml:"labels"`
	// Address that other nodes use; default: that of the interface with the
	// default route, else the first one that is up.
	Address string `yaml:"address"`
	// Port is the one TCP port, GossipPort that of gossip (TCP and UDP).
	Port       int `yaml:"port"`
	GossipPort int `yaml:"gossipPort"`
	// StateDir holds everything durable, 0700.
	StateDir string `yaml:"stateDir"`
	// RunDir holds what a reboot may forget.
	RunDir       string     `yaml:"runDir"`
	Containerd   Containerd `yaml:"containerd"`
	Libvirt      Libvirt    `yaml:"libvirt"`
	CNI          CNI        `yaml:"cni"`
	DNS          DNS        `yaml:"dns"`
	CgroupParent string     `yaml:"cgroupParent"`
	Images       Images     `yaml:"images"`
	// Devices are countable things that placements may ask for, by name.
	Devices map[string]uint32 `yaml:"devices"`
	// Watchdog is the device of the machine's watchdog, such as /dev/watchdog. It
	// resets the machine when something exclusive cannot be ended in time, or the
	// machine as a whole stands still. Default: none.
	Watchdog string `yaml:"watchdog"`
	// LogLevel: debug, info, warn or error.
	LogLevel slog.Level `yaml:"logLevel"`
}

// Containerd says where containerd listens.
type Containerd struct {
	Address   string `yaml:"address"`
	Namespace string `yaml:"namespace"`
}

// Libvirt says where libvirt listens, and what its virtual machines may do. A node
// without libvirt runs none.
type Libvirt struct {
	Address string `yaml:"address"`
	// Dir holds images, disks and volumes. QEMU's own user must be able to pass
	// through the directories above it. Default: beside stateDir, with -vms at its
	// end.
	Dir string `yaml:"dir"`
	// Emulation allows virtual machines where KVM does not work. It is slow.
	Emulation bool `yaml:"emulation"`
}

// Images says how long images are kept.
type Images struct {
	// KeepUnused is for how long an image stays that nothing on this node uses, and
	// of which the site keeps its copies elsewhere; 0: for ever.
	KeepUnused time.Duration `yaml:"keepUnused"`
}

// CNI configures the containers' network.
type CNI struct {
	// PluginDir holds the plugins bridge, host-local, portmap and loopback.
	PluginDir string `yaml:"pluginDir"`
	// Subnet of the containers on this node; it need not differ between nodes.
	Subnet string `yaml:"subnet"`
}

// DNS configures the node's DNS, which answers its containers for the site.
type DNS struct {
	// Disabled gives containers the machine's own resolver.
	Disabled bool `yaml:"disabled"`
	// Loopback answers the machine itself too, at 127.0.0.1, and is the resolver of
	// containers on its network.
	Loopback bool `yaml:"loopback"`
	// Forward are servers that are asked for names of others, IP or IP:PORT.
	// Default: none; such names are refused, and nothing leaves the node.
	Forward []string `yaml:"forward"`
}

// maxForward servers are asked one after the other.
const maxForward = 3

// Servers are those of Forward with their ports.
func (d DNS) Servers() ([]string, error) {
	if len(d.Forward) > maxForward {
		return nil, fmt.Errorf("at most %d servers", maxForward)
	}
	var servers []string
	for _, server := range d.Forward {
		if address, err := netip.ParseAddr(server); err == nil {
			server = netip.AddrPortFrom(address, 53).String()
		}
		address, err := netip.ParseAddrPort(server)
		if err != nil || address.Port() == 0 {
			return nil, fmt.Errorf("%q is not an IP address, with or without a port", server)
		}
		servers = append(servers, address.String())
	}
	return servers, nil
}

// Default returns the configuration of a node without a file.
func Default() Config {
	return Config{
		Port:         7600,
		GossipPort:   7601,
		StateDir:     "/var/lib/skerry",
		RunDir:       "/run/skerry",
		Containerd:   Containerd{Address: "/run/containerd/containerd.sock", Namespace: "skerry"},
		Libvirt:      Libvirt{Address: "/run/libvirt/libvirt-sock", Emulation: true},
		CNI:          CNI{PluginDir: "/usr/lib/cni", Subnet: "10.88.0.0/16"},
		CgroupParent: "/skerry",
		Images:       Images{KeepUnused: 6 * time.Hour},
	}
}

// Load reads the file over the defaults. A missing file is an error unless
// path is DefaultPath.
func Load(path string) (Config, error) {
	config := Default()
	data, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) && path == DefaultPath {
		return config, config.complete(path)
	}
	if err != nil {
		return Config{}, problem.New(problem.Invalid, path, "the configuration cannot be read: %w", err)
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&config); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, problem.New(problem.Invalid, path, "%s", plain(err)).
			WithHint("the file that came with the package explains every field")
	}
	return config, config.complete(path)
}

// goType is how the decoder names what it decodes into.
var goType = regexp.MustCompile(` (in type|into) [a-z]+\.?\w*`)

// plain is a decoding error without words of Go.
func plain(err error) string {
	text := err.Error()
	if several := (*yaml.TypeError)(nil); errors.As(err, &several) {
		text = strings.Join(several.Errors, "; ")
	}
	return goType.ReplaceAllString(text, "")
}

func readBounded(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }() // opened for reading only
	data, err := io.ReadAll(io.LimitReader(file, maxSize+1))
	if err == nil && len(data) > maxSize {
		err = fmt.Errorf("it is larger than %d bytes", maxSize)
	}
	return data, err
}

// complete validates and fills in what depends on the machine.
func (c *Config) complete(path string) error {
	invalid := func(field, format string, args ...any) error {
		return problem.New(problem.Invalid, path, format, args...).WithField(field)
	}
	if c.Name == "" {
		c.Name = hostName()
	}
	if err := manifest.CheckName(c.Name); err != nil {
		return invalid("name", "%w", err)
	}
	if c.Zone != "" {
		if err := manifest.CheckName(c.Zone); err != nil {
			return invalid("zone", "%w", err)
		}
	}
	if c.Address != "" {
		if _, err := netip.ParseAddr(c.Address); err != nil {
			return invalid("address", "%q is not an IP address", c.Address)
		}
	}
	for field, port := range map[string]int{"port": c.Port, "gossipPort": c.GossipPort} {
		if port < 1 || port > 65535 {
			return invalid(field, "%d is not a port from 1 to 65535", port)
		}
	}
	if c.Port == c.GossipPort {
		return invalid("gossipPort", "it must differ from port")
	}
	for field, dir := range map[string]string{"stateDir": c.StateDir, "runDir": c.RunDir, "cni.pluginDir": c.CNI.PluginDir, "libvirt.dir": c.Libvirt.Dir} {
		if !filepath.IsAbs(dir) && (dir != "" || field != "libvirt.dir") {
			return invalid(field, "%q is not an absolute path", dir)
		}
	}
	if c.Watchdog != "" && !filepath.IsAbs(c.Watchdog) {
		return invalid("watchdog", "%q is not an absolute path", c.Watchdog)
	}
	if c.Images.KeepUnused < 0 || c.Images.KeepUnused > 0 && c.Images.KeepUnused < time.Second {
		return invalid("images.keepUnused", "%s is not a time such as 6h, or 0 for ever", c.Images.KeepUnused)
	}
	if err := manifest.CheckDevices(c.Devices); err != nil {
		return invalid("devices", "%w", err)
	}
	if _, err := c.DNS.Servers(); err != nil {
		return invalid("dns.forward", "%w", err)
	}
	if _, err := netip.ParsePrefix(c.CNI.Subnet); err != nil {
		return invalid("cni.subnet", "%q is not a subnet such as 10.88.0.0/16", c.CNI.Subnet)
	}
	return nil
}

// APIAddress is host:port of the one TCP port.
func (c Config) APIAddress() string { return net.JoinHostPort(c.Address, strconv.Itoa(c.Port)) }

// VMDir holds images, disks and volumes of virtual machines. It is not below the
// state directory, into which nobody but root may look.
func (c Config) VMDir() string {
	if c.Libvirt.Dir == "" && filepath.IsAbs(c.StateDir) {
		return filepath.Clean(c.StateDir) + "-vms"
	}
	return c.Libvirt.Dir
}

// RootSocket is where root on this machine asks the agent.
func (c Config) RootSocket() string { return filepath.Join(c.RunDir, "root.sock") }

// WorkloadAPIDir holds the socket of the SPIFFE Workload API, and nothing else.
func (c Config) WorkloadAPIDir() string { return filepath.Join(c.RunDir, "workload") }

// GossipAddress is host:port of gossip.
func (c Config) GossipAddress() string {
	return net.JoinHostPort(c.Address, strconv.Itoa(c.GossipPort))
}
