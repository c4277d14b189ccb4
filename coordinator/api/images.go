package api

import (
	"context"

	"connectrpc.com/connect"

	"skerry.dev/shared/access/guard"
	sitev1 "skerry.dev/shared/api/skerry/site/v1"
	skerryv1 "skerry.dev/shared/api/skerry/v1"
	"skerry.dev/shared/problem"
	"skerry.dev/shared/wire"
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
	content := &wire.Upload{Stream: stream, Data: func() []byte { return stream.Msg().GetData() }, Left: header.GetSize(), About: "image"}
	loaded, err := i.Images.Import(ctx, content, header.GetName())
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
