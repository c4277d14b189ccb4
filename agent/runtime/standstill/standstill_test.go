package standstill

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

const roleVariable = "SKERRY_STANDSTILL_ROLE"

// TestNothingOfAStoppedProcessMoves asks one with many busy threads.
func TestNothingOfAStoppedProcessMoves(t *testing.T) {
	if os.Getenv(roleVariable) != "" {
		spin()
	}
	child := exec.Command(os.Args[0], "-test.run", "^TestNothingOfAStoppedProcessMoves$")
	child.Env = append(os.Environ(), roleVariable+"=1", "GOMAXPROCS=8")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait()
	})
	if _, err := bufio.NewReader(out).ReadByte(); err != nil {
		t.Fatal(err)
	}
	for range 30 {
		if err := Stop(child.Process.Pid); err != nil {
			t.Fatal(err)
		}
		if states, err := threads(child.Process.Pid); err != nil || !stands(states) {
			t.Fatalf("its threads are in states %q (%v)", states, err)
		}
		if err := child.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond) // it runs for a while
	}
}

// spin until it is killed.
func spin() {
	for range 8 {
		go func() {
			for turns := uint64(1); turns > 0; turns++ {
			}
		}()
	}
	_, _ = os.Stdout.Write([]byte{'x'})
	select {}
}

func TestStates(t *testing.T) {
	for states, want := range map[string]bool{"": false, "T": true, "TTT": true, "TTR": false, "TS": false, "TDT": true, "D": false, "ZT": true, "Z": false} {
		if stands(states) != want {
			t.Errorf("%q: %t", states, !want)
		}
	}
}

func TestAProcessThatHasEndedIsNotStopped(t *testing.T) {
	child := exec.Command("true")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out) // until it has ended; nobody has waited for it
	begun := time.Now()
	if err := Stop(child.Process.Pid); !errors.Is(err, syscall.ESRCH) || time.Since(begun) > stopTime/2 {
		t.Errorf("after %s it gave %v", time.Since(begun), err)
	}
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
}
