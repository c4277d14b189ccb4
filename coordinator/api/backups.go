package api

import (
	"context"
	"fmt"

	"connectrpc.com/connect"

	"skerry.dev/coordinator/state"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/manifest"
	"skerry.dev/shared/problem"
)

// Backups makes backups on this voter.
type Backups interface {
	// Make one in memory.
	Make(ctx context.Context) ([]byte, *skerryv1.Backup, error)
	// Keep makes one in the folder, and deletes those that are too many.
	Keep(ctx context.Context, settings manifest.Backups) (*skerryv1.Backup, error)
	// List those in a folder, newest first.
	List(ctx context.Context, folder string) ([]*skerryv1.Backup, error)
}

// maxMaking backups at a time are in memory: each holds the whole state several
// times over.
const maxMaking = 2

// backups implements skerry.v1.BackupService on the coordinator.
type backups struct {
	*Server
	// making holds a token for each that is made or sent.
	making chan struct{}
}

// CreateBackup makes one, and answers when the log says so.
func (b backups) CreateBackup(ctx context.Context, req *connect.Request[skerryv1.CreateBackupRequest], stream *connect.ServerStream[skerryv1.CreateBackupResponse]) error {
	select {
	case b.making <- struct{}{}:
		defer func() { <-b.making }()
	default:
		return problem.New(problem.Exhausted, "backup", "%d backups are being made already, which is the most", maxMaking).
			WithHint("nothing was changed; try again when one of them is done")
	}
	settings := manifest.BackupsOf(b.Store.View().Settings())
	record := &sitev1.RecordBackup{Node: b.Node, Folder: settings.Folder}
	var data []byte
	var err error
	switch {
	case req.Msg.GetSend():
		data, record.Made, err = b.Backups.Make(ctx)
	case settings.Folder == "":
		return problem.New(problem.Conflict, "backup", "the site has no folder for backups").
			WithHint("skerry backup create --to FILE writes one here; kind: Settings with backups.folder names a folder")
	default:
		record.Made, err = b.Backups.Keep(ctx, settings)
	}
	if err != nil {
		return err
	}
	made := record.GetMade()
	if _, err := b.commit(ctx, req.Msg.GetRequestId(), &sitev1.Entry{Change: &sitev1.Entry_RecordBackup{RecordBackup: record}}); err != nil {
		return err
	}
	for len(data) > 0 {
		part := data[:min(exportChunk, len(data))]
		data = data[len(part):]
		if err := stream.Send(&skerryv1.CreateBackupResponse{Data: part}); err != nil {
			return err
		}
	}
	return stream.Send(&skerryv1.CreateBackupResponse{Backup: made})
}

func (b backups) ListBackups(ctx context.Context, _ *connect.Request[skerryv1.ListBackupsRequest]) (*connect.Response[skerryv1.ListBackupsResponse], error) {
	view, freshness := b.read(ctx, false)
	known, folder := view.Backups(), manifest.BackupsOf(view.Settings()).Folder
	response := &skerryv1.ListBackupsResponse{
		Node: b.Node, Folder: folder, Failed: known.GetFailed(), FailedSince: known.GetFailedSince(), Freshness: freshness,
	}
	if folder == "" {
		return connect.NewResponse(response), nil
	}
	var err error
	response.Backups, err = b.Backups.List(ctx, folder)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(response), nil
}

// backupProblems says that the site's backups fail.
func backupProblems(view *state.View) []string {
	known := view.Backups()
	if known.GetFailed() == "" || manifest.BackupsOf(view.Settings()).Folder == "" {
		return nil
	}
	last := "there is none yet"
	if known.GetLast() != nil {
		last = "the last one is of " + known.GetLast().GetTime().AsTime().Format(stamp)
	}
	return []string{fmt.Sprintf("backups fail on %s since %s: %s; %s", known.GetNode(), known.GetFailedSince().AsTime().Format(stamp), known.GetFailed(), last)}
}
