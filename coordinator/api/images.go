package api

import (
	"context"
	"errors"
	"io"

	"connectrpc.com/connect"

	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
)

// images implements skerry.v1.ImageService: the image is stored on the
// coordinator's node, then made known to the site; the other nodes fetch it
// from there.
type images struct{ *Server }

func (i images) LoadImage(ctx context.Context, stream *connect.ClientStream[skerryv1.LoadImageRequest]) (*connect.Response[skerryv1.LoadImageResponse], error) {
	if !stream.Receive() {
		return nil, orMissing(stream.Err())
	}
	header := stream.Msg().GetHeader()
	if header == nil || header.GetSize() <= 0 {
		return nil, orMissing(nil)
	}
	loaded, err := i.Images.Import(ctx, &uploadReader{stream: stream, left: header.GetSize()}, header.GetName())
	if err != nil {
		return nil, err
	}
	// The names that count are those in the tar, when the caller gave none.
	call := guard.From(ctx)
	for _, image := range loaded {
		if err := call.Ask(call.Verb(), present(i.Store.View(), "Image", "", image.GetName())); err != nil {
			return nil, err
		}
	}
	response := &skerryv1.LoadImageResponse{}
	for _, image := range loaded {
		image.Nodes = []string{i.Node}
		entry := &sitev1.Entry{Change: &sitev1.Entry_AddImage{AddImage: &sitev1.AddImage{Image: image}}}
		if _, err := i.commit(ctx, "", entry); err != nil {
			return nil, problem.New(problem.KindOf(err), "Image/"+image.GetName(),
				"the image is stored on %s, but the site could not be told: %w", i.Node, err).
				WithHint("load it again; nothing needs to be cleaned up")
		}
		response.Images = append(response.Images, image)
	}
	return connect.NewResponse(response), nil
}

func orMissing(err error) error {
	if err != nil {
		return err
	}
	return problem.New(problem.Invalid, "image", "the first message must give the size of the tar").WithField("header.size")
}

// uploadReader reads the tar out of the stream and refuses one that is shorter
// or longer than announced.
type uploadReader struct {
	stream *connect.ClientStream[skerryv1.LoadImageRequest]
	left   int64
	rest   []byte
}

func (u *uploadReader) Read(p []byte) (int, error) {
	for len(u.rest) == 0 {
		if !u.stream.Receive() {
			return 0, u.end()
		}
		u.rest = u.stream.Msg().GetData()
		u.left -= int64(len(u.rest))
		if u.left < 0 {
			return 0, problem.New(problem.Invalid, "image", "more bytes came than were announced")
		}
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}

func (u *uploadReader) end() error {
	err := u.stream.Err()
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return problem.New(problem.Unavailable, "image", "the upload broke off with %d bytes to go: %w", u.left, err)
	case u.left > 0:
		return problem.New(problem.Invalid, "image", "the upload ended with %d bytes to go", u.left).
			WithHint("was the file changed while it was read?")
	default:
		return io.EOF
	}
}
