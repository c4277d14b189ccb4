package libvirt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"skerry.dev/agent/runtime/diskimage"
	"skerry.dev/shared/problem"
)

// Limits of a qemu-img that reads what came from outside.
const (
	checkTime   = 2 * time.Minute
	checkCPU    = 60
	checkMemory = 1 << 30
	maxSaid     = 64 << 10
	// createTime bounds what makes an empty file.
	createTime = 30 * time.Second
)

// checkDisk tells what a file is an image of, or why it is not taken.
func checkDisk(ctx context.Context, file string) (format string, diskBytes int64, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = f.Close() }() // opened for reading only
	info, err := f.Stat()
	if err != nil {
		return "", 0, err
	}
	format, diskBytes, err = diskimage.Inspect(f, info.Size())
	switch {
	case errors.Is(err, diskimage.ErrPacked):
		return "", 0, refused(err.Error()).WithHint("unpack it, then load it")
	case err != nil:
		return "", 0, refused(err.Error())
	case format == diskimage.QCOW2:
		return format, diskBytes, secondOpinion(ctx, file, diskBytes)
	}
	return format, diskBytes, nil
}

func refused(why string) *problem.Error { return problem.New(problem.Invalid, "image", "%s", why) }

// secondOpinion asks qemu-img, which knows the format best, in a process that
// cannot grow or run for long.
func secondOpinion(ctx context.Context, file string, diskBytes int64) error {
	said, err := qemuImg(ctx, checkTime, "info", "--output=json", "-f", diskimage.QCOW2, file)
	if err != nil {
		return err
	}
	var told struct {
		Format      string          `json:"format"`
		VirtualSize int64           `json:"virtual-size"`
		Backing     string          `json:"backing-filename"`
		Encrypted   bool            `json:"encrypted"`
		Specific    json.RawMessage `json:"format-specific"`
	}
	if err := json.Unmarshal(said, &told); err != nil {
		return refused("qemu-img does not say what it is")
	}
	switch {
	case told.Format != diskimage.QCOW2 || told.VirtualSize != diskBytes:
		return refused(fmt.Sprintf("qemu-img takes it for %s of %d bytes", told.Format, told.VirtualSize))
	case told.Backing != "":
		return refused("it names a backing file, " + told.Backing)
	case told.Encrypted:
		return refused("it is encrypted")
	case bytes.Contains(told.Specific, []byte(`"data-file"`)):
		return refused("its data is in another file")
	}
	return nil
}

// qemuImg runs qemu-img within limits and returns what it said.
func qemuImg(ctx context.Context, limit time.Duration, args ...string) ([]byte, error) {
	return runQemuImg(ctx, limit, []string{"--as=" + strconv.Itoa(checkMemory), "--cpu=" + strconv.Itoa(checkCPU), "--core=0"}, args)
}

// qemuImgLong is for disks of our own, which may be large.
func qemuImgLong(ctx context.Context, args ...string) ([]byte, error) {
	return runQemuImg(ctx, convertTime, []string{"--as=" + strconv.Itoa(checkMemory), "--core=0"}, args)
}

func runQemuImg(ctx context.Context, limit time.Duration, limits, args []string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "prlimit", slices.Concat(limits, []string{"qemu-img"}, args)...)
	var out, said limited
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &said, time.Second
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	switch err := cmd.Run(); {
	case err == nil:
		return out.Bytes(), nil
	case ctx.Err() != nil:
		return nil, problem.New(problem.Timeout, "image", "qemu-img did not end within %s", limit)
	case errors.Is(err, exec.ErrNotFound), strings.Contains(said.String(), "failed to execute"):
		return nil, problem.New(problem.Unavailable, "image", "qemu-img is not installed on this node").WithHint("apt install qemu-utils")
	case strings.Contains(said.String(), "No space left"):
		return nil, problem.New(problem.Exhausted, "image", "the disk is full: %s", strings.TrimSpace(said.String()))
	default:
		return nil, problem.New(problem.Invalid, "image", "qemu-img refuses it: %s", strings.TrimPrefix(strings.TrimSpace(said.String()), "qemu-img: "))
	}
}

// limited keeps the beginning of what is written to it.
type limited struct{ bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.Buffer.Write(p[:min(len(p), maxSaid-l.Len())])
	return len(p), nil
}

// overlay makes a file that begins with the content of an image and takes what
// is written.
func overlay(ctx context.Context, file string, base *stored, size int64) error {
	fresh := file + ".new"
	_, err := qemuImg(ctx, createTime, "create", "-q", "-f", diskimage.QCOW2, "-F", base.Format, "-b", base.path, fresh, strconv.FormatInt(size, 10))
	if err != nil {
		return errors.Join(err, os.RemoveAll(fresh))
	}
	return os.Rename(fresh, file)
}
