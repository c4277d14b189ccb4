package api

import (
	"context"
	"errors"
	"strings"

	"connectrpc.com/connect"

	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/problem"
)

// disks implements skerry.v1.DiskService by passing each call on to the node that
// has the disks, once the audit log tells of it.
type disks struct{ *Server }

// client of the node that has the disks, after what is asked of it was recorded.
func (d disks) client(ctx context.Context, kind, project, name string, deed *sitev1.RecordExec) (skerryv1connect.DiskServiceClient, error) {
	node, err := d.holder(ctx, kind, project, name)
	if err != nil {
		return nil, err
	}
	if node.GetState() != skerryv1.NodeState_NODE_STATE_READY {
		return nil, problem.New(problem.Unavailable, kind+"/"+name, "its node %s is lost", node.GetName()).
			WithHint("try again when it is back: skerry status")
	}
	deed.Kind, deed.Project, deed.Placement = kind, project, name
	if err := d.recordDeed(ctx, deed); err != nil {
		return nil, err
	}
	return skerryv1connect.NewDiskServiceClient(d.NodeClient(node.GetName()), "https://"+node.GetAddress(), connect.WithReadMaxBytes(maxShotBytes)), nil
}

// maxShotBytes bounds one message, of which a screenshot is the largest.
const maxShotBytes = 33 << 20

// Snapshot makes, restores or deletes a snapshot.
func (d disks) Snapshot(ctx context.Context, req *connect.Request[skerryv1.SnapshotRequest], stream *connect.ServerStream[skerryv1.SnapshotResponse]) error {
	lasting, end := guard.From(ctx).Lasting(ctx, d.Clock, d.Store.Changed)
	return end(d.snapshot(lasting, req.Msg, stream))
}

func (d disks) snapshot(ctx context.Context, asked *skerryv1.SnapshotRequest, stream *connect.ServerStream[skerryv1.SnapshotResponse]) error {
	asked.Project = projectOr(asked.GetProject(), defaultProject)
	what := strings.ToLower(strings.TrimPrefix(asked.GetAction().String(), "SNAPSHOT_ACTION_"))
	client, err := d.client(ctx, asked.GetKind(), asked.GetProject(), asked.GetName(),
		&sitev1.RecordExec{Verb: "snapshot", Command: what + " " + asked.GetSnapshot()[:min(len(asked.GetSnapshot()), maxSnapshotName)]})
	if err != nil {
		return err
	}
	from, err := client.Snapshot(ctx, connect.NewRequest(asked))
	return relay(from, err, stream)
}

// maxSnapshotName is more than any has.
const maxSnapshotName = 64

// Export gives a disk as a file.
func (d disks) Export(ctx context.Context, req *connect.Request[skerryv1.ExportRequest], stream *connect.ServerStream[skerryv1.ExportResponse]) error {
	lasting, end := guard.From(ctx).Lasting(ctx, d.Clock, d.Store.Changed)
	return end(d.export(lasting, req.Msg, stream))
}

func (d disks) export(ctx context.Context, asked *skerryv1.ExportRequest, stream *connect.ServerStream[skerryv1.ExportResponse]) error {
	asked.Project = projectOr(asked.GetProject(), defaultProject)
	client, err := d.client(ctx, asked.GetKind(), asked.GetProject(), asked.GetName(), &sitev1.RecordExec{Verb: "export"})
	if err != nil {
		return err
	}
	from, err := client.Export(ctx, connect.NewRequest(asked))
	return relay(from, err, stream)
}

// relay what a node sends.
func relay[T any](from *connect.ServerStreamForClient[T], err error, to *connect.ServerStream[T]) error {
	if err != nil {
		return fromNode(err)
	}
	for from.Receive() {
		if err := to.Send(from.Msg()); err != nil {
			return errors.Join(err, from.Close())
		}
	}
	return errors.Join(fromNode(from.Err()), from.Close())
}

// Screenshot of a virtual machine.
func (d disks) Screenshot(ctx context.Context, req *connect.Request[skerryv1.ScreenshotRequest]) (*connect.Response[skerryv1.ScreenshotResponse], error) {
	asked := req.Msg
	asked.Project = projectOr(asked.GetProject(), defaultProject)
	client, err := d.client(ctx, "Placement", asked.GetProject(), asked.GetPlacement(), &sitev1.RecordExec{Verb: "screenshot"})
	if err != nil {
		return nil, err
	}
	answer, err := client.Screenshot(ctx, connect.NewRequest(asked))
	if err != nil {
		return nil, fromNode(err)
	}
	if len(answer.Msg.GetPng()) == 0 {
		return nil, problem.New(problem.Internal, "Placement/"+asked.GetPlacement(), "its node gave an empty picture")
	}
	return connect.NewResponse(answer.Msg), nil
}

// Import fills a volume with what comes.
func (d disks) Import(ctx context.Context, stream *connect.ClientStream[skerryv1.ImportRequest]) (*connect.Response[skerryv1.ImportResponse], error) {
	if !stream.Receive() { // judged by the guard
		return nil, errors.Join(stream.Err(), problem.New(problem.Invalid, "Volume", "nothing came"))
	}
	header := stream.Msg().GetHeader()
	if header == nil {
		return nil, problem.New(problem.Invalid, "Volume", "the first message must say what is filled").WithField("header")
	}
	lasting, end := guard.From(ctx).Lasting(ctx, d.Clock, d.Store.Changed)
	if err := end(d.fill(lasting, header, stream)); err != nil {
		return nil, err
	}
	return connect.NewResponse(&skerryv1.ImportResponse{}), nil
}

func (d disks) fill(ctx context.Context, header *skerryv1.ImportHeader, stream *connect.ClientStream[skerryv1.ImportRequest]) error {
	header.Project = projectOr(header.GetProject(), defaultProject)
	client, err := d.client(ctx, "Volume", header.GetProject(), header.GetName(), &sitev1.RecordExec{Verb: "import"})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // a node that does not get all forgets what it got
	to := client.Import(ctx)
	err = to.Send(&skerryv1.ImportRequest{Message: &skerryv1.ImportRequest_Header{Header: header}})
	for err == nil && stream.Receive() {
		err = to.Send(stream.Msg())
	}
	if broken := stream.Err(); broken != nil {
		return problem.New(problem.Unavailable, "Volume/"+header.GetName(), "the upload broke off: %w", broken)
	}
	if _, err := to.CloseAndReceive(); err != nil {
		return fromNode(err)
	}
	return err
}
