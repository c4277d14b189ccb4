//go:build integration

package hosts

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestTheClockOfAProcess has one tell its time while its clock is set.
func TestTheClockOfAProcess(t *testing.T) {
	if os.Getenv("SKERRY_TELL_TIME") != "" {
		for range 100_000 { // it is killed before
			now := time.Now()
			fmt.Printf("%d\n", now.UnixNano())
			time.Sleep(5 * time.Millisecond)
		}
		return
	}
	child := exec.Command(os.Args[0], "-test.run", "^TestTheClockOfAProcess$")
	child.Env = append(os.Environ(), "SKERRY_TELL_TIME=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	}()
	lines := bufio.NewScanner(out)
	// told waits until the process tells a time so far from ours.
	told := func(ahead time.Duration) {
		t.Helper()
		var off time.Duration
		for deadline := time.Now().Add(patience); time.Now().Before(deadline) && lines.Scan(); {
			var nanos int64
			if _, err := fmt.Sscan(lines.Text(), &nanos); err != nil {
				continue
			}
			if off = time.Until(time.Unix(0, nanos)) - ahead; off > -time.Second && off < time.Second {
				return
			}
		}
		t.Errorf("it is not %s ahead, but %s more", ahead, off)
	}
	told(0)
	clock, err := clockOf(child.Process.Pid, func() error { return child.Process.Signal(syscall.SIGCONT) })
	if err != nil {
		t.Fatal(err)
	}
	for _, ahead := range []time.Duration{0, time.Hour, -36*time.Hour - 300*time.Millisecond, 10 * 365 * 24 * time.Hour, 0} {
		if err := clock.Set(ahead); err != nil {
			t.Fatal(err)
		}
		told(ahead)
	}
	if err := clock.Close(); err != nil {
		t.Error(err)
	}
}
