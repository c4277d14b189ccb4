// Package wire bounds what a handler takes in, packed and unpacked. It knows
// nothing of what is in it.
package wire

import (
	"compress/gzip"
	"errors"
	"io"

	"connectrpc.com/connect"
)

// packFrom this many bytes on an answer is packed: to pack a small one costs more
// than it saves.
const packFrom = 16 << 10

// Bounded takes messages of at most size bytes. Connect alone unpacks a message
// that is too large to its end, to tell how large it is: a gigabyte of zeros
// fits in a megabyte and keeps a processor busy for seconds.
func Bounded(size int) connect.HandlerOption {
	return connect.WithHandlerOptions(
		connect.WithReadMaxBytes(size),
		connect.WithCompressMinBytes(packFrom),
		connect.WithCompression("gzip",
			func() connect.Decompressor { return &reader{most: int64(size) + 1} },
			func() connect.Compressor { return gzip.NewWriter(io.Discard) }),
	)
}

var errTooLarge = errors.New("it unpacks to more than may be sent")

// reader unpacks at most so many bytes, and a little more.
type reader struct {
	gzip.Reader
	most, left int64
}

// Reset implements connect.Decompressor.
func (r *reader) Reset(from io.Reader) error {
	r.left = r.most
	return r.Reader.Reset(from)
}

// Read implements connect.Decompressor.
func (r *reader) Read(p []byte) (int, error) {
	if r.left < 0 {
		return 0, errTooLarge
	}
	n, err := r.Reader.Read(p)
	r.left -= int64(n)
	return n, err
}
