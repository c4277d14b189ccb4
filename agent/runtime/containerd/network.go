package containerd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	goruntime "runtime"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

const (
	networkName   = "skerry"
	bridgeName    = "skerry0"
	interfaceName = "eth0"
)

// network gives containers an address on the node's bridge, by the usual CNI
// plugins. It calls libcni itself, because go-cni keeps its cache in one place
// for all agents of a machine.
type network struct {
	cni      *libcni.CNIConfig
	list     *libcni.NetworkConfigList
	subnet   netip.Prefix
	netnsDir string
	// turn lets one in at a time: the plugins race for the bridge and for
	// iptables' chains.
	turn chan struct{}
}

func newNetwork(config Config, subnet netip.Prefix, netnsDir string) (*network, error) {
	type object = map[string]any
	route := "0.0.0.0/0"
	if subnet.Addr().Is6() {
		route = "::/0"
	}
	encoded, err := json.Marshal(object{
		"cniVersion": "1.0.0",
		"name":       networkName,
		"plugins": []object{{
			"type": "bridge", "bridge": bridgeName, "isGateway": true, "ipMasq": true, "hairpinMode": true,
			"ipam": object{
				"type":    "host-local",
				"dataDir": filepath.Join(config.StateDir, "cni", "addresses"),
				"ranges":  [][]object{{{"subnet": subnet.String()}}},
				"routes":  []object{{"dst": route}},
			},
		}, {
			"type": "portmap", "capabilities": object{"portMappings": true},
		}},
	})
	if err != nil {
		return nil, err
	}
	list, err := libcni.ConfListFromBytes(encoded)
	if err != nil {
		return nil, problem.New(problem.Invalid, "cni", "the containers' network cannot be configured: %w", err)
	}
	cache := filepath.Join(config.StateDir, "cni", "cache")
	exec := &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: io.Discard}, PluginDecoder: version.PluginDecoder{}}
	return &network{
		cni:  libcni.NewCNIConfigWithCacheDir([]string{config.CNIPluginDir}, cache, exec),
		list: list, subnet: subnet, netnsDir: netnsDir, turn: make(chan struct{}, 1),
	}, nil
}

// netns is the file that keeps a container's network namespace.
func (n *network) netns(container string) string { return filepath.Join(n.netnsDir, container) }

func (n *network) runtimeConf(container string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: container, NetNS: n.netns(container), IfName: interfaceName}
}

func (n *network) take(ctx context.Context) error {
	select {
	case n.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *network) release() { <-n.turn }

// mapping is one published port, as portmap wants it.
type mapping struct {
	HostPort      uint32 `json:"hostPort"`
	ContainerPort uint32 `json:"containerPort"`
	Protocol      string `json:"protocol"`
}

func published(mappings ...mapping) map[string]any { return map[string]any{"portMappings": mappings} }

// add makes a network namespace with an address of its own and publishes
// ports.
func (n *network) add(ctx context.Context, container string, ports []*skerryv1.Port) (string, error) {
	if err := makeNetns(n.netns(container)); err != nil {
		return "", fmt.Errorf("make a network namespace: %w", err)
	}
	conf := n.runtimeConf(container)
	var mappings []mapping
	for _, port := range ports {
		if port.GetHostPort() != 0 {
			mappings = append(mappings, mapping{port.GetHostPort(), port.GetPort(), port.GetProtocol()})
		}
	}
	if len(mappings) > 0 {
		conf.CapabilityArgs = published(mappings...)
	}
	if err := n.take(ctx); err != nil {
		return "", err
	}
	defer n.release()
	answer, err := n.cni.AddNetworkList(ctx, n.list, conf)
	if err != nil {
		return "", problem.New(problem.Internal, container, "its network cannot be made: %w", err).
			WithHint("are the CNI plugins (containernetworking-plugins) and iptables installed?")
	}
	result, err := types100.NewResultFromResult(answer)
	if err != nil {
		return "", err
	}
	if len(result.IPs) == 0 {
		return "", errors.New("the network gave it no address")
	}
	return result.IPs[0].Address.IP.String(), nil
}

// remove undoes add, whatever of it was done.
func (n *network) remove(ctx context.Context, container string) error {
	conf := n.runtimeConf(container)
	there, err := exists(conf.NetNS)
	if err != nil {
		return err
	}
	_, added, err := n.cni.GetNetworkListCachedConfig(n.list, conf)
	switch {
	case err == nil && added != nil:
		conf.CapabilityArgs = added.CapabilityArgs
	case there:
		// Nobody knows how far it came. portmap looks for rules only when it is
		// given a port, and then finds them by the container.
		conf.CapabilityArgs = published(mapping{HostPort: 1, ContainerPort: 1, Protocol: "tcp"})
	default:
		return nil
	}
	if !isNetns(conf.NetNS) {
		conf.NetNS = "" // a reboot took it; what is kept on disk goes still
	}
	if err := n.take(ctx); err != nil {
		return err
	}
	defer n.release()
	if err := n.cni.DelNetworkList(ctx, n.list, conf); err != nil {
		return fmt.Errorf("remove its network: %w", err)
	}
	return removeNetns(n.netns(container))
}

// makeNetns makes a network namespace with its loopback up, kept by a file.
func makeNetns(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	made := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		home, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		if err != nil {
			made <- err
			return
		}
		defer func() { _ = home.Close() }() // opened for reading only
		err = enterNetns(path)
		if unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) == nil {
			goruntime.UnlockOSThread()
		} // else the thread ends with the goroutine, and with it its stay there
		made <- err
	}()
	return <-made
}

func enterNetns(path string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 1}}); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	self := fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid())
	return unix.Mount(self, path, "", unix.MS_BIND, "")
}

func isNetns(path string) bool {
	var stat unix.Statfs_t
	return unix.Statfs(path, &stat) == nil && stat.Type == unix.NSFS_MAGIC
}

func removeNetns(path string) error {
	for isNetns(path) {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return err
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
