package wire

import (
	"errors"
	"io"

	"skerry.dev/shared/problem"
)

// Upload reads what a caller sends in messages, and refuses what is shorter or
// longer than was announced.
type Upload struct {
	// Stream of messages; Data is what the present one carries.
	Stream interface {
		Receive() bool
		Err() error
	}
	Data func() []byte
	// Left to come, in bytes.
	Left int64
	// About is for problems.
	About string

	rest []byte
}

func (u *Upload) Read(p []byte) (int, error) {
	for len(u.rest) == 0 {
		if !u.Stream.Receive() {
			return 0, u.end()
		}
		u.rest = u.Data()
		if u.Left -= int64(len(u.rest)); u.Left < 0 {
			return 0, problem.New(problem.Invalid, u.About, "more bytes came than were announced")
		}
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}

func (u *Upload) end() error {
	err := u.Stream.Err()
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return problem.New(problem.Unavailable, u.About, "the upload broke off with %d bytes to go: %w", u.Left, err)
	case u.Left > 0:
		return problem.New(problem.Invalid, u.About, "the upload ended with %d bytes to go", u.Left).
			WithHint("was the file changed while it was read?")
	default:
		return io.EOF
	}
}
