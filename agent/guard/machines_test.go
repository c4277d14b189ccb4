package guard

import (
	"errors"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"time"
)

const testUUID = "6fd0e9a4-4a55-8c3e-9a7b-0123456789ab"

// pretender is a process with the command line of a machine's QEMU, which does not
// end when it is asked to.
func pretender(t *testing.T, uuid string) (cmd *exec.Cmd, alive func() bool) {
	t.Helper()
	cmd = exec.Command("sh", "-c", "trap '' TERM; while read -r line; do :; done", "qemu", "-S", "-uuid", uuid, "-no-user-config")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dead := make(chan struct{})
	go func() { _ = cmd.Wait(); close(dead) }()
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); <-dead })
	return cmd, func() bool {
		select {
		case <-dead:
			return false
		default:
			return true
		}
	}
}

func TestGuardKillsTheQEMUOfAMachine(t *testing.T) {
	needRoot(t)
	b := newBench(t, "")
	stopped, alive := pretender(t, testUUID)
	_, other := pretender(t, "6fd0e9a4-4a55-8c3e-9a7b-0123456789ac")
	if err := stopped.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	kill := b.arm("p.vm-1", MachineTarget(testUUID), b.now()+armTime, 5*time.Second)
	if !alive() && b.now() < kill {
		t.Error("it is dead before its time")
	}
	gone := func(what string, alive func() bool) {
		t.Helper()
		b.await(what, func() error {
			if alive() {
				return errors.New("it lives")
			}
			return nil
		})
	}
	gone("its end", alive)
	_, late := pretender(t, testUUID)
	gone("the end of what came late", late)
	if !other() {
		t.Error("the QEMU of another machine was killed")
	}
	if err := b.Drop(t.Context(), "p.vm-1"); err != nil {
		t.Error(err)
	}
}

func TestWhatRunsUnderAnotherNumberIsNotKilled(t *testing.T) {
	m := newMachines()
	for name, uuid := range map[string]string{"another": "6fd0e9a4-4a55-8c3e-9a7b-0123456789ac", "the beginning of one": testUUID[:8]} {
		cmd, _ := pretender(t, testUUID)
		if slices.Contains(m.uuids(cmd.Process.Pid), uuid) {
			t.Errorf("%s is taken for it", name)
		}
	}
	if _, err := m.strike("machine:"); err == nil {
		t.Error("every machine could be killed")
	}
}

// TestAMachineThatDoesNotEndIsHeldOnce, however often the guard looks: it must not
// run out of files.
func TestAMachineThatDoesNotEndIsHeldOnce(t *testing.T) {
	_, alive := pretender(t, testUUID)
	m, target := newMachines(), MachineTarget(testUUID)
	for range 3 {
		if err := m.look([]string{target}); err != nil {
			t.Fatal(err)
		}
	}
	if held := len(m.dying[target]); held != 1 || !alive() {
		t.Errorf("it is held %d times, alive %v", held, alive())
	}
	if found, err := m.strike(target); !found || err != nil {
		t.Errorf("it is found %v: %v", found, err)
	}
	for alive() || !m.gone(target) {
		pause(shortly)
	}
	if len(m.dying) > 0 {
		t.Errorf("what has ended is held: %v", m.dying)
	}
}
