package localapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"time"

	"connectrpc.com/connect"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/access/guard"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/api/skerry/v1/skerryv1connect"
	"skerry.dev/shared/problem"
)

const (
	// exportChunk of a disk goes into one message.
	exportChunk = 256 << 10
	// tellEvery is how often a caller is told how far a copy is: also a sign that
	// somebody is at work.
	tellEvery = 500 * time.Millisecond
)

// disks copies the disks of this node for operators whom a voter has checked.
type disks struct{ *Server }

var _ skerryv1connect.DiskServiceHandler = disks{}

// copier of an instance.
func (d disks) copier(kind, project, name string) (runtime.DiskCopier, string, error) {
	copier, can := d.Driver.(runtime.DiskCopier)
	if !can || kind != "Placement" {
		return nil, "", problem.New(problem.Invalid, kind+"/"+name, "its disks cannot be copied on %s", d.Node)
	}
	id, err := placements(d).instance(project, name)
	return copier, id, err
}

// Snapshot ends when the caller goes away or may not do it any more; what was not
// done then is undone.
func (d disks) Snapshot(ctx context.Context, req *connect.Request[skerryv1.SnapshotRequest], stream *connect.ServerStream[skerryv1.SnapshotResponse]) error {
	lasting, end := guard.From(ctx).Lasting(ctx, d.Clock, d.Ledger.Changed)
	return toCaller(end(d.snapshot(lasting, req.Msg, stream)))
}

func (d disks) snapshot(ctx context.Context, asked *skerryv1.SnapshotRequest, stream *connect.ServerStream[skerryv1.SnapshotResponse]) error {
	if asked.GetKind() == kindVolume {
		return d.snapshotVolume(ctx, asked, stream)
	}
	copier, id, err := d.copier(asked.GetKind(), asked.GetProject(), asked.GetName())
	if err != nil {
		return err
	}
	tell := d.teller(stream.Send)
	switch asked.GetAction() {
	case skerryv1.SnapshotAction_SNAPSHOT_ACTION_CREATE:
		return copier.Snapshot(ctx, id, asked.GetSnapshot(), tell)
	case skerryv1.SnapshotAction_SNAPSHOT_ACTION_RESTORE:
		return copier.RestoreSnapshot(ctx, id, asked.GetSnapshot(), tell)
	case skerryv1.SnapshotAction_SNAPSHOT_ACTION_DELETE:
		return copier.DeleteSnapshot(ctx, id, asked.GetSnapshot())
	default:
		return problem.New(problem.Invalid, asked.GetKind()+"/"+asked.GetName(), "there is no action %d", asked.GetAction()).WithField("action")
	}
}

// teller passes on how far a copy is, now and then. A caller that is gone shows by
// the end of the call.
func (d disks) teller(send func(*skerryv1.SnapshotResponse) error) func(done, total int64) {
	var last time.Duration
	return func(done, total int64) {
		if now := d.Clock.Elapsed(); now-last >= tellEvery {
			last = now
			_ = send(&skerryv1.SnapshotResponse{Done: done, Total: total})
		}
	}
}

// Export gives a disk as a file.
func (d disks) Export(ctx context.Context, req *connect.Request[skerryv1.ExportRequest], stream *connect.ServerStream[skerryv1.ExportResponse]) error {
	lasting, end := guard.From(ctx).Lasting(ctx, d.Clock, d.Ledger.Changed)
	return toCaller(end(d.export(lasting, req.Msg, stream)))
}

func (d disks) export(ctx context.Context, asked *skerryv1.ExportRequest, stream *connect.ServerStream[skerryv1.ExportResponse]) error {
	tell := d.teller(func(far *skerryv1.SnapshotResponse) error {
		return stream.Send(&skerryv1.ExportResponse{Message: &skerryv1.ExportResponse_Copied{Copied: far}})
	})
	content, size, err := d.open(ctx, asked, tell)
	if err != nil {
		return err
	}
	defer func() { _ = content.Close() }() // opened for reading only
	return send(ctx, content, size, stream)
}

// open what is exported.
func (d disks) open(ctx context.Context, asked *skerryv1.ExportRequest, tell func(done, total int64)) (io.ReadCloser, int64, error) {
	if asked.GetKind() == kindVolume {
		copier, _, err := d.volume(asked.GetProject(), asked.GetName())
		if err != nil {
			return nil, 0, err
		}
		return copier.ExportVolume(ctx, asked.GetProject(), asked.GetName(), asked.GetSnapshot(), tell)
	}
	copier, id, err := d.copier(asked.GetKind(), asked.GetProject(), asked.GetName())
	if err != nil {
		return nil, 0, err
	}
	return copier.Export(ctx, id, runtime.Export{Disk: asked.GetDisk(), Snapshot: asked.GetSnapshot()}, tell)
}

// send a file with its size and its digest.
func send(ctx context.Context, content io.Reader, size int64, stream *connect.ServerStream[skerryv1.ExportResponse]) error {
	if err := stream.Send(&skerryv1.ExportResponse{Message: &skerryv1.ExportResponse_Size{Size: size}}); err != nil {
		return err
	}
	h, buffer := sha256.New(), make([]byte, exportChunk)
	for {
		n, err := content.Read(buffer)
		h.Write(buffer[:n])
		if n > 0 {
			if err := stream.Send(&skerryv1.ExportResponse{Message: &skerryv1.ExportResponse_Data{Data: buffer[:n]}}); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err := errors.Join(err, ctx.Err()); err != nil {
			return err
		}
	}
	digest := "sha256:" + hex.EncodeToString(h.Sum(nil))
	return stream.Send(&skerryv1.ExportResponse{Message: &skerryv1.ExportResponse_Digest{Digest: digest}})
}

// Screenshot of a virtual machine.
func (d disks) Screenshot(ctx context.Context, req *connect.Request[skerryv1.ScreenshotRequest]) (*connect.Response[skerryv1.ScreenshotResponse], error) {
	id, err := placements(d).instance(req.Msg.GetProject(), req.Msg.GetPlacement())
	if err != nil {
		return nil, problem.ToConnect(err)
	}
	camera, can := d.Driver.(runtime.Photographer)
	if !can {
		return nil, problem.ToConnect(problem.New(problem.Invalid, id, "this node runs no virtual machines"))
	}
	png, err := camera.Screenshot(ctx, id)
	if err != nil {
		return nil, problem.ToConnect(err)
	}
	return connect.NewResponse(&skerryv1.ScreenshotResponse{Png: png}), nil
}
