package api

import (
	"context"
	"errors"
	"io"

	"connectrpc.com/connect"
	"golang.org/x/sync/errgroup"

	"skerry.dev/coordinator/state"
	"skerry.dev/shared/access/guard"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/problem"
)

// placements implements skerry.v1.PlacementService by passing each call on to
// the node that runs the placement, over mTLS.
type placements struct{ *Server }

// Logs and Exec end when the caller may not see or do it any more.
func (p placements) Logs(ctx context.Context, req *connect.Request[skerryv1.LogsRequest], stream *connect.ServerStream[skerryv1.LogsResponse]) error {
	lasting, end := guard.From(ctx).Lasting(ctx, p.Clock, p.Store.Changed)
	return end(p.logs(lasting, req, stream))
}

func (p placements) logs(ctx context.Context, req *connect.Request[skerryv1.LogsRequest], stream *connect.ServerStream[skerryv1.LogsResponse]) error {
	client, err := p.nodeOf(ctx, projectOr(req.Msg.GetProject(), defaultProject), req.Msg.GetPlacement())
	if err != nil {
		return err
	}
	p.countLogs(ctx, req.Msg)
	from, err := client.Logs(ctx, connect.NewRequest(req.Msg))
	if err != nil {
		return fromNode(err)
	}
	for from.Receive() {
		if err := stream.Send(from.Msg()); err != nil {
			return errors.Join(err, from.Close())
		}
	}
	return errors.Join(fromNode(from.Err()), from.Close())
}

// fromNode turns the end of a call to a node into a problem. A connection that
// broke within an answer has no code of its own, and is not the caller's fault.
func fromNode(err error) error {
	switch connect.CodeOf(err) {
	case connect.CodeUnknown, connect.CodeInternal, connect.CodeInvalidArgument:
		if errors.As(err, new(*connect.Error)) && !connect.IsWireError(err) {
			return problem.New(problem.Unavailable, "", "the connection to the node was lost: %v", err)
		}
	}
	return problem.FromConnect(err)
}

// Exec implements PlacementService.
func (p placements) Exec(ctx context.Context, stream *connect.BidiStream[skerryv1.ExecRequest, skerryv1.ExecResponse]) error {
	first, err := stream.Receive() // judged by the guard
	if err != nil {
		return err
	}
	lasting, end := guard.From(ctx).Lasting(ctx, p.Clock, p.Store.Changed)
	return end(p.exec(lasting, first, stream))
}

func (p placements) exec(ctx context.Context, first *skerryv1.ExecRequest, stream *connect.BidiStream[skerryv1.ExecRequest, skerryv1.ExecResponse]) error {
	start := first.GetStart()
	if start == nil {
		return problem.New(problem.Invalid, "exec", "the first message must say what to run").WithField("start")
	}
	client, err := p.nodeOf(ctx, projectOr(start.GetProject(), defaultProject), start.GetPlacement())
	if err != nil {
		return err
	}
	if err := p.recordExec(ctx, start); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	to := client.Exec(ctx)
	// net/http looks at the context of a request only between two reads of its
	// body: without this a command whose caller says nothing would run on.
	defer context.AfterFunc(ctx, func() { _ = to.CloseRequest() })()
	if err := to.Send(first); err != nil {
		return fromNode(err)
	}
	return pump(cancel, stream, to)
}

// pump copies both directions until the node has sent everything. What the
// caller sends after that is of no use to anybody.
func pump(cancel context.CancelFunc, caller *connect.BidiStream[skerryv1.ExecRequest, skerryv1.ExecResponse],
	node *connect.BidiStreamForClient[skerryv1.ExecRequest, skerryv1.ExecResponse]) error {
	var group errgroup.Group
	group.Go(func() error {
		for {
			message, err := caller.Receive()
			if errors.Is(err, io.EOF) {
				return node.CloseRequest()
			}
			if err != nil {
				cancel() // the caller is gone: end the command
				return nil
			}
			if err := node.Send(message); err != nil {
				return nil // the node has ended the call; its answer tells why
			}
		}
	})
	var result error
	for {
		message, err := node.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			result = fromNode(err)
			break
		}
		if err := caller.Send(message); err != nil {
			result = err
			break
		}
		if _, last := message.GetMessage().(*skerryv1.ExecResponse_ExitCode); last {
			break
		}
	}
	cancel()
	// The reader of the caller's side ends with the call itself; waiting for it
	// here would wait for the caller to close its half first.
	return result
}

// nodeOf returns a client to the node that runs a placement.
func (p placements) nodeOf(ctx context.Context, project, name string) (skerryv1connect.PlacementServiceClient, error) {
	node, err := p.holder(ctx, "Placement", project, name)
	if err != nil {
		return nil, err
	}
	return skerryv1connect.NewPlacementServiceClient(p.NodeClient(node.GetName()),
		"https://"+node.GetAddress(), connect.WithReadMaxBytes(maxMessage)), nil
}

// holder is the node that has a placement or a volume.
func (s *Server) holder(ctx context.Context, kind, project, name string) (*skerryv1.Node, error) {
	if kind != "Placement" && kind != "Volume" {
		return nil, problem.New(problem.Invalid, "disks", "only placements and volumes have disks").WithField("kind")
	}
	view := s.Store.View()
	on, there := placeOf(view, kind, project, name)
	if !there {
		// This replica may be behind by a moment, or be cut off.
		var freshness *skerryv1.Freshness
		view, freshness = s.read(ctx, false)
		if on, there = placeOf(view, kind, project, name); !there {
			return nil, s.absent(false, freshness, kind, name, project)
		}
	}
	subject := kind + "/" + name
	if on == "" {
		return nil, problem.New(problem.Conflict, subject, "it has no node yet").WithHint("skerry why %s", name)
	}
	node := view.Node(on)
	if node.GetState() != skerryv1.NodeState_NODE_STATE_READY {
		return nil, problem.New(problem.Unavailable, subject, "its node %s is lost", on).
			WithHint("if you can reach the node itself, ask it directly: skerry --address %s", node.GetAddress())
	}
	return node, nil
}

// placeOf is the node that a placement or volume is on, if it is there at all.
func placeOf(view *state.View, kind, project, name string) (node string, there bool) {
	if kind == "Volume" {
		volume := view.Volume(project, name)
		return volume.GetNode(), volume != nil
	}
	placement := view.Placement(project, name)
	return placement.GetNode(), placement != nil
}
