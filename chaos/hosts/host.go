package hosts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"skerry.dev/agent/runtime/libvirt/libvirttest"
)

const (
	// bootTime bounds the start of a host up to its containerd.
	bootTime = 2 * time.Minute
	// lookEvery is how often a condition is looked at.
	lookEvery = 20 * time.Millisecond
	// Port is the agents' TCP port.
	Port = 7600
)

// Host is one machine of a site.
type Host struct {
	Name, Zone, Address string
	// Binary of skerry that StartAgent starts; the rig's when it is empty.
	Binary string

	rig            *Rig
	port           string // of the bridge
	relay          *relay
	disk           *process
	dir, namespace string
	power          *process // unshare; its child is the host's first process
	first          int      // PID of that child, in the machine's own numbers
	containerd     *process
	libvirt        *process
	agent          *process
}

// API is host:port of the agent.
func (h *Host) API() string { return net.JoinHostPort(h.Address, strconv.Itoa(Port)) }

// Config is the path of the agent's configuration, StateDir its state.
func (h *Host) Config() string { return filepath.Join(h.dir, "agent.yaml") }

// StateDir of the agent.
func (h *Host) StateDir() string { return filepath.Join(h.dir, "state") }

// AgentLog is what all agents of the host wrote.
func (h *Host) AgentLog() string { return filepath.Join(h.dir, "agent.log") }

func (h *Host) cgroup() string { return "skerry-" + h.namespace }

// lay makes the host's disk.
func (h *Host) lay() error {
	if err := os.MkdirAll(h.dir, 0o700); err != nil {
		return err
	}
	text := fmt.Sprintf(`name: %s
zone: %s
address: %s
stateDir: %s
cgroupParent: /%s
`, h.Name, h.Zone, h.Address, h.StateDir(), h.cgroup())
	if h.rig.Machines {
		text += fmt.Sprintf("libvirt: {address: %s}\n", libvirttest.SocketIn(h.libvirtDir()))
	}
	return os.WriteFile(h.Config(), []byte(text), 0o600)
}

// bootScript is the host's first process: its own /run, as after every boot,
// then nothing but burying what others leave behind.
const bootScript = `mount -t tmpfs tmpfs /run && mkdir -p /run/lock && : > /run/booted || exit 1
while :; do sleep 3600 & wait $!; done`

// Boot turns the host on, with containerd, without agent.
func (h *Host) Boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootTime)
	defer cancel()
	for _, command := range []string{
		"ip -n " + h.namespace + " link set eth0 up",
		"ip -n " + h.namespace + " route replace default via " + h.rig.address(1),
	} {
		if err := run(ctx, command); err != nil {
			return err
		}
	}
	power, err := spawn(filepath.Join(h.dir, "boot.log"), "nsenter", "--net=/run/netns/"+h.namespace,
		"unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--propagation", "private", "sh", "-c", bootScript)
	if err != nil {
		return err
	}
	h.power = power
	if err := h.awaitFirst(ctx); err != nil {
		return errors.Join(err, h.PowerOff())
	}
	if err := errors.Join(h.StartContainerd(ctx), h.startMachines(ctx)); err != nil {
		return errors.Join(err, h.PowerOff())
	}
	h.rig.Log.Info("host is on", "host", h.Name)
	return nil
}

// awaitFirst waits for the host's first process and for its /run.
func (h *Host) awaitFirst(ctx context.Context) error {
	return until(ctx, "the first process of "+h.Name, func() error {
		children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", h.power.pid(), h.power.pid()))
		if err != nil {
			return err
		}
		fields := strings.Fields(string(children))
		if len(fields) != 1 {
			return fmt.Errorf("there are %d processes", len(fields))
		}
		if h.first, err = strconv.Atoi(fields[0]); err != nil {
			return err
		}
		_, err = os.Stat(fmt.Sprintf("/proc/%d/root/run/booted", h.first))
		return err
	})
}

// StartContainerd starts the host's containerd and waits until it listens.
func (h *Host) StartContainerd(ctx context.Context) error {
	started, err := h.start("containerd.log", "containerd", "--config", "/dev/null", "--log-level", "warn",
		"--root", filepath.Join(h.dir, "containerd"))
	if err != nil {
		return err
	}
	h.containerd = started
	return until(ctx, "containerd on "+h.Name, func() error {
		_, err := os.Stat(fmt.Sprintf("/proc/%d/root/run/containerd/containerd.sock", h.first))
		return err
	})
}

