package main

import (
	"context"
	"fmt"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// node of the tree: as it is in the backing directory, but for the faults.
type node struct {
	*fs.LoopbackNode
	disk *disk
}

// WrapChild implements fs.NodeWrapChilder: below it everything fails likewise.
func (n *node) WrapChild(_ context.Context, child fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{LoopbackNode: child.(*fs.LoopbackNode), disk: n.disk}
}

var (
	_ fs.NodeOpener         = (*node)(nil)
	_ fs.NodeCreater        = (*node)(nil)
	_ fs.NodeMkdirer        = (*node)(nil)
	_ fs.NodeUnlinker       = (*node)(nil)
	_ fs.NodeRmdirer        = (*node)(nil)
	_ fs.NodeRenamer        = (*node)(nil)
	_ fs.NodeStatfser       = (*node)(nil)
	_ fs.NodeSetattrer      = (*node)(nil)
	_ fs.NodeFsyncer        = (*node)(nil)
	_ fs.NodeCopyFileRanger = (*node)(nil)
	_ fs.NodeOpendirHandler = (*node)(nil)
	_ fs.FileFsyncdirer     = (*openDir)(nil)
	_ fs.FileWriter         = (*file)(nil)
	_ fs.FileFsyncer        = (*file)(nil)
	_ fs.FileAllocater      = (*file)(nil)
	_ fs.FileReader         = (*file)(nil)
	_ fs.FileFlusher        = (*file)(nil)
	_ fs.FileReleaser       = (*file)(nil)
)

// Open reads also what is written only: the journal wants to know what was there.
func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	path := n.RootData.Path + "/" + n.Path(n.Root())
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY && n.disk.readonly.Load() {
		return nil, 0, syscall.EROFS
	}
	if flags&syscall.O_TRUNC != 0 {
		if errno := n.truncate(path, 0); errno != 0 {
			return nil, 0, errno
		}
	}
	fd, err := syscall.Open(path, int(flags)&^(syscall.O_APPEND|syscall.O_TRUNC|fuse.FMODE_EXEC), 0)
	if err != nil {
		return nil, 0, fs.ToErrno(err)
	}
	return &file{fd: fd, disk: n.disk}, 0, 0
}

// Create a file.
func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	if errno := n.disk.refuses(); errno != 0 {
		return nil, nil, 0, errno
	}
	inode, made, _, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	if releaser, ok := made.(fs.FileReleaser); ok {
		_ = releaser.Release(ctx) // it is opened anew below
	}
	path := n.RootData.Path + "/" + n.Path(n.Root()) + "/" + name
	fd, err := syscall.Open(path, int(flags)&^(syscall.O_APPEND|syscall.O_TRUNC|syscall.O_EXCL|syscall.O_CREAT), 0)
	if err != nil {
		return nil, nil, 0, fs.ToErrno(err)
	}
	return inode, &file{fd: fd, disk: n.disk}, 0, 0
}

// Mkdir makes a directory.
func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	if errno := n.disk.refuses(); errno != 0 {
		return nil, errno
	}
	return n.LoopbackNode.Mkdir(ctx, name, mode, out)
}

// Unlink a file; a full disk lets go of what it has.
func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	if n.disk.readonly.Load() {
		return syscall.EROFS
	}
	return n.LoopbackNode.Unlink(ctx, name)
}

// Rmdir removes a directory.
func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	if n.disk.readonly.Load() {
		return syscall.EROFS
	}
	return n.LoopbackNode.Rmdir(ctx, name)
}

// Rename moves a name.
func (n *node) Rename(ctx context.Context, name string, to fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if n.disk.readonly.Load() {
		return syscall.EROFS
	}
	return n.LoopbackNode.Rename(ctx, name, to, newName, flags)
}

// Statfs tells how much room there is.
func (n *node) Statfs(ctx context.Context, out *fuse.StatfsOut) syscall.Errno {
	errno := n.LoopbackNode.Statfs(ctx, out)
	if n.disk.full.Load() {
		out.Bfree, out.Bavail = 0, 0
	}
	return errno
}

// Setattr may cut a file.
func (n *node) Setattr(ctx context.Context, _ fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if n.disk.readonly.Load() {
		return syscall.EROFS
	}
	if size, ok := in.GetSize(); ok {
		if errno := n.truncate(n.RootData.Path+"/"+n.Path(n.Root()), int64(size)); errno != 0 {
			return errno
		}
		in.Valid &^= fuse.FATTR_SIZE
	}
	return n.LoopbackNode.Setattr(ctx, nil, in, out)
}

