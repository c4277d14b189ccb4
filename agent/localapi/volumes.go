package localapi

import (
	"context"
	"errors"

	"connectrpc.com/connect"

	"skerry.dev/agent/runtime"
	"skerry.dev/shared/access/guard"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/wire"
)

const kindVolume = "Volume"

// volume of this node, by its orders: what those do not name is not touched.
func (d disks) volume(project, name string) (runtime.VolumeCopier, runtime.Volume, error) {
	about := kindVolume + "/" + name
	copier, can := d.Driver.(runtime.VolumeCopier)
	if !can {
		return nil, runtime.Volume{}, problem.New(problem.Invalid, about, "%s keeps no volumes", d.Node)
	}
	for _, v := range d.Ledger.Current().GetVolumes() {
		if v.GetProject() != project || v.GetName() != name {
			continue
		}
		size, err := manifest.Memory(v.GetSize())
		switch {
		case v.GetStatus().GetDeleting():
			err = problem.New(problem.Conflict, about, "it is being deleted with its data")
		case v.GetAs() == manifest.DirectoryVolume:
			err = problem.New(problem.Invalid, about, "it is a directory: only disks are copied like this").
				WithHint("skerry exec PLACEMENT -- tar -C PATH -cf - . writes out what a container has there")
		case err != nil:
			err = problem.New(problem.Internal, about, "%w", err)
		}
		return copier, runtime.Volume{SizeBytes: size, Made: v.GetStatus().GetMade()}, err
	}
	return nil, runtime.Volume{}, problem.New(problem.NotFound, about, "it is not on %s", d.Node).WithHint("skerry get volumes shows where it is")
}

func (d disks) snapshotVolume(ctx context.Context, asked *skerryv1.SnapshotRequest, stream *connect.ServerStream[skerryv1.SnapshotResponse]) error {
	project, name := asked.GetProject(), asked.GetName()
	copier, _, err := d.volume(project, name)
	if err != nil {
		return err
	}
	tell := d.teller(stream.Send)
	switch asked.GetAction() {
	case skerryv1.SnapshotAction_SNAPSHOT_ACTION_CREATE:
		return copier.SnapshotVolume(ctx, project, name, asked.GetSnapshot(), tell)
	case skerryv1.SnapshotAction_SNAPSHOT_ACTION_RESTORE:
		return copier.RestoreVolume(ctx, project, name, asked.GetSnapshot(), tell)
	case skerryv1.SnapshotAction_SNAPSHOT_ACTION_DELETE:
		return copier.DeleteVolumeSnapshot(ctx, project, name, asked.GetSnapshot())
	default:
		return problem.New(problem.Invalid, kindVolume+"/"+name, "there is no action %d", asked.GetAction()).WithField("action")
	}
}

// Import fills a volume.
func (d disks) Import(ctx context.Context, stream *connect.ClientStream[skerryv1.ImportRequest]) (*connect.Response[skerryv1.ImportResponse], error) {
	if !stream.Receive() {
		return nil, problem.ToConnect(errors.Join(stream.Err(), problem.New(problem.Invalid, kindVolume, "nothing came")))
	}
	header := stream.Msg().GetHeader()
	lasting, end := guard.From(ctx).Lasting(ctx, d.Clock, d.Ledger.Changed)
	if err := end(d.fill(lasting, header, stream)); err != nil {
		return nil, problem.ToConnect(err)
	}
	return connect.NewResponse(&skerryv1.ImportResponse{}), nil
}

func (d disks) fill(ctx context.Context, header *skerryv1.ImportHeader, stream *connect.ClientStream[skerryv1.ImportRequest]) error {
	copier, volume, err := d.volume(header.GetProject(), header.GetName())
	if err != nil {
		return err
	}
	content := &wire.Upload{
		Stream: stream, Data: func() []byte { return stream.Msg().GetData() }, Left: header.GetSize(), About: kindVolume + "/" + header.GetName(),
	}
	return copier.ImportVolume(ctx, header.GetProject(), header.GetName(), volume, header.GetReplace(), content)
}
