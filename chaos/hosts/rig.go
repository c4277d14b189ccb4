package hosts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// commandTime bounds one command that changes the network.
	commandTime = time.Minute
	// maxHosts of a rig: the last byte of their addresses, and of those they move to.
	maxHosts = 90
)

// Options of a rig.
type Options struct {
	// Name tells apart the rigs on one machine; at most 8 letters and digits.
	Name string
	// Dir is the rig's own directory; what an earlier rig left in it is removed.
	// Its path must be short (socket paths are bounded).
	Dir string
	// Binary of skerry, an absolute path.
	Binary string
	// Machines: the hosts run virtual machines, each with a libvirtd of its own.
	Machines bool
	// Zones that the hosts are spread over, one after the other; 0: each has one of
	// its own.
	Zones int
	// FaultDisk is faultdisk, built: each host has its state on such a disk.
	FaultDisk string
	// Log gets what is done to the hosts.
	Log *slog.Logger
}

// Rig is a bridge with hosts on it.
type Rig struct {
	Options
	Hosts []*Host
	// taken is the rig's name while this process uses it.
	taken net.Listener
}

// New makes the bridge. Close removes all that the rig made. A name is used by one
// process at a time.
func New(ctx context.Context, options Options) (*Rig, error) {
	r := &Rig{Options: options}
	if r.Log == nil {
		r.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("hosts in namespaces need root")
	}
	// A socket without a file: the kernel frees the name when this process ends.
	taken, err := net.Listen("unix", "@skerry-rig-"+r.Name)
	if err != nil {
		return nil, fmt.Errorf("another process uses the rig %s (ss -xlp shows which): %w", r.Name, err)
	}
	r.taken = taken
	if err := r.clear(ctx); err != nil {
		return nil, errors.Join(err, taken.Close())
	}
	for _, command := range []string{
		"ip netns add " + r.Namespace(),
		"ip -n " + r.Namespace() + " link set lo up",
		"ip -n " + r.Namespace() + " link add br0 type bridge stp_state 0 forward_delay 0",
		"ip -n " + r.Namespace() + " address add " + r.address(1) + "/24 dev br0",
		"ip -n " + r.Namespace() + " link set br0 up",
	} {
		if err := run(ctx, command); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

// clear away what an earlier rig of this name left behind.
func (r *Rig) clear(ctx context.Context) error {
	if err := r.sweep(ctx); err != nil {
		return err
	}
	if mounted, err := filepath.Glob(filepath.Join(r.Dir, "*", "state")); err == nil {
		for _, dir := range mounted {
			_ = unix.Unmount(dir, unix.MNT_DETACH) // most are no mounts
		}
	}
	if err := os.RemoveAll(r.Dir); err != nil {
		return err
	}
	return os.MkdirAll(r.Dir, 0o700)
}

// Namespace is the network namespace of the bridge and of the operators.
func (r *Rig) Namespace() string { return "sk-" + r.Name }

// Home is where the operator's credentials are.
func (r *Rig) Home() string { return filepath.Join(r.Dir, "operator") }

func (r *Rig) address(last int) string { return fmt.Sprintf("10.213.7.%d", last) }

// AddHost makes a host, without power yet.
func (r *Rig) AddHost(ctx context.Context, name, zone string) (*Host, error) {
	number := len(r.Hosts) + 1
	if number > maxHosts {
		return nil, fmt.Errorf("a rig has at most %d hosts", maxHosts)
	}
	h := &Host{
		rig: r, Name: name, Zone: zone, Address: r.address(number + 9),
		dir: filepath.Join(r.Dir, name), namespace: fmt.Sprintf("%s-%d", r.Namespace(), number),
	}
	if err := h.lay(); err != nil {
		return nil, err
	}
	r.Hosts = append(r.Hosts, h)
	port := fmt.Sprintf("p%d", number)
	h.port = port
	for _, command := range []string{
		"ip netns add " + h.namespace,
		"ip -n " + r.Namespace() + " link add " + port + " type veth peer name eth0 netns " + h.namespace,
		"ip -n " + r.Namespace() + " link set " + port + " master br0 up",
		"ip -n " + h.namespace + " link set lo up",
		"ip -n " + h.namespace + " address add " + h.Address + "/24 dev eth0",
		"ip -n " + h.namespace + " link set eth0 up",
		"ip -n " + h.namespace + " route add default via " + r.address(1),
	} {
		if err := run(ctx, command); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// Host of this name; nil when there is none.
func (r *Rig) Host(name string) *Host {
	for _, h := range r.Hosts {
		if h.Name == name {
			return h
		}
	}
	return nil
}

// Close pulls all power cords and removes what the rig made on this machine,
// its directory too.
func (r *Rig) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	var failures error
	for _, h := range r.Hosts {
		if h.relay != nil {
			failures = errors.Join(failures, h.mend(ctx))
		}
		failures = errors.Join(failures, h.PowerOff(), removeCgroups(h.cgroup()), h.closeDisk())
	}
	return errors.Join(failures, r.sweep(ctx), os.RemoveAll(r.Dir), r.taken.Close())
}

// sweep removes the namespaces of this rig, also those that an earlier one of
// the same name left behind.
func (r *Rig) sweep(ctx context.Context) error {
	listed, err := exec.CommandContext(ctx, "ip", "netns", "list").Output()
	if err != nil {
		return fmt.Errorf("ip netns list: %w", err)
	}
	var failures error
	for line := range strings.Lines(string(listed)) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == r.Namespace() || strings.HasPrefix(name, r.Namespace()+"-") {
			failures = errors.Join(failures, run(ctx, "ip netns del "+name))
		}
	}
	return failures
}

// run a command of words without spaces.
func run(ctx context.Context, command string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	words := strings.Fields(command)
	if out, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", command, err, strings.TrimSpace(string(out)))
	}
	return nil
}
