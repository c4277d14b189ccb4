//go:build integration

package hosts

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestAStarvedProcessGetsLittle lets a loop that never rests stand for an agent.
func TestAStarvedProcessGetsLittle(t *testing.T) {
	h := &Host{Name: "node-1", namespace: "sk-starve-1", rig: &Rig{}}
	p, err := spawn(filepath.Join(t.TempDir(), "log"), "sh", "-c", "sh -c 'while :; do :; done'; exit 0")
	if err != nil {
		t.Fatal(err)
	}
	h.agent = p
	t.Cleanup(func() {
		if err := p.end(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	})
	if err := until(t.Context(), "the loop", func() error { _, err := h.AgentPID(); return err }); err != nil {
		t.Fatal(err)
	}
	feed, err := h.Starve(5)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := h.AgentPID()
	if err != nil {
		t.Fatal(err)
	}
	before, begun := ticksOf(t, pid), time.Now()
	time.Sleep(time.Second)
	if used, most := ticksOf(t, pid)-before, int(time.Since(begun)/(10*time.Millisecond))/5; used > most {
		t.Errorf("it got %d hundredths of a second in %s", used, time.Since(begun))
	}
	if err := feed(); err != nil {
		t.Fatal(err)
	}
	before = ticksOf(t, pid)
	err = until(t.Context(), "the loop to go on", func() error {
		if used := ticksOf(t, pid) - before; used < 30 {
			return os.ErrDeadlineExceeded
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// ticksOf processor time, hundredths of a second.
func ticksOf(t *testing.T, pid int) int {
	t.Helper()
	const userTime = 11 // fields after the name
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	sum := 0
	for _, field := range fields[userTime : userTime+2] {
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}
