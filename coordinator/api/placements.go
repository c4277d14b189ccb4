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
	node, err := p.holder(ctx, "Placement", projectOr(req.Msg.GetProject(), defaultProject), req.Msg.GetPlacement())
	if err != nil {
		return err
	}
	p.countLogs(ctx, req.Msg)
	from, err := p.client(node).Logs(ctx, connect.NewRequest(req.Msg))
	if err != nil {
		return p.unreached(ctx, err, req.Msg.GetPlacement(), node)
	}
	for from.Receive() {
		if err := stream.Send(from.Msg()); err != nil {
			return errors.Join(err, from.Close())
		}
	}
	return errors.Join(p.unreached(ctx, from.Err(), req.Msg.GetPlacement(), node), from.Close())
}

// unreached tells of a node that does not answer: it, or this one, may be on the
// other side of a cut. What the node has said itself stays as it is.
func (p placements) unreached(ctx context.Context, err error, placement string, node *skerryv1.Node) error {
	code := connect.CodeOf(err)
	silent := code == connect.CodeUnavailable || code == connect.CodeDeadlineExceeded && ctx.Err() == nil
	if err == nil || connect.IsWireError(err) || !silent {
		return fromNode(err)
	}
	lost, alone := "", ""
	if node.GetState() != skerryv1.NodeState_NODE_STATE_READY {
		lost = " is lost, and"
	}
	if !p.Log.Status().HasQuorum {
		alone = ", which has no quorum"
	}
	return problem.New(problem.Unavailable, "Placement/"+placement, "its node %s%s does not answer %s%s: %v", node.GetName(), lost, p.Node, alone, reasonOf(err)).
		WithHint("if you can reach that node yourself, ask it: --address %s", node.GetAddress())
}

// reasonOf is what this end knows of a call that did not get through, without the
// words for the call itself.
func reasonOf(err error) error {
	var here *problem.Error
	if errors.As(err, &here) {
		return errors.New(here.Message)
	}
	return err
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
	node, err := p.holder(ctx, "Placement", projectOr(start.GetProject(), defaultProject), start.GetPlacement())
	if err != nil {
		return err
	}
	if err := p.recordExec(ctx, start); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	to := p.client(node).Exec(ctx)
	// net/http looks at the context of a request only between two reads of its
	// body: without this a command whose caller says nothing would run on.
	defer context.AfterFunc(ctx, func() { _ = to.CloseRequest() })()
	if err := to.Send(first); err != nil && !errors.Is(err, io.EOF) { // the answer tells why
		return fromNode(err)
	}
	return pump(cancel, stream, to, func(err error) error { return p.unreached(ctx, err, start.GetPlacement(), node) })
}

// pump copies both directions until the node has sent everything. What the
// caller sends after that is of no use to anybody. Failed words what the node, or the
// way to it, ended the call with.
func pump(cancel context.CancelFunc, caller *connect.BidiStream[skerryv1.ExecRequest, skerryv1.ExecResponse],
	node *connect.BidiStreamForClient[skerryv1.ExecRequest, skerryv1.ExecResponse], failed func(error) error) error {
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
			result = failed(err)
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

// client to the node that runs a placement, lost or not: it may be in reach of this
// voter all the same.
func (p placements) client(node *skerryv1.Node) skerryv1connect.PlacementServiceClient {
	return skerryv1connect.NewPlacementServiceClient(p.NodeClient(node.GetName()),
		"https://"+node.GetAddress(), connect.WithReadMaxBytes(maxMessage))
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
	if on == "" {
		return nil, problem.New(problem.Conflict, kind+"/"+name, "it has no node yet").WithHint("skerry why %s", name)
	}
	return view.Node(on), nil
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
