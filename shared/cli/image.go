package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/client"
	"skerry.dev/shared/env"
	"skerry.dev/shared/problem"
)

const (
	// uploadChunk is how much of a tar goes into one message.
	uploadChunk = 256 << 10
	// uploads is how often a tar is sent at most: a coordinator that changes in the
	// middle of it takes it from its beginning. The pause before the next one is uploadAgain.
	uploads     = 3
	uploadAgain = time.Second
)

func imageCommand(a *app) *cobra.Command {
	group := Group(&cobra.Command{
		Use:     "image COMMAND",
		GroupID: GroupChange,
		Short:   "The images that the site holds",
	})
	group.AddCommand(imageLoadCommand(a), imageListCommand(a))
	return group
}

func imageListCommand(a *app) *cobra.Command {
	o := &getOptions{reading: reading{app: a}}
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the images of the site",
		Long:    "List shows the images of the site, their size, and on how many nodes they are.\nIt is the same as: skerry get images.",
		Example: "  skerry image list\n  skerry image list -o wide      with the names of the nodes",
		Args:    Args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return o.run(cmd, []string{"image"})
		},
	}
	o.addStale(cmd)
	o.output.add(cmd, true)
	return cmd
}

type imageLoad struct {
	*app
	name   string
	output outputFlag
}

func imageLoadCommand(a *app) *cobra.Command {
	o := &imageLoad{app: a}
	cmd := &cobra.Command{
		Use:   "load FILE",
		Short: "Load an image of a container or a disk",
		Long: `Load takes the images of a docker-archive or OCI-layout tar into the site, or the
image of a disk, qcow2 or raw, for virtual machines. Once is enough: the other
nodes fetch what they need from a node that has it.

A file that is damaged or cut short changes nothing. A qcow2 file that names
others is refused.`,
		Example: `  docker save -o web.tar site.local/web:1     on a machine that can
  skerry image load web.tar
  skerry image load layout.tar --name site.local/web:1
  skerry image load debian-12.qcow2 --name debian-12`,
		Args: Args(1, 1),
		RunE: o.run,
	}
	cmd.Flags().StringVar(&o.name, "name", "", "`NAME` of the image, in place of the one in the tar; a disk needs one")
	o.output.add(cmd, false)
	return cmd
}

func (o *imageLoad) run(cmd *cobra.Command, args []string) error {
	file, bytes, err := openTar(args[0])
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // opened for reading only
	return o.unbounded(cmd.Context(), func(ctx context.Context, c *client.Client) error {
		answer, err := o.send(ctx, c, file, bytes)
		for try := 1; passing(err) && try < uploads; try++ {
			if env.Sleep(ctx, o.Clock, uploadAgain) != nil {
				break
			}
			fmt.Fprintf(o.Err, "%s is sent again: %s\n", oneLine(filepath.Base(file.Name())), oneLine(withoutHint(err)))
			answer, err = o.send(ctx, c, file, bytes)
		}
		if err != nil {
			return err
		}
		if o.output.isData() {
			return o.output.write(o.Out, answer)
		}
		for _, image := range answer.GetImages() {
			if _, err := fmt.Fprintf(o.Out, "image/%s loaded: %s, %s, on %s\n", oneLine(image.GetName()),
				size(image.GetSize()), shortDigest(image.GetDigest()), oneLine(joined(image.GetNodes()))); err != nil {
				return err
			}
		}
		return nil
	})
}

func openTar(name string) (*os.File, int64, error) {
	if name == "-" {
		return nil, 0, problem.New(problem.Invalid, "image", "the size of standard input is not known").
			WithHint("write it to a file first: cat > image.tar && skerry image load image.tar")
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, 0, fileProblem(name, err)
	}
	info, err := file.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = problem.New(problem.Invalid, name, "it is not a file").WithHint("give the tar that docker save or skopeo wrote")
	case info.Size() == 0:
		err = problem.New(problem.Invalid, name, "it is empty")
	default:
		return file, info.Size(), nil
	}
	return nil, 0, errors.Join(err, file.Close())
}

// send the whole file.
func (o *imageLoad) send(ctx context.Context, c *client.Client, file *os.File, bytes int64) (*skerryv1.LoadImageResponse, error) {
	show := newProgress(o.Err, o.Clock, filepath.Base(file.Name()), bytes)
	defer show.end()
	return o.upload(ctx, c, io.NewSectionReader(file, 0, bytes), bytes, show)
}

func (o *imageLoad) upload(ctx context.Context, c *client.Client, tar io.Reader, bytes int64, show *progress) (*skerryv1.LoadImageResponse, error) {
	stream := c.Images().LoadImage(ctx)
	err := stream.Send(&skerryv1.LoadImageRequest{Message: &skerryv1.LoadImageRequest_Header{
		Header: &skerryv1.LoadImageHeader{Size: bytes, Name: o.name},
	}})
	buffer := make([]byte, uploadChunk)
	for err == nil {
		n, readErr := tar.Read(buffer)
		if n > 0 {
			err = stream.Send(&skerryv1.LoadImageRequest{Message: &skerryv1.LoadImageRequest_Data{Data: buffer[:n]}})
			show.add(n)
		}
		if errors.Is(readErr, io.EOF) {
			break
		}
		if readErr != nil {
			// Ending the call short makes the site forget what it got.
			_, closeErr := stream.CloseAndReceive()
			return nil, problem.New(problem.Invalid, "image", "the file cannot be read: %w", errors.Join(readErr, closeErr))
		}
	}
	show.waiting()
	answer, err := closeUpload(stream, err)
	if err != nil {
		return nil, fromCall(err)
	}
	return answer.Msg, nil
}

// closeUpload returns the site's own word: a Send that fails only says that the
// site has stopped listening, the answer says why.
func closeUpload(stream *connect.ClientStreamForClient[skerryv1.LoadImageRequest, skerryv1.LoadImageResponse], sendErr error) (*connect.Response[skerryv1.LoadImageResponse], error) {
	answer, err := stream.CloseAndReceive()
	if err == nil && sendErr != nil {
		err = sendErr
	}
	return answer, err
}

// shortDigest is enough to tell images apart: sha256:3f9a12c4d5e6.
func shortDigest(digest string) string {
	algorithm, hash, found := strings.Cut(digest, ":")
	if !found || len(hash) <= 12 {
		return digest
	}
	return algorithm + ":" + hash[:12]
}