// StopContainerd ends the host's containerd; containers go on running.
func (h *Host) StopContainerd() error { return h.containerd.end(syscall.SIGTERM) }

// KillContainerd ends it with SIGKILL.
func (h *Host) KillContainerd() error { return h.containerd.end(syscall.SIGKILL) }

// PowerOff pulls the cord: everything on the host ends at once.
func (h *Host) PowerOff() error {
	if h.power == nil {
		return nil
	}
	var err error
	if h.first != 0 {
		if err = syscall.Kill(h.first, syscall.SIGKILL); errors.Is(err, syscall.ESRCH) {
			err = nil
		}
	}
	err = errors.Join(err, h.power.end(syscall.SIGKILL))
	for _, p := range []*process{h.containerd, h.libvirt, h.agent} {
		err = errors.Join(err, p.await()) // it was on the host
	}
	// A machine without power does not even refuse connections.
	err = errors.Join(err, run(context.Background(), "ip -n "+h.namespace+" link set eth0 down"))
	h.power, h.first, h.containerd, h.libvirt, h.agent = nil, 0, nil, nil, nil
	h.rig.Log.Info("host is off", "host", h.Name)
	return err
}

// StartAgent starts the agent; it does not wait for anything.
func (h *Host) StartAgent() error {
	binary := h.rig.Binary
	if h.Binary != "" {
		binary = h.Binary
	}
	started, err := h.start("agent.log", binary, "agent", "--config", h.Config())
	if err != nil {
		return err
	}
	h.agent = started
	return nil
}

// StopAgent ends the agent in order, KillAgent at once, both wait for its end.
func (h *Host) StopAgent() error { return h.agent.end(syscall.SIGTERM) }

// KillAgent ends the agent with SIGKILL.
func (h *Host) KillAgent() error {
	pid, err := h.AgentPID()
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	return h.agent.await()
}

// PauseAgent freezes the agent's process, and returns when it stands still;
// ResumeAgent lets it go on.
func (h *Host) PauseAgent() error { return h.agent.pause() }

// ResumeAgent lets a paused agent go on.
func (h *Host) ResumeAgent() error { return h.agent.resume() }

// Stutter freezes the agent's process and lets it work, by turns, until ctx ends.
func (h *Host) Stutter(ctx context.Context, still, works time.Duration) error {
	for ctx.Err() == nil {
		if err := h.PauseAgent(); err != nil {
			return errors.Join(err, h.ResumeAgent()) // a part of it may stand still
		}
		_ = Sleep(ctx, still) // also when ctx ends it must go on
		if err := h.ResumeAgent(); err != nil {
			return err
		}
		_ = Sleep(ctx, works) // the loop looks
	}
	return nil
}

// AgentPID is the agent's process in the machine's own numbers.
func (h *Host) AgentPID() (int, error) { return h.agent.child() }

// AgentEnded is closed when the agent has ended.
func (h *Host) AgentEnded() <-chan struct{} { return h.agent.ended }

// Skerry runs the command line on the host, as root would, and returns what it
// printed.
func (h *Host) Skerry(ctx context.Context, args ...string) (string, error) {
	return h.Command(ctx, nil, append([]string{h.rig.Binary}, args...)...)
}

// Command runs any command on the host.
func (h *Host) Command(ctx context.Context, stdin io.Reader, args ...string) (string, error) {
	if h.first == 0 {
		return "", fmt.Errorf("%s is off", h.Name)
	}
	return output(exec.CommandContext(ctx, "nsenter", h.enter(args)...), stdin, h.rig.Home())
}

// enter are nsenter's arguments for a command on the host.
func (h *Host) enter(args []string) []string {
	return append([]string{"-t", strconv.Itoa(h.first), "-n", "-m", "-p", "--"}, args...)
}

// start a process on the host that lasts.
func (h *Host) start(log string, args ...string) (*process, error) {
	if h.first == 0 {
		return nil, fmt.Errorf("%s is off", h.Name)
	}
	return spawn(filepath.Join(h.dir, log), append([]string{"nsenter"}, h.enter(args)...)...)
}

// FirstPID is the host's first process in the machine's own numbers; ending it
// ends the host. 0 when it is off.
func (h *Host) FirstPID() int { return h.first }
