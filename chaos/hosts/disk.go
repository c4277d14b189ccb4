package hosts

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// FaultyDisk puts the agent's state on a disk that fails when it is told to
// (chaos/hosts/faultdisk, built as program). It is for hosts without power.
func (h *Host) FaultyDisk(ctx context.Context, program string) error {
	if h.first != 0 || h.disk != nil {
		return fmt.Errorf("%s is on, or has such a disk", h.Name)
	}
	backing := filepath.Join(h.dir, "backing")
	for _, dir := range []string{backing, h.StateDir()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	started, err := spawn(filepath.Join(h.dir, "disk.log"), program, backing, h.StateDir(), h.diskSocket())
	if err != nil {
		return err
	}
	h.disk = started
	return until(ctx, "the disk of "+h.Name, func() error { return h.Disk("ok") })
}

func (h *Host) diskSocket() string { return filepath.Join(h.dir, "disk.sock") }

// Disk tells the faulty disk of the host a command of faultdisk.
func (h *Host) Disk(command string) error {
	conn, err := net.DialTimeout("unix", h.diskSocket(), commandTime)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // its answer is there
	if _, err := fmt.Fprintln(conn, command); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && strings.TrimSpace(answer) != "ok" {
		err = errors.New(strings.TrimSpace(answer))
	}
	return err
}

func (h *Host) closeDisk() error {
	if h.disk == nil {
		return nil
	}
	return h.disk.end(syscall.SIGTERM)
}
