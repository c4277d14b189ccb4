package hosts

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Link is how bad the line of a host to all others is, each way. What operators
// say and hear passes as it is.
type Link struct {
	// Delay of each frame, and up to so much more, which reorders them.
	Delay, Jitter time.Duration
	// Rate in bytes a second; 0: no limit. What waits for more than a second is
	// dropped.
	Rate int
	// Twice of a thousand frames come twice.
	Twice int
}

const (
	// maxFrame is the largest one: hosts do not join segments while relayed.
	maxFrame = 2048
	// maxWaiting frames in one direction.
	maxWaiting = 4096
	// maxLate is what a slow line lets wait.
	maxLate = time.Second
)

// relay stands between a host's port and the bridge.
type relay struct {
	host      *Host
	port, tap *os.File
	group     sync.WaitGroup
	stop      chan struct{}
}

// Impair puts a relay into the host's line, until Heal.
func (h *Host) Impair(ctx context.Context, link Link) error {
	if h.relay != nil {
		return fmt.Errorf("the line of %s is impaired already", h.Name)
	}
	inside := h.rig.Namespace()
	tapName := "t" + h.port
	for _, command := range []string{
		"ip -n " + inside + " tuntap add dev " + tapName + " mode tap",
		"ip -n " + inside + " link set " + tapName + " master br0 up",
		"ip -n " + inside + " link set " + h.port + " nomaster arp off promisc on",
	} {
		if err := run(ctx, command); err != nil {
			return errors.Join(err, h.mend(ctx))
		}
	}
	r := &relay{host: h, stop: make(chan struct{})}
	h.relay = r
	if err := r.open(tapName); err != nil {
		return errors.Join(err, h.mend(ctx))
	}
	r.group.Go(func() { r.carry(r.port, r.tap, link) })
	r.group.Go(func() { r.carry(r.tap, r.port, link) })
	h.rig.Log.Info("line impaired", "host", h.Name, "link", fmt.Sprintf("%+v", link))
	return nil
}

// open both ends, and have the host send frames as they would be on a wire.
func (r *relay) open(tapName string) (err error) {
	if _, err = within(namespaceNet{r.host.namespace}, func() (struct{}, error) { return struct{}{}, plainFrames("eth0") }); err != nil {
		return err
	}
	inside := namespaceNet{r.host.rig.Namespace()}
	if r.port, err = within(inside, func() (*os.File, error) { return packets(r.host.port) }); err != nil {
		return err
	}
	r.tap, err = within(inside, func() (*os.File, error) { return tap(tapName) })
	return err
}

// mend takes the relay out of the line.
func (h *Host) mend(ctx context.Context) error {
	if r := h.relay; r != nil {
		close(r.stop)
		for _, end := range []*os.File{r.port, r.tap} {
			if end != nil {
				_ = end.Close() // both ends go
			}
		}
		r.group.Wait()
		h.relay = nil
	}
	inside := h.rig.Namespace()
	return errors.Join(
		run(ctx, "ip -n "+inside+" link set "+h.port+" master br0 arp on promisc off"),
		run(ctx, "ip -n "+inside+" link del t"+h.port))
}

// carry frames from one end to the other until they are closed.
func (r *relay) carry(from, to *os.File, link Link) {
	var waiting sync.WaitGroup
	defer waiting.Wait()
	room := make(chan struct{}, maxWaiting)
	free := time.Now() // when a slow line is done with what it has
	frame := make([]byte, maxFrame)
	for {
		n, err := from.Read(frame)
		if errors.Is(err, os.ErrClosed) {
			return
		}
		if err != nil || n < 14 {
			if !r.pause() {
				return
			}
			continue
		}
		if r.exempt(frame[:n]) {
			_, _ = to.Write(frame[:n]) // a frame may get lost
			continue
		}
		now := time.Now()
		at := now.Add(link.Delay)
		if link.Jitter > 0 {
			at = at.Add(rand.N(link.Jitter))
		}
		if link.Rate > 0 {
			free = later(free, now).Add(time.Duration(n) * time.Second / time.Duration(link.Rate))
			at = later(at, free)
		}
		if at.Sub(now) > maxLate+link.Delay+link.Jitter {
			free = free.Add(-time.Duration(n) * time.Second / time.Duration(max(link.Rate, 1)))
			continue
		}
		copies := 1
		if rand.IntN(1000) < link.Twice {
			copies = 2
		}
		content := append([]byte(nil), frame[:n]...)
		select {
		case room <- struct{}{}:
		default:
			continue
		}
		waiting.Go(func() {
			defer func() { <-room }()
			select {
			case <-time.After(at.Sub(now)):
			case <-r.stop:
				return
			}
			for range copies {
				_, _ = to.Write(content) // a frame may get lost
			}
		})
	}
}

// pause after a read that failed, as when a host is switched off; false when the
// relay ends.
func (r *relay) pause() bool {
	select {
	case <-time.After(10 * time.Millisecond):
		return true
	case <-r.stop:
		return false
	}
}

// exempt is what goes to operators or comes from them, and what is not IP.
func (r *relay) exempt(frame []byte) bool {
	if len(frame) < 34 || binary.BigEndian.Uint16(frame[12:]) != unix.ETH_P_IP {
		return true
	}
	operators := r.host.rig.address(1)
	return net.IP(frame[26:30]).String() == operators || net.IP(frame[30:34]).String() == operators
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// packets is a socket for all frames of a port.
func packets(port string) (*os.File, error) {
	device, err := net.InterfaceByName(port)
	if err != nil {
		return nil, err
	}
	all := uint16(unix.ETH_P_ALL<<8 | unix.ETH_P_ALL>>8)
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, int(all))
	if err != nil {
		return nil, fmt.Errorf("a packet socket: %w", err)
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1),
		unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: device.Index}))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("a packet socket on %s: %w", port, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), port), nil
}

// tap opens a device that was made before.
func tap(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq(name)
	if err == nil {
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tap %s: %w", name, err), unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), name), nil
}

// ethtool's commands that switch off what a device does for the kernel, and what
// it is given.
var offloads = []uint32{unix.ETHTOOL_STXCSUM, unix.ETHTOOL_STSO, unix.ETHTOOL_SGSO}

// plainFrames has a device of the thread's namespace send whole frames with
// checksums.
func plainFrames(device string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // it held nothing
	for _, command := range offloads {
		value := struct{ command, data uint32 }{command, 0}
		request := struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}{data: unsafe.Pointer(&value)}
		copy(request.name[:], device)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return fmt.Errorf("ethtool on %s: %w", device, errno)
		}
	}
	return nil
}
