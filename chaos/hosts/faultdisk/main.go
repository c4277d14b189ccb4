// Command faultdisk is a disk that fails when it is told to: `faultdisk BACKING
// MOUNTPOINT SOCKET` shows the directory BACKING at MOUNTPOINT. It takes one
// command on each connection to SOCKET and answers `ok`, or why not:
//
//	ok             it works
//	eio            fsync fails, and what was not on the disk yet is gone
//	full           there is no room
//	readonly       it takes nothing, as after the kernel has found it damaged
//	slow DURATION  each fsync takes so much longer, or until the disk is told ok
//	lose           what no fsync has brought to the disk is gone, as when the power goes
package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// disk is how the disk behaves now.
type disk struct {
	failing, full, readonly atomic.Bool
	slow                    atomic.Int64
	unsynced                journal
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "faultdisk BACKING MOUNTPOINT SOCKET")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "faultdisk:", err)
		os.Exit(1)
	}
}

func run(backing, mountpoint, socket string) error {
	var st syscall.Stat_t
	if err := syscall.Stat(backing, &st); err != nil {
		return err
	}
	d := &disk{unsynced: journal{files: map[uint64]*undo{}}}
	root := &fs.LoopbackRoot{Path: backing, Dev: uint64(st.Dev)}
	top := &node{LoopbackNode: &fs.LoopbackNode{RootData: root}, disk: d}
	root.RootNode = top
	// Short: what is lost is lost behind the kernel's back.
	cached := 20 * time.Millisecond
	server, err := fs.Mount(mountpoint, top, &fs.Options{
		EntryTimeout: &cached, AttrTimeout: &cached, NullPermissions: true,
		MountOptions: fuse.MountOptions{DirectMountStrict: true, AllowOther: true, FsName: backing, Name: "faultdisk"},
	})
	if err != nil {
		return err
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return errors.Join(err, server.Unmount())
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-stop
		_ = listener.Close() // ends the loop below
	}()
	for {
		conn, err := listener.Accept()
		if err != nil {
			// Whoever still has it open keeps it until it lets go.
			return syscall.Unmount(mountpoint, syscall.MNT_DETACH)
		}
		d.listen(conn)
	}
}

func (d *disk) listen(conn net.Conn) {
	answer := "ok"
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil {
		err = d.command(strings.Fields(line))
	}
	if err != nil {
		answer = err.Error()
	}
	_, _ = fmt.Fprintln(conn, answer) // it may have gone
	_ = conn.Close()
}

func (d *disk) command(words []string) error {
	switch {
	case len(words) == 1 && words[0] == "ok":
		d.failing.Store(false)
		d.full.Store(false)
		d.readonly.Store(false)
		d.slow.Store(0)
	case len(words) == 1 && words[0] == "eio":
		d.failing.Store(true)
	case len(words) == 1 && words[0] == "full":
		d.full.Store(true)
	case len(words) == 1 && words[0] == "readonly":
		d.readonly.Store(true)
	case len(words) == 1 && words[0] == "lose":
		return d.unsynced.loseAll()
	case len(words) == 2 && words[0] == "slow":
		length, err := time.ParseDuration(words[1])
		if err != nil {
			return err
		}
		d.slow.Store(int64(length))
	default:
		return fmt.Errorf("there is no command %q", words)
	}
	return nil
}