func (n *node) truncate(path string, size int64) syscall.Errno {
	fd, err := syscall.Open(path, syscall.O_RDWR, 0)
	if err != nil {
		return fs.ToErrno(err)
	}
	defer func() { _ = syscall.Close(fd) }() // nothing is left to be written
	if err := n.disk.unsynced.before(fd, size, -1); err != nil {
		return fs.ToErrno(err)
	}
	return fs.ToErrno(syscall.Ftruncate(fd, size))
}

// openDir is a directory that is open.
type openDir struct {
	dirStream
	disk *disk
}

// dirStream is what the backing directory offers.
type dirStream interface {
	fs.FileReaddirenter
	fs.FileReleasedirer
	fs.FileSeekdirer
	fs.FileFsyncdirer
}

// OpendirHandle opens a directory.
func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	opened, answer, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if stream, ok := opened.(dirStream); ok && errno == 0 {
		opened = &openDir{stream, n.disk}
	}
	return opened, answer, errno
}

// Fsyncdir fails where nothing is taken: ext4 does so after an error.
func (d *openDir) Fsyncdir(ctx context.Context, flags uint32) syscall.Errno {
	if d.disk.readonly.Load() {
		return syscall.EROFS
	}
	return d.dirStream.Fsyncdir(ctx, flags)
}

// Fsync of a file without a handle.
func (n *node) Fsync(_ context.Context, f fs.FileHandle, flags uint32) syscall.Errno {
	if opened, ok := f.(*file); ok {
		return opened.Fsync(context.Background(), flags)
	}
	return n.disk.sync()
}

// refuses what needs room.
func (d *disk) refuses() syscall.Errno {
	switch {
	case d.readonly.Load():
		return syscall.EROFS
	case d.full.Load():
		return syscall.ENOSPC
	}
	return 0
}

// CopyFileRange is left to reading and writing.
func (n *node) CopyFileRange(context.Context, fs.FileHandle, uint64, *fs.Inode, fs.FileHandle, uint64, uint64, uint64) (uint32, syscall.Errno) {
	return 0, syscall.ENOSYS
}

// sync waits as long as the disk takes, and tells whether it fails. A disk that is told
// to be in order again answers at once.
func (d *disk) sync() syscall.Errno {
	for begun := time.Now(); time.Since(begun) < time.Duration(d.slow.Load()); {
		time.Sleep(time.Millisecond)
	}
	switch {
	case d.readonly.Load():
		return syscall.EROFS
	case d.failing.Load():
		return syscall.EIO
	}
	return 0
}

// file that is open.
type file struct {
	fd   int
	disk *disk
}

// Read from it.
func (f *file) Read(_ context.Context, buffer []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	return fuse.ReadResultFd(uintptr(f.fd), at, len(buffer)), 0
}

// Write to it.
func (f *file) Write(_ context.Context, data []byte, at int64) (uint32, syscall.Errno) {
	if errno := f.disk.refuses(); errno != 0 {
		return 0, errno
	}
	if err := f.disk.unsynced.before(f.fd, at, int64(len(data))); err != nil {
		return 0, fs.ToErrno(err)
	}
	n, err := syscall.Pwrite(f.fd, data, at)
	return uint32(max(n, 0)), fs.ToErrno(err)
}

// Allocate room.
func (f *file) Allocate(_ context.Context, at, size uint64, mode uint32) syscall.Errno {
	if errno := f.disk.refuses(); errno != 0 {
		return errno
	}
	if err := f.disk.unsynced.before(f.fd, int64(at), int64(size)); err != nil {
		return fs.ToErrno(err)
	}
	return fs.ToErrno(syscall.Fallocate(f.fd, mode, int64(at), int64(size)))
}

// Fsync brings it to the disk. When that fails the kernel forgets what it had, and
// the next one succeeds: nothing may be built on that.
func (f *file) Fsync(context.Context, uint32) syscall.Errno {
	if errno := f.disk.sync(); errno != 0 {
		_ = f.disk.unsynced.lose(f.fd) // the disk fails as it is
		return errno
	}
	return fs.ToErrno(f.disk.unsynced.synced(f.fd))
}

// Flush on close; nothing is durable by that.
func (f *file) Flush(context.Context) syscall.Errno { return 0 }

// Release ends it.
func (f *file) Release(context.Context) syscall.Errno { return fs.ToErrno(syscall.Close(f.fd)) }
