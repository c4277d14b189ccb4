package cli

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// terminal is the operator's terminal in raw mode: all keys go to the command.
type terminal struct {
	fd      int
	before  *term.State
	changed chan os.Signal
}

func rawTerminal(input io.Reader) (*terminal, error) {
	if !isTerminal(input) {
		return nil, problem.New(problem.Invalid, "standard input", "it is not a terminal, and -t needs one").
			WithHint("leave -t out; -i passes standard input on")
	}
	fd := int(input.(*os.File).Fd())
	before, err := term.MakeRaw(fd)
	if err != nil {
		return nil, problem.New(problem.Internal, "terminal", "it cannot be put into raw mode: %w", err)
	}
	t := &terminal{fd: fd, before: before, changed: make(chan os.Signal, 1)}
	// From here on, so that no change of size between the first look at it and
	// watch goes unseen.
	signal.Notify(t.changed, syscall.SIGWINCH)
	return t, nil
}

// restore cannot do anything about a terminal that is gone.
func (t *terminal) restore() {
	signal.Stop(t.changed)
	_ = term.Restore(t.fd, t.before)
}

// size is nil when the terminal does not tell.
func (t *terminal) size() *skerryv1.TerminalSize {
	columns, rows, err := term.GetSize(t.fd)
	if err != nil {
		return nil
	}
	return &skerryv1.TerminalSize{Columns: uint32(max(0, columns)), Rows: uint32(max(0, rows))}
}

// watch tells new sizes until ctx ends.
func (t *terminal) watch(ctx context.Context, resize func(*skerryv1.TerminalSize)) {
	for {
		select {
		case <-t.changed:
			if size := t.size(); size != nil {
				resize(size)
			}
		case <-ctx.Done():
			return
		}
	}
}
