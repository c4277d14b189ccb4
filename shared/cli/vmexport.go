package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/problem"
)

type vmExport struct {
	reading
	disk, snapshot string
	force          bool
}

func vmExportCommand(a *app) *cobra.Command {
	o := &vmExport{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:   "export NAME FILE",
		Short: "Copy a disk of a virtual machine to a file here",
		Long: `Export writes one disk of a virtual machine, as it is now or as a snapshot has it, to a
qcow2 file on this machine, which names no other file: skerry image load takes it
elsewhere. The machine may run. The node needs room for the copy meanwhile. The
file appears when all of it has come and its digest is right.`,
		Example: "  skerry vm export scada scada.qcow2\n  skerry vm export scada data.qcow2 --disk data --snapshot before-update",
		Args:    Args(2, 2), ValidArgsFunction: o.completePlacement,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.unbounded(cmd.Context(), func(ctx context.Context, c *client.Client) error {
				placement, err := o.machine(ctx, c, args[0])
				if err != nil {
					return err
				}
				return o.export(ctx, c, &skerryv1.ExportRequest{
					Kind: "Placement", Name: placement, Project: o.project, Disk: o.disk, Snapshot: o.snapshot,
				}, args[1], o.force)
			})
		},
	}
	o.addProject(cmd, "project `NAME` of the virtual machine (default \"default\")")
	cmd.Flags().StringVar(&o.disk, "disk", "", "`NAME` of the disk (default the root disk)")
	cmd.Flags().StringVar(&o.snapshot, "snapshot", "", "`NAME` of a snapshot to take it from (default as it is now)")
	cmd.Flags().BoolVar(&o.force, "force", false, "replace the file if there is one")
	return cmd
}

// export a disk to a file, which is whole or not there.
func (r *reading) export(ctx context.Context, c *client.Client, what *skerryv1.ExportRequest, name string, force bool) (err error) {
	if _, err := os.Lstat(name); err == nil && !force {
		return problem.New(problem.Conflict, name, "there is such a file").WithHint("choose another name; --force replaces it")
	}
	file, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".")
	if err != nil {
		return fileProblem(name, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	bytes, err := r.receive(ctx, c, what, file)
	if err = errors.Join(err, file.Close()); err != nil {
		return err
	}
	if err := os.Rename(file.Name(), name); err != nil {
		return fileProblem(name, err)
	}
	_, err = fmt.Fprintf(r.Out, "%s written: %s\n", oneLine(name), size(bytes))
	return err
}

// receive a disk and compare it with its size and its digest.
func (r *reading) receive(ctx context.Context, c *client.Client, what *skerryv1.ExportRequest, file *os.File) (int64, error) {
	stream, err := c.Disks().Export(ctx, connect.NewRequest(what))
	if err != nil {
		return 0, fromCall(err)
	}
	defer func() { _ = stream.Close() }() // whether all came is seen below
	show := newProgress(r.Err, r.Clock, "the copy on its node", 0)
	defer func() { show.end() }()
	h, digest, announced, got := sha256.New(), "", int64(-1), int64(0)
	for stream.Receive() {
		switch m := stream.Msg().GetMessage().(type) {
		case *skerryv1.ExportResponse_Copied:
			show.reach(m.Copied.GetDone(), m.Copied.GetTotal())
		case *skerryv1.ExportResponse_Size:
			announced = m.Size
			show = newProgress(r.Err, r.Clock, filepath.Base(file.Name()), m.Size)
		case *skerryv1.ExportResponse_Data:
			if _, err := file.Write(m.Data); err != nil {
				return 0, fileProblem(file.Name(), err)
			}
			h.Write(m.Data)
			got += int64(len(m.Data))
			show.add(len(m.Data))
		case *skerryv1.ExportResponse_Digest:
			digest = m.Digest
		}
	}
	if err := stream.Err(); err != nil {
		return 0, fromCall(err)
	}
	if digest != "sha256:"+hex.EncodeToString(h.Sum(nil)) || got != announced {
		return 0, problem.New(problem.Unavailable, "export", "%d bytes came of %d, and not with the digest that the node told", got, announced).
			WithHint("nothing was written; try again")
	}
	return got, file.Sync()
}

type vmScreenshot struct{ reading }

func vmScreenshotCommand(a *app) *cobra.Command {
	o := &vmScreenshot{reading{app: a}}
	cmd := &cobra.Command{
		Use:   "screenshot NAME FILE",
		Short: "Write a picture of a virtual machine's screen to a PNG file",
		Long: `Screenshot shows what would be on the screen of a virtual machine, for guests that do
not use their serial console: boot menus, panics.`,
		Example: "  skerry vm screenshot scada scada.png", Args: Args(2, 2), ValidArgsFunction: o.completePlacement,
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.bounded(cmd, func(ctx context.Context, c *client.Client) error { return o.shoot(ctx, c, args[0], args[1]) })
		},
	}
	o.addProject(cmd, "project `NAME` of the virtual machine (default \"default\")")
	return cmd
}

func (o *vmScreenshot) shoot(ctx context.Context, c *client.Client, name, file string) error {
	placement, err := o.machine(ctx, c, name)
	if err != nil {
		return err
	}
	answer, err := call(ctx, o.app, c.Disks().Screenshot, &skerryv1.ScreenshotRequest{Project: o.project, Placement: placement})
	if err != nil {
		return err
	}
	const readable = 0o644
	if err := os.WriteFile(file, answer.GetPng(), readable); err != nil {
		return fileProblem(file, err)
	}
	_, err = fmt.Fprintf(o.Out, "%s written: %s\n", oneLine(file), size(int64(len(answer.GetPng()))))
	return err
}
