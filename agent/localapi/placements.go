package localapi

import (
	"context"
	"errors"
	"io"
	"sync"

	"connectrpc.com/connect"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/access/guard"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/problem"
)

// chunk is how much of a log goes into one message.
const chunk = 32 << 10

// placements reaches into what runs on this node.
type placements struct{ *Server }

var _ skerryv1connect.PlacementServiceHandler = placements{}

// instance is the driver's ID of a placement of this node.
func (p placements) instance(project, name string) (string, error) {
	if project == "" {
		project = "default"
	}
	for _, order := range p.Ledger.Current().GetPlacements() {
		if order.GetProject() == project && order.GetName() == name {
			return project + "." + name, nil
		}
	}
	return "", problem.New(problem.NotFound, "Placement/"+name, "it is not on %s", p.Node).
		WithHint("skerry get placements shows where it is")
}

// Logs and Exec end when the caller may not see or do it any more.
func (p placements) Logs(ctx context.Context, req *connect.Request[skerryv1.LogsRequest], stream *connect.ServerStream[skerryv1.LogsResponse]) error {
	lasting, end := guard.From(ctx).Lasting(ctx, p.Clock, p.Ledger.Changed)
	return toCaller(end(p.logs(lasting, req, stream)))
}

func toCaller(err error) error {
	if err == nil {
		return nil
	}
	return problem.ToConnect(err)
}

func (p placements) logs(ctx context.Context, req *connect.Request[skerryv1.LogsRequest], stream *connect.ServerStream[skerryv1.LogsResponse]) error {
	id, err := p.instance(req.Msg.GetProject(), req.Msg.GetPlacement())
	if err != nil {
		return err
	}
	p.countLogs(ctx, req.Peer().Addr, req.Msg)
	logs, err := p.Driver.Logs(ctx, id, runtime.LogOptions{Tail: int(req.Msg.GetTail()), Follow: req.Msg.GetFollow()})
	if err != nil {
		return err
	}
	defer func() { _ = logs.Close() }() // opened for reading only
	buffer := make([]byte, chunk)
	for {
		n, err := logs.Read(buffer)
		if n > 0 {
			if err := stream.Send(&skerryv1.LogsResponse{Data: buffer[:n]}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// Exec implements PlacementService.
func (p placements) Exec(ctx context.Context, stream *connect.BidiStream[skerryv1.ExecRequest, skerryv1.ExecResponse]) error {
	first, err := stream.Receive() // judged by the guard
	if err != nil {
		return problem.ToConnect(err)
	}
	lasting, end := guard.From(ctx).Lasting(ctx, p.Clock, p.Ledger.Changed)
	return toCaller(end(p.exec(lasting, first, stream)))
}

func (p placements) exec(ctx context.Context, first *skerryv1.ExecRequest, stream *connect.BidiStream[skerryv1.ExecRequest, skerryv1.ExecResponse]) error {
	start := first.GetStart()
	if len(start.GetCommand()) == 0 && !start.GetConsole() {
		return problem.New(problem.Invalid, "exec", "there is no command").WithField("start.command")
	}
	id, err := p.instance(start.GetProject(), start.GetPlacement())
	if err != nil {
		return err
	}
	if err := p.keepExec(ctx, stream.Peer().Addr, start); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out := &sender{stream: stream}
	stdin, resize := receiveInput(ctx, cancel, stream, start.GetSize())
	code, err := p.Driver.Exec(ctx, id, runtime.Exec{
		Command:  start.GetCommand(),
		Terminal: start.GetTty(),
		Stdin:    stdin,
		Stdout:   out.stdout(),
		Stderr:   out.stderr(),
		Resize:   resize,
		Console:  start.GetConsole(),
	})
	if err != nil {
		return err
	}
	return out.send(&skerryv1.ExecResponse{Message: &skerryv1.ExecResponse_ExitCode{ExitCode: int32(code)}})
}

// receiveInput turns the caller's messages into a reader and terminal sizes.
// Its goroutine ends with the call: Receive fails once the handler returned.
func receiveInput(ctx context.Context, cancel context.CancelFunc, stream *connect.BidiStream[skerryv1.ExecRequest, skerryv1.ExecResponse],
	size *skerryv1.TerminalSize) (io.Reader, <-chan runtime.TerminalSize) {
	reader, writer := io.Pipe()
	resize := make(chan runtime.TerminalSize, 8)
	if size != nil {
		resize <- runtime.TerminalSize{Columns: size.GetColumns(), Rows: size.GetRows()}
	}
	go func() {
		<-ctx.Done()
		_ = writer.CloseWithError(ctx.Err()) // never fails
	}()
	go func() {
		for {
			message, err := stream.Receive()
			if err != nil {
				_ = writer.Close() // never fails
				if !errors.Is(err, io.EOF) {
					cancel() // the caller is gone: end the command
				}
				return
			}
			switch m := message.GetMessage().(type) {
			case *skerryv1.ExecRequest_Stdin:
				if _, err := writer.Write(m.Stdin); err != nil {
					return // the command has ended
				}
			case *skerryv1.ExecRequest_StdinEof:
				_ = writer.Close() // never fails
			case *skerryv1.ExecRequest_Resize:
				select {
				case resize <- runtime.TerminalSize{Columns: m.Resize.GetColumns(), Rows: m.Resize.GetRows()}:
				default: // a later size follows
				}
			}
		}
	}()
	return reader, resize
}

// sender lets the two outputs share one stream.
type sender struct {
	mu     sync.Mutex
	stream *connect.BidiStream[skerryv1.ExecRequest, skerryv1.ExecResponse]
}

func (s *sender) send(message *skerryv1.ExecResponse) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream.Send(message)
}

func (s *sender) stdout() io.Writer {
	return writerFunc(func(p []byte) error {
		return s.send(&skerryv1.ExecResponse{Message: &skerryv1.ExecResponse_Stdout{Stdout: p}})
	})
}

func (s *sender) stderr() io.Writer {
	return writerFunc(func(p []byte) error {
		return s.send(&skerryv1.ExecResponse{Message: &skerryv1.ExecResponse_Stderr{Stderr: p}})
	})
}

type writerFunc func(p []byte) error

func (f writerFunc) Write(p []byte) (int, error) {
	if err := f(p); err != nil {
		return 0, err
	}
	return len(p), nil
}
