package cli

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"connectrpc.com/connect"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// inputChunk is how much of standard input goes into one message.
const inputChunk = 32 << 10

// execStream lets standard input and the terminal share the sending half of one
// call. A message that cannot be sent is dropped: the site has ended the call
// then, and what is received says why.
type execStream struct {
	mu     sync.Mutex
	stream *connect.BidiStreamForClient[skerryv1.ExecRequest, skerryv1.ExecResponse]
}

// send reports whether the site still listens.
func (s *execStream) send(message *skerryv1.ExecRequest) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Send(message) == nil
}

func (s *execStream) start(start *skerryv1.ExecStart) {
	s.send(&skerryv1.ExecRequest{Message: &skerryv1.ExecRequest_Start{Start: start}})
}

func (s *execStream) resize(size *skerryv1.TerminalSize) {
	s.send(&skerryv1.ExecRequest{Message: &skerryv1.ExecRequest_Resize{Resize: size}})
}

func (s *execStream) endInput() {
	s.send(&skerryv1.ExecRequest{Message: &skerryv1.ExecRequest_StdinEof{StdinEof: true}})
}

// pass sends what is read until the input or the call ends.
func (s *execStream) pass(input io.Reader, complain io.Writer) {
	buffer := make([]byte, inputChunk)
	for {
		n, err := input.Read(buffer)
		if n > 0 && !s.send(&skerryv1.ExecRequest{Message: &skerryv1.ExecRequest_Stdin{Stdin: buffer[:n]}}) {
			return
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				fmt.Fprintf(complain, "! standard input cannot be read: %s\n", oneLine(err.Error()))
			}
			s.endInput()
			return
		}
	}
}

// receive prints what the command writes and returns its exit code.
func (s *execStream) receive(stdout, stderr io.Writer) (int, error) {
	for {
		message, err := s.stream.Receive()
		if errors.Is(err, io.EOF) {
			return 0, problem.New(problem.Internal, "exec", "the call ended without an exit code").
				WithHint("it is not known whether the command has ended")
		}
		if err != nil {
			return 0, fromCall(err)
		}
		switch m := message.GetMessage().(type) {
		case *skerryv1.ExecResponse_Stdout:
			_, err = stdout.Write(m.Stdout)
		case *skerryv1.ExecResponse_Stderr:
			_, err = stderr.Write(m.Stderr)
		case *skerryv1.ExecResponse_ExitCode:
			return int(m.ExitCode), nil
		}
		if err != nil {
			return 0, err
		}
	}
}
