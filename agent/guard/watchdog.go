package guard

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// watchdog resets the machine when it is not fed for a while. The zero value,
// and nil, are of a machine that has none.
type watchdog struct {
	file *os.File
	// after this long without food.
	after time.Duration
}

// Requests of linux/watchdog.h.
const (
	wdiocSetTimeout = 0xc0045706
	wdiocGetTimeout = 0x80045707
	// watchdogTimeout is asked for; a device may give another one.
	watchdogTimeout = time.Second
)

// openWatchdog begins to feed the device. What is no watchdog, such as a file in
// a test, is fed all the same.
func openWatchdog(path string) (*watchdog, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	w := &watchdog{file: file, after: watchdogTimeout}
	seconds := int32(watchdogTimeout / time.Second)
	if watchdogCall(file, wdiocSetTimeout, &seconds) != nil {
		seconds = 0
	}
	if watchdogCall(file, wdiocGetTimeout, &seconds) == nil && seconds > 0 {
		w.after = time.Duration(seconds) * time.Second
	}
	w.feed()
	return w, nil
}

func watchdogCall(file *os.File, request uintptr, seconds *int32) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, file.Fd(), request, uintptr(unsafe.Pointer(seconds))); errno != 0 {
		return errno
	}
	return nil
}

// timeout is how long the device waits for food; 0 for none.
func (w *watchdog) timeout() time.Duration {
	if w == nil {
		return 0
	}
	return w.after
}

func (w *watchdog) feed() {
	if w != nil {
		_, _ = w.file.Write([]byte{0}) // if it fails, the device does its work
	}
}

// close the device. Only when nothing is guarded it is told that this is meant:
// else it resets the machine unless a guard comes back in time.
func (w *watchdog) close(meant bool) {
	if w == nil {
		return
	}
	if meant {
		_, _ = w.file.Write([]byte("V"))
	}
	_ = w.file.Close() // the process ends
}
