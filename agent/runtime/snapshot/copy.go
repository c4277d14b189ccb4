package snapshot

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// piece is copied between two looks at the context.
const piece = 8 << 20

// Copy a file with its holes, wholly and durably or not at all. Where the file
// system can, the copy shares its blocks with the original until either is written.
func Copy(ctx context.Context, from, to string, progress Progress) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // opened for reading only
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			_ = os.Remove(to) // or swept with its directory
		}
	}()
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) != nil {
		if err := out.Truncate(info.Size()); err != nil {
			return err
		}
		if err := copyData(ctx, in, out, progress); err != nil {
			return err
		}
	}
	return out.Sync()
}

// copyData copies what is no hole.
func copyData(ctx context.Context, in, out *os.File, progress Progress) error {
	var done, at int64
	total := Used(in.Name())
	for {
		begin, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // only a hole is left
		}
		if err != nil {
			return err
		}
		end, err := unix.Seek(int(in.Fd()), begin, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		for at = begin; at < end; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, err := io.Copy(io.NewOffsetWriter(out, at), io.NewSectionReader(in, at, min(piece, end-at)))
			if err != nil {
				return err
			}
			if n == 0 {
				return io.ErrUnexpectedEOF // it became shorter
			}
			at, done = at+n, done+n
			progress(done, total)
		}
	}
}
