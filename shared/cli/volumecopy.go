package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
)

func volumeCommand(a *app) *cobra.Command {
	group := Group(&cobra.Command{
		Use: "volume COMMAND", GroupID: GroupChange, Short: "Copies of volumes: snapshots and files",
		Long: `Volumes are declared with kind: Volume, and listed with skerry get volumes. These
commands copy those that nothing uses; skerry vm snapshot and skerry vm export
copy the disks of machines, also of those that run.`,
	})
	snapshots := Group(&cobra.Command{Use: "snapshot COMMAND", Short: "Copies of a volume on its node, as it was at one moment",
		Long: "A snapshot is a copy of a volume on its node. skerry describe volume NAME lists them."})
	for _, c := range snapshotCommands {
		snapshots.AddCommand(c.ofVolume(a))
	}
	group.AddCommand(snapshots, volumeExportCommand(a), volumeImportCommand(a))
	return group
}

func (s snapshotCommand) ofVolume(a *app) *cobra.Command {
	o := &reading{app: a}
	short := map[string]string{"create": "Make a snapshot", "restore": "Put the volume back as it was", "delete": "Delete a snapshot"}[s.verb]
	cmd := &cobra.Command{
		Use: s.verb + " NAME SNAPSHOT", Short: short, Long: short + ". Nothing may use the volume, unless a snapshot is deleted.",
		Example: "  skerry volume snapshot " + s.verb + " scada-data " + s.example, Args: Args(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.unbounded(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				return o.snapshot(ctx, c, s, "Volume", args[0], args[1])
			})
		},
	}
	o.addProject(cmd, "project `NAME` of the volume (default \"default\")")
	return cmd
}

func volumeExportCommand(a *app) *cobra.Command {
	o := &vmExport{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use: "export NAME FILE", Short: "Copy a volume to a file here",
		Long: `Export writes a volume that nothing uses, or a snapshot of it, to a qcow2 file on this
machine. The file appears when all of it has come and its digest is right.`,
		Example: "  skerry volume export scada-data data.qcow2", Args: Args(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.unbounded(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				return o.export(ctx, c, &skerryv1.ExportRequest{Kind: "Volume", Name: args[0], Project: o.project, Snapshot: o.snapshot}, args[1], o.force)
			})
		},
	}
	o.addProject(cmd, "project `NAME` of the volume (default \"default\")")
	cmd.Flags().StringVar(&o.snapshot, "snapshot", "", "`NAME` of a snapshot to take it from (default as it is now)")
	cmd.Flags().BoolVar(&o.force, "force", false, "replace the file if there is one")
	return cmd
}

type volumeImport struct {
	reading
	replace bool
}

func volumeImportCommand(a *app) *cobra.Command {
	o := &volumeImport{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use: "import NAME FILE", Short: "Fill a volume with the image of a disk",
		Long: `Import fills a volume that nothing uses with a qcow2 or raw image. The volume must have
a node (node: in its manifest) and be as large as the disk at least. It is filled
with all of it, or not at all.`,
		Example: "  skerry volume import scada-data data.qcow2", Args: Args(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.unbounded(cmd.Context(), func(ctx context.Context, c *client.Client) error { return o.fill(ctx, c, args[0], args[1]) })
		},
	}
	o.addProject(cmd, "project `NAME` of the volume (default \"default\")")
	cmd.Flags().BoolVar(&o.replace, "replace", false, "lose what the volume holds")
	return cmd
}

func (o *volumeImport) fill(ctx context.Context, c *client.Client, name, from string) error {
	file, bytes, err := openTar(from)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // opened for reading only
	show := newProgress(o.Err, o.Clock, filepath.Base(from), bytes)
	stream := c.Disks().Import(ctx)
	err = stream.Send(&skerryv1.ImportRequest{Message: &skerryv1.ImportRequest_Header{
		Header: &skerryv1.ImportHeader{Name: name, Project: o.project, Size: bytes, Replace: o.replace},
	}})
	buffer := make([]byte, uploadChunk)
	for err == nil {
		n, failed := file.Read(buffer)
		if n > 0 {
			err = stream.Send(&skerryv1.ImportRequest{Message: &skerryv1.ImportRequest_Data{Data: buffer[:n]}})
			show.add(n)
		}
		if errors.Is(failed, io.EOF) {
			show.waiting()
			break
		}
		if failed != nil {
			_, closed := stream.CloseAndReceive() // too short: it is forgotten
			return errors.Join(fileProblem(from, failed), closed)
		}
	}
	_, answered := stream.CloseAndReceive()
	show.end()
	if answered != nil { // it tells why a message could not be sent
		return fromCall(answered)
	}
	if err != nil {
		return fromCall(err)
	}
	_, err = fmt.Fprintf(o.Out, "volume/%s filled: %s\n", oneLine(name), size(bytes))
	return err
}
